"""Pages of rows: so many of them, and no more bytes than a reader should have to hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import apsw

from refold.backends.sqlite import queries
from refold.backends.sqlite.file import rows_of

Page = list[tuple[Any, ...]]

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A page of the log ends after the append with which it has come to so many bytes.

A page of a stream joins bodies in one value and metadata in another: neither is larger, but for
those of a single append.
"""
_METADATA, _BODY = 7, 8
"""The places of the texts among the columns of the log."""
_VERSION, _END = 1, -1
"""The places of the first version and of the one after the last in a page of a stream."""


def stream_page(
    connection: apsw.Connection,
    sql: queries.StreamRows,
    values: Sequence[Any],
    *,
    wanted: int,
    rows_max: int,
) -> Page:
    """What the rows of a stream are made of; of appends too large to be joined there are fewer."""
    if rows_max > 1:
        try:
            with _values_up_to(connection, PAGE_BYTES_MAX):
                hot = rows_of(connection, sql.hot, *values, rows_max)
                if hot and _holds(hot[0], wanted):
                    return hot
                return rows_of(connection, sql.page, *values, rows_max)
        except apsw.TooBigError:
            half = PAGE_BYTES_MAX // 2
            ((rows_max,),) = rows_of(connection, sql.fitting, *values, rows_max, half)
    return rows_of(connection, sql.page, *values, max(rows_max, 1))


def bodies_page(connection: apsw.Connection, values: Sequence[Any], *, wanted: int) -> Page:
    """The joined bodies of appends from the one with a version on; none where it is packed.

    Nor where they are too large to be joined: they are left to :func:`stream_page`.
    """
    try:
        with _values_up_to(connection, PAGE_BYTES_MAX):
            found = rows_of(connection, queries.BODIES, *values)
    except apsw.TooBigError:
        return []
    return found if found and _holds(found[0], wanted) else []


def log_page(connection: apsw.Connection, sql: str, values: Sequence[Any]) -> Page:
    """The rows of the log up to the bound of a page."""
    rows: Page = []
    size_bytes = 0
    for row in connection.execute(sql, values):
        rows.append(row)
        size_bytes += _length(row[_BODY]) + _length(row[_METADATA])
        if size_bytes >= PAGE_BYTES_MAX:
            break
    return rows


def _holds(row: tuple[Any, ...], version: int) -> bool:
    """Whether joined appends hold a version; what a damaged row says, its reader refuses."""
    begin, end = row[_VERSION], row[_END]
    return isinstance(begin, int) and isinstance(end, int) and begin <= version < end


def _length(value: Any) -> int:
    """Of a text or blob; a damaged row may hold something else, which its reader refuses."""
    return len(value) if isinstance(value, str | bytes) else 0


@contextmanager
def _values_up_to(connection: apsw.Connection, size_bytes: int) -> Iterator[None]:
    """Let SQLite refuse to make a larger value."""
    before = connection.limit(apsw.SQLITE_LIMIT_LENGTH, size_bytes)
    try:
        yield
    finally:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, before)
