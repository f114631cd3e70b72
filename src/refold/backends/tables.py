"""Tables of projections, kept by SQLite: beside a log in its file, or in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import Any, Final

import apsw

from refold.backends.rest import Connection
from refold.errors import BackendError, UsageError
from refold.ports import SqlValue
from refold.process import Turn

Query = Callable[[str, Sequence[SqlValue]], list[tuple[Any, ...]]]

_CALLERS_FAULT: Final = (
    apsw.SQLError,
    apsw.SchemaChangeError,  # A table that a statement was prepared for is no more.
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.RangeError,
    apsw.BindingsError,
    apsw.IncompleteExecutionError,
    TypeError,
    OverflowError,
    UnicodeEncodeError,
)
"""What is wrong with a statement or its values, and not with the database."""

_PROGRESS: Final = """
SELECT min(position) FROM refold_progress JOIN refold_projections
ON name = projection AND current = generation WHERE name = ?"""
_WRITES: Final = re.compile(r"\s*(insert|replace|update|delete|create|drop|alter)\b", re.IGNORECASE)


class SqlTransaction:
    """The statements of one transaction; see :class:`~refold.ports.Transaction`."""

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
        self._connected = connected
        self._turn = Turn()

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """Take the write lock; commit at the end, and undo everything after an error."""
        with self._turn(), self._connected() as connection:
            if connection.in_transaction:
                # An interrupt came between a failure and its rollback.
                connection.execute("ROLLBACK")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield SqlTransaction(connection)
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has undone it by itself after some errors, such as a full disk.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._turn(), self._connected() as connection:
            return queried(connection, sql, values)


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


def queried(
    connection: apsw.Connection, sql: str, values: Sequence[SqlValue] = ()
) -> list[tuple[Any, ...]]:
    """The rows of a query; a statement that is none is refused before its first step."""
    cursor = connection.cursor()
    cursor.exec_trace = _check_reads
    with refused(sql):
        try:
            return cursor.execute(sql, values).fetchall()
        except apsw.SQLError as error:
            if _WRITES.match(sql):
                # Such as an INSERT into a view: there is a better reason than SQLite's.
                raise _not_read_only(sql) from error
            raise


def progress_of(query: Query, projection: str) -> int | None:
    """Where the rows of a projection stand; None where it was never started."""
    if not query("SELECT 1 FROM sqlite_schema WHERE name = 'refold_parked'", ()):
        return None
    # One statement: a swap between two would show the progress of neither.
    ((position,),) = query(_PROGRESS, (projection,))
    return None if position is None else int(position)


def _check_reads(cursor: apsw.Cursor, sql: str, _values: object) -> bool:
    # BEGIN and ATTACH write nothing, and would outlast the query: they have no columns.
    if cursor.is_readonly and cursor.get_description():
        return True
    raise _not_read_only(sql)


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
