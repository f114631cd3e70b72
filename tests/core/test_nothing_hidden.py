"""What reading an event back proves: nothing that JSON cannot say gets past."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest

import refold
from refold.core.encode import encode_body
from refold.errors import InvalidEvent

KINDS = refold.Registry()


class Cost(msgspec.Struct):
    amount: float
    currency: str = "EUR"


class Taxed(Cost):
    tax: float = 0.0


@KINDS.event("test.flat")
class Flat(msgspec.Struct):
    text: str
    score: float
    tags: list[str]
    counts: dict[str, int]
    kind: Literal["a", "b"]
    share: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    pair: tuple[int, float] = (1, 2.0)
    either: int | str = 0


@KINDS.event("test.nested")
class Nested(msgspec.Struct):
    costs: list[Cost]


@KINDS.event("test.optional")
class Optional(msgspec.Struct):
    score: float | None


@KINDS.event("test.exact")
class Exact(msgspec.Struct):
    amount: Decimal


@KINDS.event("test.any")
class Anything(msgspec.Struct):
    value: Any


@KINDS.event("test.tree")
class Tree(msgspec.Struct):
    children: list[Tree]


@KINDS.event("test.keyed")
class Keyed(msgspec.Struct):
    by_score: dict[float, int]


class Pair(NamedTuple):
    left: float
    right: float


@KINDS.event("test.paired")
class Paired(msgspec.Struct):
    pair: Pair


def flat(**fields: Any) -> Flat:
    given: dict[str, Any] = {"text": "a", "score": 1.0, "tags": [], "counts": {}, "kind": "a"}
    return Flat(**{**given, **fields})


def deep(levels: int) -> Any:
    tree = Tree([])
    for _ in range(levels):
        tree = Tree([tree])
    return tree


@pytest.mark.parametrize(
    "event",
    [
        flat(score=math.nan),
        flat(score=-math.inf),
        flat(text=math.nan),
        flat(tags=[math.nan]),
        flat(counts={"a": math.inf}),
        flat(pair=(1, math.nan)),
        flat(either=math.nan),
        flat(counts={"a": {"b": math.nan}}),
        Nested([Cost(math.nan)]),
        Nested([Taxed(1.0, tax=math.nan)]),
        Nested([{"amount": 1.0, "also": math.nan}]),  # type: ignore[list-item]
        Nested([{"amount": 1.0, "currency": "EUR", "also": [[None, math.inf]]}]),  # type: ignore[list-item]
        Optional(math.nan),
        Exact(Decimal("NaN")),
        Exact(Decimal("-Infinity")),
        Anything({"a": [math.nan]}),
        deep(200),
    ],
)
def test_what_json_cannot_say_is_refused_in_every_class(event: object) -> None:
    """However it is hidden, and also where another event stands before it."""
    with refold.open("memory:", registry=KINDS) as store:
        for events in ([event], [flat(), event]):
            with pytest.raises(InvalidEvent):
                store.append("test-1", events)
        assert store.log_head() == 0


@pytest.mark.parametrize(
    "event",
    [
        flat(text="null NaN Infinity"),
        flat(score=2),
        Nested([Cost(1.5), Cost(2.0, "USD")]),
        Nested([Taxed(1.0, tax=0.2)]),
        Nested([{"amount": 1, "also": None}]),  # type: ignore[list-item]
        Optional(0.5),
        Exact(Decimal("1.50")),
        Anything({"a": [1, "b"]}),
        deep(20),
    ],
)
def test_everything_else_is_stored_as_it_stands(event: object) -> None:
    """With the bytes of the encoder, whether they were searched or not."""
    body = encode_body([event, event], KINDS)
    with refold.open("memory:", registry=KINDS) as store:
        store.append("test-1", [event, event])
        raw = [bytes(recorded.raw) for recorded in store.read("test-1")]
    assert raw == [msgspec.json.encode(event)] * 2
    assert body.text.encode() == msgspec.json.encode([[body.kinds[0], event]] * 2)


@pytest.mark.parametrize(
    "raw",
    [
        b'1.0}],["test.flat",{"score":2.0',
        b'1.0},"not a time",{"m":1',
        b'1.0},5,{"m":1',
        b'1.0,"also":' + b"[" * 900 + b"]" * 900,
        b'1.0,"also":null,"more":NaN',
    ],
)
def test_raw_json_does_not_break_out_of_its_field(raw: bytes) -> None:
    """What is acknowledged can be read, as the one event that was given."""
    event = flat(score=msgspec.Raw(raw))
    with refold.open("memory:", registry=KINDS) as store:
        with pytest.raises(InvalidEvent):
            store.append("test-1", [event])
        assert store.log_head() == 0
