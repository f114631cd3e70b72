"""Events that a projection leaves out because somebody said so, which the log remembers."""

from __future__ import annotations

from typing import Final

import msgspec

from refold.core.event import parse_event_id
from refold.core.registry import Registry, event
from refold.core.row import decode_row
from refold.projections.feed import Feed

SKIPPED: Final = "projection.skipped"
_NO_CLASSES: Final = Registry()


@event(SKIPPED)
class ProjectionSkipped(msgspec.Struct, frozen=True):
    """A projection leaves an event out, now and in every rebuild; ``event`` is its id."""

    projection: str
    event: str
    reason: str


def stream_of(projection: str) -> str:
    """The stream that remembers what was decided about a projection."""
    return f"projection-{projection}"


def skipped(feed: Feed, projection: str) -> dict[str, frozenset[int]]:
    """The versions to leave out, by stream."""
    found: dict[str, set[int]] = {}
    for row in feed.stream(stream_of(projection), first=0):
        for recorded in decode_row(row, _NO_CLASSES):
            if recorded.type == SKIPPED:
                stream, version = parse_event_id(recorded.data["event"])
                found.setdefault(stream, set()).add(version)
    return {stream: frozenset(versions) for stream, versions in found.items()}
