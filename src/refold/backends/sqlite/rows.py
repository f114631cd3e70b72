"""What queries find as rows, refused where the file is not as it was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.file import shaped
from refold.core.event import event_id
from refold.core.row import Row
from refold.errors import Corrupt

_HOT_TYPES: Final = (str, int, int, int, int, str)
_PACKED_TYPES: Final = (*_HOT_TYPES[:-1], bytes)
_INTEGERS: Final = {int, type(None)}
_TEXTS: Final = {str, type(None)}


class Rows:
    """Makes rows of what is found; SQLite gives what a damaged row says, of whatever type.

    ``first_hole`` gives the first version after a version of a stream that has no append.
    """

    def __init__(self, frames: Frames, first_hole: Callable[[str, int], int]) -> None:
        self._frames = frames
        self._first_hole = first_hole

    def page(self, stream: str, found: Sequence[Sequence[Any]], *, backward: bool) -> list[Row]:
        """The rows of a page of a stream, in order, up to where the next one does not join."""
        rows = sorted((self._of_page(stream, *values) for values in found), key=_version)
        return _side_by_side(rows[::-1] if backward else rows)

    def bare(
        self, stream: str, position: int, version: int, count: int, at: int, body: str, end: int
    ) -> Row:
        """Joined bodies of which no more is known than where the last event stands."""
        shaped([(position, version, count, at, body, end)], int, int, int, int, str, int)
        self._check_whole(stream, version, count, end)
        return Row(position, stream, version, count, at, None, body, joined=True)

    def row(self, stream: str, values: Sequence[Any]) -> Row:
        """An append, or a segment."""
        position, version, count, at, first, last, metadata, body, dictionary, body_bytes = values
        types = (type(stream), type(position), type(version), type(count), type(at), type(body))
        spans = {type(first), type(last), type(dictionary), type(body_bytes)}
        if (
            types != (_HOT_TYPES if body_bytes is None else _PACKED_TYPES)
            or not spans <= _INTEGERS
            or type(metadata) not in _TEXTS
        ):
            raise Corrupt(
                f"the row at position {position} is not as it was written; run `refold doctor`",
                position=position,
                stream=stream,
            )
        if body_bytes is None:
            return Row(position, stream, version, count, at, metadata, body, first, last)
        return self._frames.unpacked(
            stream, position, version, count, at, first, last, body, dictionary, body_bytes
        )

    def _of_page(
        self,
        stream: str,
        position: int,
        version: int,
        count: int,
        at: int,
        first: int | None,
        last: int | None,
        body: Any,
        dictionary: int | None,
        body_bytes: int | None,
        parts: str | None,
        end: int,
    ) -> Row:
        shaped([(position, version, count, at, end)], int, int, int, int, int)
        shaped([(first, last, body, parts)], int | None, int | None, str | bytes, str | None)
        self._check_whole(stream, version, count, end)
        if parts is None:
            values = (position, version, count, at, first, last, None, body, dictionary, body_bytes)
            return self.row(stream, values)
        texts = (None, body, first, last, parts.encode())
        return Row(position, stream, version, count, at, *texts, joined=True)

    def _check_whole(self, stream: str, version: int, count: int, end: int) -> None:
        if end - version != count:
            missing = self._first_hole(stream, version)
            raise Corrupt(
                f"{event_id(stream, missing)} is missing; run `refold doctor`",
                stream=stream,
                version=missing,
            )


def _version(row: Row) -> int:
    return row.version


def _side_by_side(rows: list[Row]) -> list[Row]:
    """The rows up to where the next one does not join: there the page was cut."""
    for index, (row, after) in enumerate(pairwise(rows), start=1):
        if row.last_version + 1 != after.version and after.last_version + 1 != row.version:
            return rows[:index]
    return rows
