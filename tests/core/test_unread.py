"""Events that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core.event import Event
from refold.core.history import UnreadEvents
from refold.core.recorded import Recorded
from refold.testing import as_recorded


def made(count: int) -> tuple[Recorded, ...]:
    """So many recorded events."""
    return tuple(as_recorded([Event("test.a", {"n": n}) for n in range(count)]))


class Source:
    """Events to read, and how often which were."""

    def __init__(self, events: Sequence[Recorded]) -> None:
        self.events = events
        self.reads: list[tuple[int, int]] = []

    def read(self, first: int, last: int) -> Sequence[Recorded]:
        """Those at indexes first to last."""
        self.reads.append((first, last))
        return self.events[first : last + 1]


@given(count=st.integers(0, 6), later=st.integers(0, 4), data=st.data())
def test_it_is_the_tuple_of_its_events(count: int, later: int, data: st.DataObject) -> None:
    """Its length, its items, its slices of every kind, and what is added to it."""
    events, after = made(count), made(later)
    unread = UnreadEvents(Source(events).read, count) + after
    whole = events + after
    assert len(unread) == len(whole)
    assert tuple(unread) == whole
    chosen = data.draw(st.slices(len(whole))) if whole else slice(None)
    assert unread[chosen] == whole[chosen]
    for index in range(-len(whole), len(whole)):
        assert unread[index] == whole[index]
    with pytest.raises(IndexError):
        unread[len(whole)]


def test_what_was_added_is_not_read_for() -> None:
    """The end needs no event from before it, the last one no other, and all are read once."""
    source, after = Source(made(5)), made(3)
    unread = UnreadEvents(source.read, 5) + after
    assert unread[5:] == after
    assert unread[8:] == ()
    assert unread[-1] == after[-1]
    assert source.reads == []
    assert unread[4] == source.events[4]
    assert source.reads == [(4, 4)]
    assert list(unread) == list(unread) == [*source.events, *after]
    assert source.reads == [(4, 4), (0, 4)]
