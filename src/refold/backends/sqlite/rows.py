"""What queries find as rows, refused where the file is not as it was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.file import shaped
from refold.core.event import event_id
from refold.core.stored import SEPARATOR, Row
from refold.errors import Corrupt

_HOT_TYPES: Final = (str, int, int, int, int, str)
_PACKED_TYPES: Final = (*_HOT_TYPES[:-1], bytes)
_JOINED_TYPES: Final = (int, int, int, int, int, bytes, bytes)
_INTEGERS: Final = {int, type(None)}
_TEXTS: Final = {str, type(None)}


class Rows:
    """Makes rows of what is found; SQLite gives what a damaged row says, of whatever type.

    ``first_hole`` gives the first version after a version of a stream that has no append.
    """

    def __init__(self, frames: Frames, first_hole: Callable[[str, int], int]) -> None:
        self._frames = frames
        self._first_hole = first_hole

    def joined(self, stream: str, values: tuple[Any, ...]) -> Row | None:
        """Appends joined in one row, which must stand side by side; None where there are none."""
        position, version, count, end, at, body, parts = values
        if version is None:
            return None
        if tuple(map(type, values)) != _JOINED_TYPES:
            shaped([values], *_JOINED_TYPES)
        if end - version != count:
            missing = self._first_hole(stream, version)
            raise Corrupt(
                f"{event_id(stream, missing)} is missing; run `refold doctor`",
                stream=stream,
                version=missing,
            )
        place = (position, stream, version, count, at)
        return Row(*place, None, body, packed_parts=parts, joined=SEPARATOR in body)

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
