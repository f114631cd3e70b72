"""A recorded event: decoded as far as it is asked for, in the current schema."""

from __future__ import annotations

import copy
import dataclasses
import weakref
from collections.abc import Callable
from decimal import Decimal
from pickle import dumps, loads
from typing import Any

import msgspec
import pytest

from refold.core.event import Event, Kind
from refold.core.fold import Fold
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry
from refold.core.stored import Row, decode_body
from refold.errors import CodecError, Corrupt, UnknownEventType, UpcastFailed
from refold.testing import as_recorded


class Model:
    """A stand-in for a pydantic model (which is no dependency): the two methods it is known by."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self) -> dict[str, Any]:
        """The fields as plain values."""
        return self.fields

    @classmethod
    def model_validate(cls, data: dict[str, Any]) -> Model:
        """An instance of plain values; a ValueError, as pydantic's own is, for a wrong one."""
        if "wrong" in data:
            raise ValueError("wrong is not allowed")
        return cls(**data)


class Paid(msgspec.Struct):
    """Schema 2; schema 1 counted cents."""

    amount: Decimal
    by_year: dict[int, Decimal] = {}


@dataclasses.dataclass
class Noted:
    """A dataclass as an event."""

    text: str


@pytest.fixture
def registry() -> Registry:
    """Classes of all three makes, one of them with an older schema."""
    registry = Registry()
    registry.event("test.model")(Model)
    registry.event("test.noted")(Noted)
    registry.event("test.paid", schema=2)(Paid)

    @registry.upcast("test.paid", schema=1)
    def _(data: dict[str, Any]) -> dict[str, Any]:
        return {"amount": str(Decimal(data.pop("cents")) / 100), "by_year": data}

    return registry


def one(event: object, registry: Registry) -> Recorded:
    """The event as a store gives it back."""
    (recorded,) = as_recorded([event], registry=registry)
    return recorded


def test_an_old_event_is_read_in_the_current_schema(registry: Registry) -> None:
    """Data and class are current; what is stored, and under which schema, stays as it was."""
    old = one(Event("test.paid", {"cents": 150, "2026": "7.5"}), registry)
    assert (old.type, old.schema, old.kind) == ("test.paid", 2, Kind("test.paid", 2))
    assert (old.stored_kind, old.raw) == (Kind("test.paid"), b'{"cents":150,"2026":"7.5"}')
    assert old.data == {"amount": "1.5", "by_year": {"2026": "7.5"}}
    assert old.event == Paid(Decimal("1.5"), {2026: Decimal("7.5")})
    new = one(Paid(Decimal("1.5"), {2026: Decimal("7.5")}), registry)
    assert (new.event, new.schema, new.stored_kind.schema) == (old.event, 2, 2)


def test_data_is_decoded_once_and_anew_when_asked(registry: Registry) -> None:
    """``data`` is the event's own; ``decoded()`` is the caller's, to change at will."""
    recorded = one(Event("test.any", {"a": [1]}), registry)
    assert recorded.data is recorded.data
    recorded.decoded()["a"].append(2)
    assert recorded.data == recorded.decoded() == {"a": [1]}


def test_a_class_that_is_not_registered_is_named(registry: Registry) -> None:
    """``data`` needs no class; ``event`` says which type it misses."""
    recorded = one(Event("test.any", {"a": 1}), registry)
    assert recorded.data == {"a": 1}
    with pytest.raises(UnknownEventType) as caught:
        _ = recorded.event
    assert caught.value.type == "test.any"


@pytest.mark.parametrize(
    "event",
    [
        Event("test.noted", {"text": 5}),
        Event("test.noted", {}),
        Event("test.noted", []),
        Event("test.model", {"wrong": 1}),
        Event("test.paid.v2", {"amount": "many"}),
        Event("test.paid", {"cents": 1, "two thousand": "1"}),
    ],
)
def test_a_payload_that_does_not_fit_names_its_event(registry: Registry, event: Event) -> None:
    """A struct, a dataclass and a model say the same, current or upcast; the data can be read."""
    recorded = one(event, registry)
    with pytest.raises(CodecError) as caught:
        _ = recorded.event
    assert caught.value.id == "test-1@0"
    assert caught.value.type == recorded.type
    assert caught.value.__cause__ is not None
    assert recorded.data is not None


def test_a_failing_upcaster_is_met_when_the_data_is_asked_for(registry: Registry) -> None:
    """Type, id, bytes and times of an event that cannot be upcast can be read."""
    recorded = one(Event("test.paid", {"dollars": 1}), registry)
    assert (recorded.id, recorded.raw) == ("test-1@0", b'{"dollars":1}')
    with pytest.raises(UpcastFailed):
        _ = recorded.data


def test_an_events_own_metadata_goes_on_top(registry: Registry) -> None:
    """What the append says of all its events, then what it says of this one; nulls stay."""
    body = '[["a.b",{},null,{"k":null,"own":{"x":1}}],["a.b",{}]]'
    row = Row(1, "call-1", 0, 2, 0, '{"k":1,"own":{"y":2},"shared":true}', body, 0, 0)
    first, second = decode_row(row, registry)
    assert first.metadata == {"k": None, "own": {"x": 1}, "shared": True}
    assert second.metadata == {"k": 1, "own": {"y": 2}, "shared": True}


@pytest.mark.parametrize("name", ["k", "own", "shared", 'a"b', "é\n", "absent"])
def test_one_value_of_the_metadata_is_found_as_in_all_of_it(registry: Registry, name: str) -> None:
    """Whoever says it, and however JSON writes its name; None where nobody does."""
    shared = msgspec.json.encode({"shared": 1, "k": 2, 'a"b': 3, "é\n": 4}).decode()
    body = '[["a.b",{},null,{"k":null,"own":{"absent":1}}],["a.b",{}]]'
    for recorded in decode_row(Row(1, "call-1", 0, 2, 0, shared, body, 0, 0), registry):
        assert recorded.noted(name) == recorded.metadata.get(name)


def test_an_event_that_is_no_copy_is_its_own_origin(registry: Registry) -> None:
    """Whatever its metadata speaks of further down."""
    plain = one(Event("a.b"), registry)
    speaking = one(Event("a.b", metadata={"note": {"copied_from": "call-9@9"}}), registry)
    assert plain.origin_id == speaking.origin_id == "test-1@0"
    assert one(Event("a.b", metadata={"copied_from": "x-1@2"}), registry).origin_id == "x-1@2"


def test_recorded_events_are_equal_when_all_that_is_stored_is(registry: Registry) -> None:
    """Place, kind, bytes, times and metadata; a set holds equal events once."""
    first, same = one(Event("a.b", {"x": 1}), registry), one(Event("a.b", {"x": 1}), registry)
    assert first == same
    assert len({first, same}) == 1
    others = [
        one(Event("a.b", {"x": 2}), registry),
        one(Event("a.c", {"x": 1}), registry),
        one(Event("a.b", {"x": 1}, occurred_at=1), registry),
        one(Event("a.b", {"x": 1}, metadata={"k": 1}), registry),
        as_recorded([Event("a.b", {"x": 1})], stream="test-2", registry=registry)[0],
    ]
    assert all(other != first for other in others)
    assert first != "a.b"
    assert "test-1@0" in repr(first)


def watched(registry: Registry, *rows: Row) -> list[list[Recorded]]:
    """The recorded events of rows as a step is given them: decoded to their class on the way."""
    fold: Fold[list[Recorded]] = Fold("watched", list, registry=registry)
    fold.on(Noted)(lambda state, _event, recorded: [*state, recorded])
    return [fold.over([], row, first=0, last=row.last_version) for row in rows]


def noted_row(position: int, *, events: int) -> Row:
    """An append of notes, as stored."""
    body = ",".join(f'["test.noted",{{"text" : "{n}"}},7,{{"k":1}}]' for n in range(events))
    return Row(position, f"call-{position}", 0, events, 0, '{"m":2}', f"[{body}]", 7, 7)


def test_the_bytes_of_a_row_are_looked_up_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its events are asked for theirs, by turns with those of other rows too."""
    one_row, other_row = watched(registry, *(noted_row(n, events=20) for n in (1, 100)))
    decoded: list[Any] = []

    def counted(body: Any) -> Any:
        decoded.append(body)
        return decode_body(body)

    monkeypatch.setattr("refold.core.recorded.decode_body", counted)
    for number, events in enumerate(zip(one_row, other_row, strict=True)):
        assert [event.raw for event in events] == [b'{"text" : "%d"}' % number] * 2
    assert len(decoded) == 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda e: loads(dumps(e))])
def test_a_recorded_event_goes_to_another_process(
    copied: Callable[[Recorded], Recorded],
) -> None:
    """One that was read, and one that a step was given, with all that is stored of it."""
    row = noted_row(1, events=3)
    registry = Registry()
    registry.event("test.noted")(Noted)
    for event in (decode_row(row, registry)[1], watched(registry, row)[0][1]):
        again = copied(event)
        assert again == event
        assert again.raw == b'{"text" : "1"}'
        assert again.event == Noted("1")
        assert again.metadata == {"m": 2, "k": 1}


def test_a_recorded_event_may_be_referred_to_weakly(registry: Registry) -> None:
    """As what keeps notes on events without keeping the events does."""
    event = one(Event("a.b"), registry)
    assert weakref.ref(event)() is event


def test_what_is_nested_too_deep_is_named_with_its_place() -> None:
    """Neither a body nor metadata like that ends in an error that says nothing of where it is."""
    deep = b"[" * 100_000 + b"]" * 100_000
    body = b'[["test.a",' + deep + b"]]"
    with pytest.raises(Corrupt, match=r"position 3 .*call-1@2.*cannot be read"):
        decode_row(Row(3, "call-1", 2, 1, 0, None, body, None, None, None), Registry())
    shallow = b'[["test.a",{}]]'
    metadata = '{"a":' + deep.decode() + "}"
    (found,) = decode_row(
        Row(3, "call-1", 2, 1, 0, metadata, shallow, None, None, None), Registry()
    )
    with pytest.raises(Corrupt, match="metadata of call-1@2 cannot be read"):
        _ = found.metadata
