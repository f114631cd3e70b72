"""Pages of rows: so many of them, and no more bytes than a reader should have to hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

from refold.backends.sqlite import queries

Page = list[tuple[Any, ...]]

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A page of the log ends after the append with which it has come to so many bytes.

A page of a stream joins bodies in one value and metadata in another: neither is larger, but for
those of a single append.
"""
_FEWER: Final = 8
"""A page that comes to too many bytes is asked for again with so many times fewer events."""
_METADATA, _BODY = 7, 8
"""The places of the texts among the columns of the log."""


def joined_page(
    connection: apsw.Connection, stream: str, first: int, last: int, backward: bool
) -> tuple[Any, ...]:
    """The appends of a stream that overlap two versions as one row, as :data:`queries.JOINED`.

    Where they are too large to be joined they are fewer, from ``first`` on, or up to ``last``.
    """
    before = connection.limit(apsw.SQLITE_LIMIT_LENGTH)
    while True:
        # A single append may be larger.
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, PAGE_BYTES_MAX if first < last else before)
        try:
            found: tuple[Any, ...] = connection.execute(queries.JOINED, (stream, first, last)).get
            return found
        except apsw.TooBigError:
            if first == last:
                raise
            fewer = (last - first) // _FEWER
            first, last = (last - fewer, last) if backward else (first, first + fewer)
        finally:
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, before)


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


def _length(value: Any) -> int:
    """Of a text or blob; a damaged row may hold something else, which its reader refuses."""
    return len(value) if isinstance(value, str | bytes) else 0
