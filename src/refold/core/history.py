"""A history in memory: recorded events, some left out, replaced or added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, overload

import msgspec

from refold.core.encode import encode_body, row_of
from refold.core.event import parse_event_id
from refold.core.recorded import UNSAVED_POSITION, Recorded, decode_row
from refold.core.registry import Registry, event
from refold.errors import NotFound


@event("session.forked")
class SessionForked(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first event of a saved branch: whose history it shares, up to which version.

    ``from_version`` is the last shared version, -1 for none. ``variant`` says what was changed.
    """

    from_stream: str
    from_version: int
    variant: Any = None


class UnreadEvents(Sequence[Recorded]):
    """Events that are read when they are asked for, with others after them.

    ``read(first, last)`` gives those at indexes first to last, of ``count``.
    """

    def __init__(
        self,
        read: Callable[[int, int], Iterable[Recorded]],
        count: int,
        after: tuple[Recorded, ...] = (),
    ) -> None:
        self._read = read
        self._count = count
        self._after = after

    def __len__(self) -> int:
        return self._count + len(self._after)

    def __add__(self, others: tuple[Recorded, ...]) -> UnreadEvents:
        return UnreadEvents(self._read, self._count, self._after + others)

    @overload
    def __getitem__(self, index: int) -> Recorded: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Recorded, ...]: ...
    def __getitem__(self, index: int | slice) -> Recorded | tuple[Recorded, ...]:
        chosen = range(len(self))[index]
        first = chosen if isinstance(chosen, int) else min(chosen, default=self._count)
        if first < self._count and isinstance(chosen, range):
            return self._whole[index]
        if isinstance(chosen, range):
            return tuple(self._after[place - self._count] for place in chosen)
        if chosen >= self._count:
            return self._after[chosen - self._count]
        (one,) = self._read(chosen, chosen)
        return one

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self._whole)

    @cached_property
    def _whole(self) -> tuple[Recorded, ...]:
        read = self._read(0, self._count - 1) if self._count else ()
        return (*read, *self._after)


@dataclass(frozen=True)
class History:
    """The events of a stream up to ``at``, and what was changed since.

    ``shared`` is how many events from the start are still the parent's, so a saved branch forks
    there. Every change gives a new history; nothing is written until it is saved.
    """

    stream: str
    events: tuple[Recorded, ...] | UnreadEvents
    shared: int
    registry: Registry
    changes: tuple[str, ...] = ()
    made: int = 0

    def without(self, *event_ids: str) -> Self:
        """The history in which these events never happened."""
        for event_id in event_ids:
            parse_event_id(event_id)
        places = {recorded.id: index for index, recorded in enumerate(self.events)}
        dropped = {places[one] if one in places else self._index(one) for one in event_ids}
        events = tuple(e for index, e in enumerate(self.events) if index not in dropped)
        changes = (*self.changes, *(f"without {event_id}" for event_id in event_ids))
        shared = min([self.shared, *dropped])
        return replace(self, events=events, shared=shared, changes=changes)

    def replacing(self, event_id: str, *events: object) -> Self:
        """The history with other events in the place of one."""
        index = self._index(event_id)
        put = self._made(events, at_us=self.events[index].occurred_at_us)
        return replace(
            self,
            events=self.events[:index] + put + self.events[index + 1 :],
            shared=min(self.shared, index),
            changes=(*self.changes, f"replacing {event_id}"),
            made=self.made + len(put),
        )

    def adding(self, *events: object, after: str | None = None) -> Self:
        """The history with more events at its end, or after one of its events, given by its id."""
        place = len(self.events) if after is None else self._index(after) + 1
        put = self._made(events, at_us=self.events[place - 1].occurred_at_us if place else 0)
        # What stands at the end is not read for it.
        added = self.events + put if after is None else _put_in(self.events, place, put)
        where = "" if after is None else f" after {after}"
        return replace(
            self,
            events=added,
            shared=min(self.shared, place),
            changes=(*self.changes, f"adding {len(put)} events{where}"),
            made=self.made + len(put),
        )

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def _index(self, wanted: str) -> int:
        _, version = parse_event_id(wanted)
        # It stands there where nothing before it was put in or left out.
        if version < len(self.events) and self.events[version].id == wanted:
            return version
        for index, recorded in enumerate(self.events):
            if recorded.id == wanted:
                return index
        last = self.events[-1].id if self.events else None
        ends = "is empty" if last is None else f"ends with {last}"
        why = f"{wanted} is not in this history of {self.stream!r}, which {ends}"
        raise NotFound(why, id=wanted, last=last)

    def _made(self, events: Sequence[object], *, at_us: int) -> tuple[Recorded, ...]:
        """Events that were never recorded; they stand in a stream of their own, ``call-42~``.

        Those that say no time of their own occur at ``at_us``.
        """
        if not events:
            return ()
        body = encode_body(events, self.registry)
        row = row_of(
            body,
            position=UNSAVED_POSITION,
            stream=f"{self.stream}~",
            version=self.made,
            recorded_at=at_us,
        )
        return tuple(decode_row(row, self.registry))


def _put_in(
    events: Sequence[Recorded], place: int, put: tuple[Recorded, ...]
) -> tuple[Recorded, ...]:
    return (*events[:place], *put, *events[place:])
