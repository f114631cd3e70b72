"""A survey of what is stored: what each schema is read as, and what no path leads from."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from refold.core.event import Event
from refold.core.recorded import decode_row
from refold.core.registry import Registry
from refold.core.stored import Row
from refold.errors import CodecError, UpcastFailed
from refold.schemas import Example, ReadAs, StepTaken, StoredSchema, survey, tried
from refold.testing import as_recorded


class Said(msgspec.Struct):
    """Schema 3 of what was said."""

    text: str


def first(data: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2."""
    return {"words": data["w"]}


def second(data: dict[str, Any]) -> dict[str, Any]:
    """From 2 to 3."""
    return {"text": data["words"]}


def halves(data: dict[str, Any]) -> list[object]:
    """What was one event."""
    return [Event("half.one", data), Event("half.two", data)]


@pytest.fixture
def registry() -> Registry:
    """One type in three schemas, one split, one retired."""
    registry = Registry()
    registry.event("said", schema=3)(Said)
    registry.upcast("said", schema=1)(first)
    registry.upcast("said", schema=2)(second)
    registry.upcast("whole", schema=1, into=["half.one", "half.two"])(halves)
    registry.retire("mood", reason="never right")
    return registry


def surveyed(registry: Registry, *events: object) -> dict[tuple[str, int], StoredSchema]:
    """The survey of some events, by type and schema."""
    found = survey(as_recorded(events, registry=registry), registry)
    return {(one.type, one.schema): one for one in found}


def test_each_type_and_schema_is_told(registry: Registry) -> None:
    """How many, as what, by which steps, with the first of them before and after."""
    found = surveyed(
        registry,
        Event("said", {"w": "a"}),
        Event("said", {"w": "b"}),
        Event("said.v2", {"words": "c"}),
        Said("d"),
        Event("whole", {"n": 1}),
        Event("mood", {"m": 1}),
        Event("other", {"o": 1}),
    )
    here = __name__
    steps = [StepTaken(1, f"{here}.first"), StepTaken(2, f"{here}.second")]
    assert found["said", 1] == StoredSchema(
        type="said",
        schema=1,
        events=2,
        reads_as="said.v3",
        cls=f"{here}.Said",
        steps=steps,
        example=Example("test-1@0", {"w": "a"}, [ReadAs("said", 3, {"text": "a"})]),
    )
    assert (found["said", 2].events, found["said", 2].steps) == (1, steps[1:])
    assert (found["said", 3].events, found["said", 3].steps) == (1, [])
    split = found["whole", 1]
    assert (split.splits_into, split.steps[0].by) == (("half.one", "half.two"), f"{here}.halves")
    assert split.example is not None
    assert split.example.after == [ReadAs("half.one", 1, {"n": 1}), ReadAs("half.two", 1, {"n": 1})]
    assert (found["mood", 1].retired, found["mood", 1].events) == ("never right", 1)
    assert (found["other", 1].cls, found["other", 1].finding) == (None, None)
    assert [one for one in found.values() if one.finding] == []


def test_steps_that_no_event_needs_are_told(registry: Registry) -> None:
    """What the registry knows of is listed, with no events."""
    found = surveyed(registry)
    assert {key: one.events for key, one in found.items()} == {
        ("mood", 1): 0,
        ("said", 1): 0,
        ("said", 2): 0,
        ("whole", 1): 0,
    }
    assert [one for one in found.values() if one.finding or one.example] == []


@pytest.mark.parametrize(
    ("event", "unreadable"),
    [
        pytest.param(Event("said", {"wrong": 1}), 1, id="an upcaster fails"),
        pytest.param(Event("said.v3", {"text": 5}), 1, id="does not fit its class"),
        pytest.param(Event("gap", {}), 1, id="a step is missing"),
        pytest.param(Event("said.v9", {}), 0, id="newer than the class"),
        pytest.param(Event("raised", {}), 0, id="upcast over the newest class"),
        pytest.param(Event("late", {}), 0, id="no class for this schema"),
    ],
)
def test_a_schema_that_leads_nowhere_is_a_finding(
    registry: Registry, event: Event, unreadable: int
) -> None:
    """Where folds and ``.event`` would fail, or find no class although the type has one."""
    registry.upcast("gap", schema=2)(lambda data: data)
    registry.event("raised")(msgspec.defstruct("Raised", []))
    registry.upcast("raised", schema=1)(lambda data: data)
    registry.event("late")(msgspec.defstruct("Late", []))
    if event.type == "late":
        event = Event("late.v2", {})
    (found,) = [one for one in surveyed(registry, event).values() if one.finding]
    assert (found.type, found.unreadable) == (event.type.partition(".v")[0], unreadable)


def test_a_class_that_raises_is_a_finding(registry: Registry) -> None:
    """Whatever it raises: the rest is surveyed all the same."""

    @registry.event("moody")
    @dataclasses.dataclass
    class Moody:
        mood: str

        def __post_init__(self) -> None:
            raise KeyError(self.mood)

    body = b'[["moody",{"mood":"bad"}]]'
    events = decode_row(Row(1, "a-1", 0, 1, 0, None, body), registry)
    found = {one.type: one for one in survey(events, registry)}
    assert found["moody"].unreadable == 1
    assert "bad" in (found["moody"].finding or "")


def test_the_example_is_one_that_can_be_read(registry: Registry) -> None:
    """Others of its schema that cannot are counted."""
    found = surveyed(
        registry, Event("said", {"x": 1}), Event("said", {"w": "b"}), Event("said", {"x": 1})
    )["said", 1]
    assert (found.events, found.unreadable) == (3, 2)
    assert found.example is not None
    assert found.example.id == "test-1@1"


def test_a_payload_can_be_tried(registry: Registry) -> None:
    """Before there is a store: what it would be read as, or the error that it would meet."""
    after = tried("said.v2", {"words": "a"}, registry).after
    assert after == [ReadAs("said", 3, {"text": "a"})]
    assert [part.type for part in tried("whole", {}, registry).after] == ["half.one", "half.two"]
    assert tried("mood", {}, registry).after == []
    with pytest.raises(UpcastFailed):
        tried("said", {"words": "a"}, registry)
    with pytest.raises(CodecError):
        tried("said", {"w": 5}, registry)
