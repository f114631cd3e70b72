"""The log as a projection reads it: pages of rows, narrowed to what it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple
from zlib import crc32

from refold.core.row import Row
from refold.core.segment import split
from refold.errors import Corrupt
from refold.ports import Backend
from refold.projections.projection import Projection


class Page(NamedTuple):
    """Rows in order of position; with them, everything up to ``end`` has been looked at."""

    rows: list[Row]
    end: int


class Feed:
    """What a projection wants of a log."""

    def __init__(self, backend: Backend, projection: Projection) -> None:
        self._backend = backend
        self._projection = projection

    def page(self, *, after: int, rows_max: int) -> Page | None:
        """What comes after a position; None where nothing does yet."""
        head = self._backend.log_head()
        if head <= after:
            return None
        types, categories = self._projection.types, self._projection.categories
        if types == []:
            return Page([], head)
        found = self._backend.log(
            after=after, categories=categories, types=types, rows_max=rows_max
        )
        rows = found
        if any(row.packed_parts is not None for row in found):
            rows = [part for row in found for part in split(row)]
        if types is None and categories is None:
            _check_gapless(rows, after)
        # Up to the head of before: what came after it was perhaps not seen by the query.
        return Page(rows, _last_of(rows[-1]) if rows else head)

    def stream(self, stream: str, *, first: int) -> Iterator[Row]:
        """The rows of one stream alone from a version on."""
        while page := self._backend.rows(
            stream, first=first, last=(1 << 63) - 1, backward=False, rows_max=256
        ):
            yield from page
            first = page[-1].last_version + 1


def in_part(part: int, parts: int) -> Callable[[str], bool]:
    """Whether a stream belongs to one of several parts: by CRC-32 of its name."""
    return lambda stream: crc32(stream.encode()) % parts == part


def _last_of(row: Row) -> int:
    return row.position + row.event_count - 1


def _check_gapless(rows: list[Row], after: int) -> None:
    for position, _, _, count, *_ in rows:
        last = position + count - 1
        if not position <= after + 1 <= last:
            raise Corrupt(
                f"position {after + 1} is missing; run `refold doctor`", position=after + 1
            )
        after = last
