"""Tables of projections, kept by SQLite: beside a log in its file, or in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import Any, Final, TypeVar

import apsw

from refold.backends.rest import Connection
from refold.errors import BackendError, UsageError
from refold.ports import Begin, SelectedRows, SqlValue
from refold.process import ProcessLock

T = TypeVar("T")
Query = Callable[[str, Sequence[SqlValue]], list[tuple[Any, ...]]]

_CALLERS_FAULT: Final = (
    apsw.SQLError, apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, apsw.RangeError,
    apsw.BindingsError, apsw.IncompleteExecutionError, TypeError, OverflowError, UnicodeEncodeError,
    apsw.SchemaChangeError,  # A table that a statement was prepared for is no more.
)  # fmt: skip
"""What is wrong with a statement or its values, and not with the database."""

_PROGRESS: Final = """
SELECT min(position) FROM refold_progress JOIN refold_projections
ON name = projection AND current = generation WHERE name = ?"""
_WRITES: Final = re.compile(r"\s*(insert|replace|update|delete|create|drop|alter)\b", re.IGNORECASE)
_READS: Final = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE}
_ROW_CHANGES: Final = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}
_ASKS: Final = re.compile(
    "(collation|database|foreign_key|function|index|module|pragma|table)_list|data_version|"
    "(foreign_key|integrity|quick)_check|(index|table)_x?info|(freelist|page)_count|compile_options"
)
"""PRAGMAs that read whatever value they are given (https://sqlite.org/pragma.html)."""
_SETS: Final = re.compile(
    "application_id|auto_vacuum|foreign_keys|secure_delete|temp_store|encoding|synchronous|"
    "(cache|mmap|page)_size|journal_size_limit|(schema|user)_version|busy_timeout|query_only"
)
"""PRAGMAs that read where they are given none, and set what they are given."""
_FUNCTIONS: Final = """
SELECT name FROM pragma_function_list WHERE builtin AND NOT flags & 0x80000 OR flags & 0x200000"""
"""Those of SQLite but the ones that it keeps from views (SQLITE_DIRECTONLY), which act outside; of
others those that are said to have no effect (SQLITE_INNOCUOUS)."""
_OTHERS_READING: Final = {"bm25", "highlight", "match", "matchinfo", "offsets", "snippet"} | {
    "refold_unpacked"
}
"""Of full-text tables, and of a log's packed appends."""


class SqlTransaction:
    """The statements of one transaction; see :class:`~refold.ports.TableTransaction`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        with refused(sql):
            return self._connection.execute(sql, values).fetchall()

    def executemany(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each of many values."""
        with refused(sql):
            self._connection.executemany(sql, values)


class Tables:
    """Tables in a database; threads take turns. ``connected`` lends a connection for a block."""

    def __init__(self, connected: Callable[[], AbstractContextManager[apsw.Connection]]) -> None:
        self._turn = ProcessLock()
        self._connected = connected

    def write(self, work: Callable[[Begin], T]) -> T:
        """See :meth:`~refold.ports.TableKeeper.write`."""
        with self._turn(), self._connected() as connection:
            return _written(connection, work)

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> SelectedRows:
        """The rows of a query."""
        with self._turn(), self._connected() as connection:
            return queried(connection, sql, values)


def _written(connection: apsw.Connection, work: Callable[[Begin], T]) -> T:
    begun: list[SqlTransaction] = []

    def begin() -> SqlTransaction:
        if not begun:
            connection.execute("BEGIN IMMEDIATE")
            begun.append(SqlTransaction(connection))
        return begun[0]

    try:  # As in transacted().
        answer = work(begin)
        if begun:
            connection.execute("COMMIT")
        return answer
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def in_memory() -> Tables:
    """Tables beside a log in memory: a SQLite database of their own, in memory too."""
    made = cache(partial(Connection, ":memory:"))

    @contextmanager
    def connected() -> Iterator[apsw.Connection]:
        try:
            yield made()
        except apsw.Error as error:
            raise BackendError(f"the tables in memory: SQLite failed: {error}") from error

    return Tables(connected)


def queried(connection: apsw.Connection, sql: str, values: Sequence[SqlValue] = ()) -> SelectedRows:
    """The rows of a query; a statement that is none is refused before its first step."""
    cursor, found = connection.cursor(), SelectedRows()
    changes: set[int] = set()

    def checked(cursor: apsw.Cursor, sql: str, _values: object) -> bool:
        # Some have neither rows nor effect; whoever asks for them means something else.
        if not (cursor.is_readonly and cursor.get_description()):
            raise _not_read_only(sql)
        found.columns = [name for name, *_ in cursor.get_description()]
        return True

    cursor.exec_trace = checked

    def authorized(action: int, *names: str | None) -> int:
        if _is_read(action, *names):
            return apsw.SQLITE_OK
        changes.add(action)
        # Spatial tables prepare their own when they are read. A caller's are refused by what
        # SQLite says of the whole statement.
        return apsw.SQLITE_OK if action in _ROW_CHANGES else apsw.SQLITE_DENY

    with refused(sql):
        try:
            # What is prepared already is prepared again: SQLite asks about all that it runs.
            connection.authorizer = authorized
            found += cursor.execute(sql, values)
            return found
        except (apsw.SQLError, apsw.AuthError) as error:
            # An INSERT into a view, for one: there is a better reason than SQLite's.
            if changes or _WRITES.match(sql):
                raise _not_read_only(sql) from error
            raise
        finally:
            connection.authorizer = None


def _is_read(action: int, name: str | None, value: str | None, *_: str | None) -> bool:
    """Of an action within a statement (https://sqlite.org/c3ref/set_authorizer.html)."""
    if action == apsw.SQLITE_PRAGMA:
        pragma = str(name).lower()
        return bool(_ASKS.fullmatch(pragma) or (value is None and _SETS.fullmatch(pragma)))
    return action in _READS or (action == apsw.SQLITE_FUNCTION and value in _functions())


@cache
def _functions() -> frozenset[str]:
    found = apsw.Connection(":memory:").execute(_FUNCTIONS)
    return frozenset(str(name) for (name,) in found) | _OTHERS_READING


def progress_of(query: Query, projection: str) -> int | None:
    """Where the rows of a projection stand; None where it was never started."""
    if not query("SELECT 1 FROM sqlite_schema WHERE name = 'refold_parked'", ()):
        return None
    # One statement: a swap between two would show the progress of neither.
    ((position,),) = query(_PROGRESS, (projection,))
    return None if position is None else int(position)


def _not_read_only(sql: str) -> UsageError:
    return UsageError(
        f"a query is read only, and `{sql}` is no SELECT: rows are changed by the handlers of a "
        "projection alone",
        code="read_only",
        sql=sql,
    )


@contextmanager
def refused(sql: str) -> Iterator[None]:
    """A statement that cannot be run is its caller's fault: say which one it is."""
    try:
        yield
    except _CALLERS_FAULT as error:
        raise UsageError(f"SQLite refused `{sql}`: {error}", code="sql_refused", sql=sql) from error
