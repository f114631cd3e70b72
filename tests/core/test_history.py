"""Histories in memory: what is left out, replaced and added."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core.event import Event
from refold.core.history import History
from refold.core.recorded import UNSAVED_POSITION
from refold.core.registry import Registry
from refold.errors import InvalidEvent, NotFound, UsageError
from refold.testing import as_recorded

REGISTRY = Registry()


def number(value: int) -> Event:
    """An event that is told apart by its number."""
    return Event("test.n", {"n": value})


def numbered(count: int) -> History:
    """A history of the numbers 0, 1, 2…, all shared with its stream."""
    events = as_recorded([number(n) for n in range(count)], stream="call-1", registry=REGISTRY)
    return History("call-1", tuple(events), count, REGISTRY)


def numbers(history: History) -> list[int]:
    """The numbers of a history, in order."""
    return [recorded.data["n"] for recorded in history]


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["without", "replacing", "adding", "adding after"]),
        st.integers(0, 11),
        st.integers(0, 3),
    ),
    max_size=8,
)


@given(st.integers(0, 6), OPERATIONS)
def test_a_history_is_a_list_that_is_edited(
    count: int, operations: list[tuple[str, int, int]]
) -> None:
    """Any edits in any order do what they do to a list; the shared prefix is what none touched."""
    history = numbered(count)
    model: list[tuple[int, bool]] = [(n, True) for n in range(count)]
    fresh = 100
    for operation, place, size in operations:
        before = numbers(history)
        made = list(range(fresh, fresh + size))
        fresh += size
        new = [(n, False) for n in made]
        if operation == "adding":
            changed = history.adding(*(number(n) for n in made))
            model = model + new
        elif not model:
            continue
        else:
            place %= len(model)
            event_id = history.events[place].id
            if operation == "without":
                changed, new = history.without(event_id), []
            elif operation == "adding after":
                changed = history.adding(*(number(n) for n in made), after=event_id)
                new = [model[place], *new]
            else:
                changed = history.replacing(event_id, *(number(n) for n in made))
            model = [*model[:place], *new, *model[place + 1 :]]
            first = place + (operation == "adding after")
            model[first:] = [(n, False) for n, _ in model[first:]]
        assert numbers(history) == before  # a change gives a new history
        history = changed
    assert numbers(history) == [n for n, _ in model]
    assert history.shared == sum(is_shared for _, is_shared in model)
    assert len({recorded.id for recorded in history}) == len(history)


def test_several_events_are_left_out_at_once() -> None:
    """In any order, an id twice; the others keep theirs."""
    history = numbered(5).without("call-1@3", "call-1@1", "call-1@3")
    assert [recorded.id for recorded in history] == ["call-1@0", "call-1@2", "call-1@4"]
    assert history.shared == 1


def test_a_made_event_can_be_told_and_changed_again() -> None:
    """It stands in a stream of its own, nowhere in the log, and has an id like any other."""
    history = numbered(2).adding(number(7), number(8))
    seven, eight = history.events[2:]
    assert (seven.id, eight.id) == ("call-1~@0", "call-1~@1")
    assert seven.position == eight.position == UNSAVED_POSITION
    assert numbers(history.without(seven.id)) == [0, 1, 8]
    again = history.replacing(eight.id, number(9))
    assert [recorded.id for recorded in again][2:] == ["call-1~@0", "call-1~@2"]


def test_a_made_event_happened_where_it_was_put_unless_it_says() -> None:
    """At the time of the event it replaces, or of the last one: a fold by time meets it there."""
    dated = [Event("test.n", {"n": n}, occurred_at=10 * n) for n in range(3)]
    events = as_recorded(dated, stream="call-1", registry=REGISTRY, recorded_at_us=99)
    history = History("call-1", tuple(events), 3, REGISTRY)
    own = Event("test.n", {"n": 7}, occurred_at=5)
    changed = history.replacing("call-1@1", number(6), own).adding(number(8), own)
    assert [recorded.occurred_at_us for recorded in changed] == [0, 10, 5, 20, 20, 5]
    assert numbered(0).adding(number(1)).events[0].occurred_at_us == 0


def test_what_is_not_in_a_history_cannot_be_changed() -> None:
    """An id of elsewhere, of what was left out, and what is no id."""
    history = numbered(3).without("call-1@1")
    for missing in ("call-1@1", "call-1@3", "call-2@0", "call-1~@0"):
        with pytest.raises(NotFound) as caught:
            history.without(missing)
        assert caught.value.id == missing
    for wrong in ("call-1", "", "call-1@x"):
        with pytest.raises(UsageError):
            history.replacing(wrong, number(1))


def test_what_could_not_be_recorded_cannot_be_put_in() -> None:
    """A made event goes through the codec at once."""
    bad: Any = Event("test.n", {"n": float("inf")})
    with pytest.raises(InvalidEvent) as caught:
        numbered(1).adding(number(1), bad)
    assert (caught.value.index, caught.value.path) == (1, "/n")


def test_a_history_says_what_was_changed() -> None:
    """One line a change, in order."""
    history = numbered(3).without("call-1@0").replacing("call-1@1", number(5)).adding(number(6))
    assert len(history.changes) == 3
    assert [change.split()[0] for change in history.changes] == ["without", "replacing", "adding"]
    assert numbered(3).changes == ()
