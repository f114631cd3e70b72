"""Tables of projections, kept by SQLite: beside a log in its file, or in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import apsw

from refold.errors import BackendError, StoreClosed, UsageError
from refold.ports import SqlValue

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
    """Tables written by a connection of their own, made when it is needed; threads take turns.

    ``naming`` gives errors of the driver our names while something is done.
    """

    def __init__(
        self,
        connect: Callable[[], apsw.Connection],
        naming: Callable[[], AbstractContextManager[None]],
        *,
        where: str,
    ) -> None:
        self._connect = connect
        self._naming = naming
        self._where = where
        self._turn = threading.RLock()
        self._connection: apsw.Connection | None = None
        self._closed = False

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """Take the write lock; commit at the end, and undo everything after an error."""
        with self._connected() as connection:
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
        """The rows of a query, by the connection that writes."""
        with self._connected() as connection:
            return queried(connection, sql, values)

    def close(self) -> None:
        """Let go of the connection, when nobody writes."""
        with self._turn, self._naming():
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        with self._turn, self._naming():
            if self._closed:
                raise StoreClosed(f"{self._where} is closed")
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection


def in_memory() -> Tables:
    """Tables beside a log in memory: a SQLite database of their own, in memory too."""
    where = "the tables in memory"
    return Tables(lambda: apsw.Connection(":memory:"), _naming_errors, where=where)


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


@contextmanager
def _naming_errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise BackendError(f"the tables in memory: SQLite failed: {error}") from error
