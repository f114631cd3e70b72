"""The log as a projection reads it: pages of rows, narrowed to what it wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from refold.core.event import parse_event_id
from refold.core.recorded import decode_row
from refold.core.registry import Registry, event
from refold.core.stored import Row
from refold.errors import Corrupt
from refold.ports import Backend
from refold.projections.projection import FAR, Projection

SKIPPED: Final = "projection.skipped"
_EVENTS_PER_STREAM_PAGE: Final = 1_024
_NO_CLASSES: Final = Registry()


@event(SKIPPED)
class ProjectionSkipped(msgspec.Struct, frozen=True):
    """A projection leaves an event out, now and in every rebuild; ``event`` is its id."""

    projection: str
    event: str
    reason: str


class Page(NamedTuple):
    """Rows in order of position; with them, everything up to ``end`` has been looked at."""

    rows: list[Row]
    end: int


class Log:
    """What a projection wants of a log."""

    def __init__(self, backend: Backend, projection: Projection) -> None:
        self._backend = backend
        self.projection = projection

    def page(self, *, after: int, rows_max: int) -> Page | None:
        """What comes after a position; None where nothing does yet."""
        head = self._backend.log_head()
        if head <= after:
            return None
        types, categories = self.projection.types, self.projection.categories
        if types == []:
            return Page([], head)
        found = self._backend.log(
            after=after, categories=categories, types=types, rows_max=rows_max
        )
        rows = _unpacked(found)
        if types is None and categories is None:
            _check_gapless(rows, after)
        # Up to the head of before: what came after it was perhaps not seen by the query.
        return Page(rows, last_of(rows[-1]) if rows else head)

    def stream(self, stream: str, *, first: int) -> Iterator[Row]:
        """The rows of one stream alone from a version on."""
        while page := self._backend.rows(
            stream, first=first, last=FAR, backward=False, events_max=_EVENTS_PER_STREAM_PAGE
        ):
            yield from _unpacked(page)
            first = page[-1].last_version + 1

    def skipped(self) -> dict[str, frozenset[int]]:
        """The versions to leave out because somebody said so, by stream."""
        name = self.projection.name
        found: dict[str, set[int]] = {}
        for row in self.stream(decisions_about(name), first=0):
            for recorded in decode_row(row, _NO_CLASSES):
                if recorded.type == SKIPPED:
                    stream, version = parse_event_id(recorded.data["event"])
                    found.setdefault(stream, set()).add(version)
        return {stream: frozenset(versions) for stream, versions in found.items()}


def decisions_about(projection: str) -> str:
    """The stream that remembers what was decided about a projection."""
    return f"projection-{projection}"


def last_of(row: Row) -> int:
    """The position of the last event of a row that is not packed."""
    return row.position + row.event_count - 1


def _unpacked(found: list[Row]) -> list[Row]:
    if all(row.packed_parts is None for row in found):
        return found
    return [part for row in found for part in row.appends()]


def _check_gapless(rows: list[Row], after: int) -> None:
    for position, _, _, count, *_ in rows:
        last = position + count - 1
        if not position <= after + 1 <= last:
            raise Corrupt(
                f"position {after + 1} is missing; run `refold doctor`", position=after + 1
            )
        after = last
