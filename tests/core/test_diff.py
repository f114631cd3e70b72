"""The difference of two histories and of two states."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core import patch
from refold.core.diff import diff, diff_states
from refold.core.event import Event
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.testing import as_recorded

REGISTRY = Registry()
EVENTS = st.builds(
    lambda name, n: Event(f"test.{name}", {"n": n}), st.sampled_from("ab"), st.integers(0, 2)
)
HISTORIES = st.lists(EVENTS, max_size=8)


def recorded(events: list[Event], *, stream: str = "call-1") -> list[Recorded]:
    """The events as a store gives them back."""
    return as_recorded(events, stream=stream, registry=REGISTRY)


def said(*letters: str) -> list[Event]:
    """One event a letter."""
    return [Event("test.said", {"text": letter}) for letter in letters]


@given(HISTORIES, HISTORIES)
def test_a_diff_accounts_for_every_event(first: list[Event], second: list[Event]) -> None:
    """What was there, less what was removed, with what was added, is the other side."""
    before, after = recorded(first), recorded(second, stream="call-2")
    found = diff(before, after)
    assert bool(found) == (first != second)
    assert [e.raw for e in before[: found.shared]] == [e.raw for e in after[: found.shared]]
    kept = Counter((e.type, e.raw) for e in before)
    for change in found.changes:
        if change.before is not None:
            kept[(change.before.type, change.before.raw)] -= 1
        if change.after is not None:
            kept[(change.after.type, change.after.raw)] += 1
    assert +kept == Counter((e.type, e.raw) for e in after)


@given(HISTORIES, HISTORIES)
def test_each_change_is_what_it_says(first: list[Event], second: list[Event]) -> None:
    """Removed, added, or one event of a type that became another: its patch leads there."""
    for change in diff(recorded(first), recorded(second)).changes:
        if change.kind == "changed":
            assert change.before is not None
            assert change.after is not None
            assert change.before.type == change.after.type
            assert patch.apply(change.before.data, change.patch) == change.after.data
        else:
            assert (change.before is None) == (change.kind == "added")
            assert (change.after is None) == (change.kind == "removed")
            assert change.patch == ()


@given(HISTORIES)
def test_a_history_does_not_differ_from_itself(events: list[Event]) -> None:
    """Not from another stream with the same events either: ids and times are not compared."""
    later = [Event(e.type, e.data, metadata={"k": 1}, occurred_at=99) for e in events]
    found = diff(recorded(events), recorded(later, stream="call-2"))
    assert not found
    assert found.shared == len(events)


def test_a_diff_is_as_a_reader_would_tell_it() -> None:
    """A word changed, one left out, one at the end."""
    found = diff(recorded(said(*"abcde")), recorded(said(*"aXce", "f")))
    assert found.shared == 1
    assert [
        (c.kind, c.before and c.before.version, c.after and c.after.version) for c in found.changes
    ] == [
        ("changed", 1, 1),
        ("removed", 3, None),
        ("added", None, 4),
    ]
    (operation,) = found.changes[0].patch
    assert (operation.op, operation.path, operation.value) == ("replace", "/text", "X")


def test_another_type_is_another_event() -> None:
    """One that was left out and one that came, not one that changed."""
    found = diff(recorded(said("a")), recorded([Event("test.other", {"text": "a"})]))
    assert sorted(change.kind for change in found.changes) == ["added", "removed"]


def test_anything_that_gives_events_can_be_compared() -> None:
    """An iterator as well as a list."""
    assert not diff(iter(recorded(said("a"))), recorded(said("a")))


class Account(msgspec.Struct):
    """A state as a struct."""

    total: Decimal
    by_year: dict[int, Decimal] = {}


@dataclass
class Plain:
    """A state as a dataclass."""

    items: list[str]


@pytest.mark.parametrize(
    ("before", "after", "operations"),
    [
        (Account(Decimal("1.50")), Account(Decimal("1.5")), [("replace", "/total", "1.5")]),
        (
            Account(Decimal(1)),
            Account(Decimal(1), {2026: Decimal(2)}),
            [("add", "/by_year/2026", "2")],
        ),
        (Plain(["a"]), Plain(["a", "b"]), [("add", "/items/1", "b")]),
        ({"a/b": 1}, {"a/b": 2}, [("replace", "/a~1b", 2)]),
        ([1, 2], [1, 2], []),
        (1, "1", [("replace", "", "1")]),
    ],
)
def test_states_are_compared_as_the_json_they_would_be(
    before: Any, after: Any, operations: Any
) -> None:
    """Structs, dataclasses and plain values; decimals by their text, keys as text (RFC 6902)."""
    found = [(o.op, o.path, o.value) for o in diff_states(before, after)]
    assert found == operations
