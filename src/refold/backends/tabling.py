"""Statements of projections, run for them: shared by the backends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import apsw

from refold.errors import UsageError
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
def begun(connection: apsw.Connection) -> Iterator[SqlTransaction]:
    """Take the write lock; commit at the end, and undo everything after an error."""
    if connection.in_transaction:
        # An interrupt came between a failure and its rollback.
        connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield SqlTransaction(connection)
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has undone it by itself after some errors, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
