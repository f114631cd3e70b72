"""Reading pages of events."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from refold._version import __version__
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.server.desk import ServedCall
from refold.server.effort import heeded, worked
from refold.server.wire import EventAnswer, EventPage, Health, OfLog, OfStream

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page ends with the event whose payload goes over this."""


async def stream_events(call: ServedCall) -> EventPage:
    """Read the events of a stream, a branch's with those that it shares.

    `next` is the version to go on from.
    """
    asked: OfStream = call.query

    def page(store: Store) -> EventPage:
        call.grant.check_readable(store, call.stream)
        found = store.read(call.stream, from_version=asked.from_)
        events, end = paged(found, asked.limit)
        return EventPage(told(events), events[-1].version + 1 if events else asked.from_, end)

    return await call.desk.read(page)


async def log_events(call: ServedCall) -> EventPage:
    """Read the events of all streams in the order of the log.

    Where there are no more, `next` is how far the log was looked at: ask again from there.
    """
    asked: OfLog = call.query
    categories = call.grant.among(asked.category)
    # What is wanted may stand far apart, or nowhere.
    is_narrowed = categories is not None or bool(asked.type)

    def page(store: Store) -> EventPage:
        head = store.log_head()
        found = store.read_all(after=asked.after, categories=categories, types=asked.type or None)
        events, end = paged(call.grant.visible(store, heeded(found)), asked.limit)
        last = events[-1].position if events else asked.after
        return EventPage(told(events), max(last, head) if end else last, end)

    return await (worked(call, page) if is_narrowed else call.desk.read(page))


async def health(call: ServedCall) -> Health:
    """Whether the store can be read."""
    await call.desk.read(Store.log_head)
    return Health("ok", __version__)


def paged(
    found: Iterator[Recorded], limit: int, *, bytes_max: int = PAGE_BYTES_MAX
) -> tuple[list[Recorded], bool]:
    """The next events, up to the one that goes over the bytes; whether there are no more."""
    events: list[Recorded] = []
    size_bytes = 0
    for recorded in islice(found, limit):
        events.append(recorded)
        size_bytes += len(recorded.raw)
        if size_bytes > bytes_max:
            return events, False
    return events, len(events) < limit


def told(events: list[Recorded]) -> list[EventAnswer]:
    """Events as they are told."""
    return [EventAnswer.of(recorded) for recorded in events]
