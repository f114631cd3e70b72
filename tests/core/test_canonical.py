"""Sets become sorted lists wherever they stand; everything else stays as it is."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from refold.core.canonical import with_sorted_sets
from refold.core.event import Event


class Inner(msgspec.Struct, frozen=True):
    """A struct inside another."""

    tags: set[str]
    name: str = ""


class Outer(msgspec.Struct, rename={"inner": "renamed"}, tag="outer", omit_defaults=True):
    """A struct with options that must be kept."""

    inner: Inner
    mode: Literal["a", "b"] = "a"
    anything: Any = None


@dataclasses.dataclass(frozen=True)
class Plain:
    """A dataclass."""

    tags: frozenset[int]
    size: int = 0


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
SETS = st.frozensets(st.text(max_size=3) | st.integers(0, 9), max_size=4)
PAYLOADS: st.SearchStrategy[Any] = st.recursive(
    LEAVES | SETS | st.builds(set, SETS),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(st.text(max_size=3), parts, max_size=3)
        | st.builds(lambda tags, value: Outer(Inner(tags), anything=value), SETS, parts)
        | st.builds(Plain, SETS)
    ),
    max_leaves=12,
)
_plain = msgspec.json.Encoder().encode


def without_sets(value: Any) -> Any:
    """A payload with every set as the list of its elements, sorted by their JSON."""
    if isinstance(value, set | frozenset):
        return sorted((without_sets(item) for item in value), key=_plain)
    if isinstance(value, dict):
        return {key: without_sets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_sets(item) for item in value]
    if isinstance(value, Outer):
        said = {"type": "outer", "renamed": without_sets(value.inner)}
        more = {} if value.anything is None else {"anything": without_sets(value.anything)}
        return {**said, **more}
    if isinstance(value, Inner):
        return {"tags": without_sets(value.tags), "name": value.name}
    if isinstance(value, Plain):
        return {"tags": without_sets(value.tags), "size": value.size}
    return value


def holds_set(value: Any) -> bool:
    """Whether a payload holds a set anywhere; each of the classes above has one."""
    if isinstance(value, dict | list):
        return any(map(holds_set, value.values() if isinstance(value, dict) else value))
    return isinstance(value, set | frozenset | Outer | Plain)


@given(PAYLOADS)
def test_sets_are_sorted_and_nothing_else_changes(payload: Any) -> None:
    """In dicts, lists, structs with their options, dataclasses, and other sets' elements."""
    before = copy.deepcopy(payload)
    assert _plain(with_sorted_sets(payload)) == _plain(without_sets(payload))
    assert payload == before  # the caller's own is left alone


@given(PAYLOADS)
def test_what_holds_no_set_is_the_same_object(payload: Any) -> None:
    """No copy is made without need."""
    changed = with_sorted_sets(payload)
    assert (changed is not payload) == holds_set(payload)
    assert with_sorted_sets(changed) is changed


def test_an_event_is_looked_into() -> None:
    """Its payload and its metadata."""
    event = Event("a", {"x": {2, 1}}, metadata={"y": frozenset({"b", "a"})}, occurred_at=5)
    changed = with_sorted_sets(event)
    assert (changed.data, changed.metadata) == ({"x": [1, 2]}, {"y": ["a", "b"]})
    assert (changed.type, changed.occurred_at, event.data) == ("a", 5, {"x": {1, 2}})


def test_what_nests_without_end_is_left_to_be_refused() -> None:
    """The look into a payload ends, however deep it is."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert with_sorted_sets(deep) is deep
