"""What is being recorded now: the newest events of the whole log, the newest first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from refold import Recorded, Store
from refold.conversation.transcript import Line, transcript
from refold.times import rfc3339
from refold.ui.visit import Visit

EVENTS_SHOWN: Final = 50
EVENTS_READ: Final = 200
"""So many are read, for the calls that results belong to."""
CHARS_MAX: Final = 240
"""Longer words are cut, and the page of the event has them whole."""


class LiveEvent(NamedTuple):
    """An event, and its lines as a transcript has them: none where that leaves it out."""

    event: Recorded
    lines: Sequence[Line]
    recorded_at: str


class LogEnd(NamedTuple):
    """The last events of a log of ``head`` events, as it was at ``at``, RFC 3339."""

    rows: Sequence[LiveEvent]
    head: int
    at: str


def screen(visit: Visit) -> str:
    """The end of the log, which asks for itself again, unless the address says that it is not to.

    Nothing waits for a viewer between two questions.
    """
    is_paused = visit.text("paused") == "yes"
    end = log_end(visit.store)
    return visit.page("live.html", end=end, is_paused=is_paused, chars_max=CHARS_MAX)


def log_end(store: Store) -> LogEnd:
    """The newest events of a log."""
    head = store.log_head()
    found = list(store.read_all(after=max(0, head - EVENTS_READ), limit=EVENTS_READ))
    streams = {one.stream: list[Recorded]() for one in found}
    for one in found:
        streams[one.stream].append(one)
    lines: dict[str, list[Line]] = {}
    for history in streams.values():
        for line in transcript(history):
            lines.setdefault(line.id, []).append(line)
    rows = [
        LiveEvent(one, lines.get(one.origin_id, []), rfc3339(one.recorded_at_us))
        for one in reversed(found[-EVENTS_SHOWN:])
    ]
    return LogEnd(rows, head, rfc3339(time.time_ns() // 1_000))
