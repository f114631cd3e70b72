"""A history in memory: recorded events, some left out, replaced or added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from refold.core.codec import check_in_use, encode_body, row_of
from refold.core.event import Registry, parse_event_id
from refold.core.recorded import Recorded
from refold.core.row import decode_row
from refold.errors import NotFound

UNSAVED_POSITION = 0
"""The position of an event that is only in memory."""


@dataclass(frozen=True)
class History:
    """The events of a stream up to ``at``, and what was changed since.

    ``shared`` is how many events from the start are still the parent's, so a saved branch forks
    there. Every change gives a new history; nothing is written until it is saved.
    """

    stream: str
    events: tuple[Recorded, ...]
    shared: int
    registry: Registry
    changes: tuple[str, ...] = ()
    made: int = 0

    def without(self, *event_ids: str) -> Self:
        """The history in which these events never happened."""
        dropped = {self._index(event_id) for event_id in event_ids}
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

    def adding(self, *events: object) -> Self:
        """The history with more events at its end."""
        put = self._made(events, at_us=self.events[-1].occurred_at_us if self.events else 0)
        return replace(
            self,
            events=self.events + put,
            changes=(*self.changes, f"adding {len(put)} events"),
            made=self.made + len(put),
        )

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def _index(self, wanted: str) -> int:
        parse_event_id(wanted)
        for index, recorded in enumerate(self.events):
            if recorded.id == wanted:
                return index
        last = self.events[-1].id if self.events else None
        ends = "is empty" if last is None else f"ends with {last}"
        raise NotFound(
            f"{wanted} is not in this history of {self.stream!r}, which {ends}",
            id=wanted,
            last=last,
        )

    def _made(self, events: Sequence[object], *, at_us: int) -> tuple[Recorded, ...]:
        """Events that were never recorded; they stand in a stream of their own, ``call-42~``.

        Those that say no time of their own occur at ``at_us``.
        """
        if not events:
            return ()
        body = encode_body(events, self.registry)
        check_in_use(events, body, self.registry)
        made = decode_row(
            row_of(
                body,
                position=UNSAVED_POSITION,
                stream=f"{self.stream}~",
                version=self.made,
                recorded_at=at_us,
            ),
            self.registry,
        )
        for recorded in made:
            recorded.position = UNSAVED_POSITION
        return tuple(made)
