"""The codec: what is stored, byte for byte, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core import encode
from refold.core.canonical import DEPTH_MAX
from refold.core.encode import copied, encode_body, encode_metadata
from refold.core.event import Event
from refold.core.jsonvalue import resolve
from refold.core.payload import EVENT_BYTES_MAX, encode_payload, walk
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry
from refold.core.stored import Row
from refold.errors import Corrupt, InvalidEvent, UsageError

REGISTRY = Registry()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)
FINITE = st.decimals(allow_nan=False, allow_infinity=False)


class Dumped:
    """A stand-in for a pydantic model (which is no dependency): the two methods it is known by."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self) -> dict[str, Any]:
        """The fields as plain values."""
        return self.fields

    @classmethod
    def model_validate(cls, data: dict[str, Any]) -> Dumped:
        """An instance of plain values; a ValueError, as pydantic's own is, for a wrong one."""
        if "wrong" in data:
            raise ValueError("wrong is not allowed")
        return cls(**data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dumped) and other.fields == self.fields

    def __hash__(self) -> int:
        return 0


REGISTRY.event("test.dumped")(Dumped)


@REGISTRY.event("test.paid")
class Paid(msgspec.Struct):
    """Money, exact."""

    amount: Decimal
    note: Any = None


@REGISTRY.event("test.noted")
@dataclasses.dataclass
class Noted:
    """A dataclass as an event."""

    text: str
    at: datetime | None = None


def exactly(value: Any) -> Any:
    """A value with its types, so that 1, 1.0 and True differ, and 0.0 from -0.0."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return type(value), str(math.copysign(1, value)) if value == 0.0 else value, value


def row_of(body: str | bytes, count: int = 1, **changes: Any) -> Row:
    """A stored append at position 10, version 4."""
    return Row(10, "call-1", 4, count, 1_000, None, body, 1_000, 1_000)._replace(**changes)


def stored(*events: object) -> list[Recorded]:
    """Events as they come back from a row."""
    return decode_row(row_of(encode_body(events, REGISTRY).text, len(events)), REGISTRY)


@given(JSON_VALUES)
def test_any_json_value_is_stored_and_comes_back_the_same(value: Any) -> None:
    """Numbers with their type and sign, text to the last character, keys in their order."""
    raw = encode_payload(value)
    (recorded,) = stored(Event("test.any", value))
    assert recorded.raw == raw
    assert exactly(recorded.data) == exactly(value)
    assert json.dumps(json.loads(raw)) == json.dumps(value)


@given(
    JSON_VALUES,
    st.none() | st.dictionaries(TEXT | st.just("copied"), JSON_VALUES, max_size=3),
    st.none() | st.integers(0, 10**15),
)
def test_a_copy_is_the_same_bytes(value: Any, metadata: Any, occurred_at: int | None) -> None:
    """An event that is appended again keeps payload, metadata and time, and says what it copies."""
    (first,) = stored(Event("test.any.v3", value, metadata=metadata, occurred_at=occurred_at))
    (second,) = stored(copied(first))
    assert (second.raw, second.stored_kind) == (first.raw, first.stored_kind)
    assert second.metadata == {**first.metadata, "copied_from": first.id}
    assert second.occurred_at_us == first.occurred_at_us
    assert (first.origin_id, second.origin_id) == (first.id, first.id)
    (third,) = stored(copied(second))
    assert third.origin_id == first.id


@given(FINITE, JSON_VALUES)
def test_decimals_are_exact(amount: Decimal, note: Any) -> None:
    """Every digit and the exponent: a decimal is stored as its text."""
    (recorded,) = stored(Paid(amount, note))
    assert recorded.event.amount.as_tuple() == amount.as_tuple()
    assert json.loads(recorded.raw)["amount"] == str(amount)


def test_the_bytes_of_an_append() -> None:
    """An array of ``[tag, payload, occurred_at, metadata]``, cut after the last that is there."""
    body = encode_body(
        [
            Event("a.b"),
            Event("a.b.v2", [1, "é"], occurred_at="1970-01-01T00:00:01Z"),
            Event("a.b", None, metadata={"k": 1.50}),
            Event.of(Paid(Decimal("1.50")), metadata={"k": {}}, occurred_at=1),
            Event("a.b", {"x": 1}, metadata={}),
        ],
        REGISTRY,
    )
    assert body.text == (
        '[["a.b",{}],["a.b.v2",[1,"é"],1000000],["a.b",null,null,{"k":1.5}],'
        '["test.paid",{"amount":"1.50","note":null},1,{"k":{}}],["a.b",{"x":1}]]'
    )
    assert body.kinds == ("a.b", "a.b.v2", "a.b", "test.paid", "a.b")


@pytest.mark.parametrize(
    "event",
    [
        Paid(Decimal("1E+3"), {"a": [1]}),
        Noted("a", datetime(2026, 3, 1, tzinfo=UTC)),
        Dumped(a=1, b=["c"]),
    ],
    ids=lambda event: type(event).__name__,
)
def test_structs_dataclasses_and_models_are_events(event: object) -> None:
    """Each comes back equal, as its own class, bare or with a time and metadata of its own."""
    bare, dressed = stored(event, Event.of(event, metadata={"k": 1}, occurred_at=5))
    assert bare.event == dressed.event == event
    assert bare.raw == dressed.raw
    assert (dressed.metadata, dressed.occurred_at_us) == ({"k": 1}, 5)


class Odd(Enum):
    """An enumeration of what cannot be stored."""

    NAN = math.nan


@dataclasses.dataclass(slots=True)
class Slotted:
    """A dataclass with a field that was never set."""

    first: Any
    second: Any = dataclasses.field(init=False)


class Renamed(msgspec.Struct, array_like=True):
    """A struct stored as an array."""

    inner: Any


NOT_NUMBERS = [math.nan, math.inf, -math.inf, *(Decimal(n) for n in ("NaN", "-NaN", "-Infinity"))]


def test_an_event_that_says_nothing_of_its_own_is_stored_as_what_it_holds() -> None:
    """Bare, in a list with others, and as an event that holds another, which is none."""
    paid, dressed = Paid(Decimal("1.50")), Event.of(Paid(Decimal("2")), metadata={"k": 1})
    assert encode_body([Event.of(paid)] * 2, REGISTRY) == encode_body([paid] * 2, REGISTRY)
    mixed = [Event.of(paid), Event("a.b", {"n": 1}), paid, dressed]
    assert encode_body(mixed, REGISTRY) == encode_body([paid, *mixed[1:]], REGISTRY)
    with pytest.raises(InvalidEvent, match="event 1: Event is not an event class"):
        encode_body([paid, Event.of(Event("a.b"))], REGISTRY)


@pytest.mark.parametrize("number", NOT_NUMBERS, ids=str)
@pytest.mark.parametrize(
    ("place", "path"),
    [
        (lambda n: n, ""),
        (lambda n: {"a": n}, "/a"),
        (lambda n: [1, [2, n]], "/1/1"),
        (lambda n: {"a/b": {"c~d": (n,)}}, "/a~1b/c~0d/0"),
        (lambda n: {"a": {n}}, "/a/0"),
        (lambda n: {"a": frozenset([n])}, "/a/0"),
        (lambda n: Paid(Decimal(1), {"x": n}), "/note/x"),
        (lambda n: Slotted({"x": n}), "/first/x"),
        (lambda n: Renamed([n]), "/inner/0"),
        (lambda n: Dumped(a=[n]), "/a/0"),
    ],
)
def test_what_is_no_number_is_refused_where_it_stands(
    number: Any, place: Callable[[Any], Any], path: str
) -> None:
    """NaN and infinities, as floats and decimals, in every kind of container."""
    with pytest.raises(InvalidEvent) as caught:
        encode_payload(place(number))
    assert caught.value.path == path


def test_an_enumeration_is_its_value() -> None:
    """A NaN inside one is found too."""
    with pytest.raises(InvalidEvent) as caught:
        encode_payload({"a": Odd.NAN})
    assert caught.value.path == "/a"


@pytest.mark.parametrize("text", ["null", "NaN", "Infinity", "a null and NaN", "[[[{{{" * 50])
def test_text_that_looks_like_trouble_is_text(text: str) -> None:
    """Only values are refused, not words that name them."""
    assert json.loads(encode_payload({text: text, "none": None})) == {text: text, "none": None}


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (object(), ""),
        ({"a": object()}, "/a"),
        ({"a": [1, {"b": 1j}]}, "/a/1/b"),
        ({"a": (n for n in range(3))}, "/a"),
        ({"a": "\ud800"}, "/a"),
        ({"a": {"\ud800": 1}}, "/a"),
        ({"a": [{None: 1}]}, "/a/0"),
        ({"a": {(1, 2): 3}}, "/a"),
        ({"a": Dumped(b=1)}, "/a"),
        ({"a": type}, "/a"),
        ({"a": msgspec.UNSET}, "/a"),
        (Paid(Decimal(1), [object()]), "/note/0"),
        (Slotted([object()]), "/first/0"),
        ({"a": 10**5000}, "/a"),
    ],
)
def test_what_json_has_no_form_for_is_refused_where_it_stands(payload: Any, path: str) -> None:
    """The error names the path inside the payload, and keeps the encoder's own as its cause."""
    with pytest.raises(InvalidEvent) as caught:
        encode_payload(payload)
    assert caught.value.path == path
    assert caught.value.__cause__ is not None


def nested(levels: int) -> Any:
    """So many lists, one in the other."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_payload_nests_so_deep_and_no_deeper() -> None:
    """128 levels are stored; one more, a hundred thousand, and a circle are refused."""
    assert len(encode_payload(nested(DEPTH_MAX))) == 2 * DEPTH_MAX
    circle: dict[str, Any] = {}
    circle["self"] = [circle]
    for too_deep in (nested(DEPTH_MAX + 1), nested(100_000), circle):
        with pytest.raises(InvalidEvent) as caught:
            encode_payload({"a": too_deep} if too_deep is circle else too_deep)
        assert caught.value.path.count("/") == DEPTH_MAX
    wide = encode_payload({"a": [[1]] * 1_000})
    assert wide.count(b"[") == 1_001


@pytest.mark.parametrize("others", [[None], [1, "a", True, 0.5], [{}, []], []])
def test_an_event_nests_no_deeper_beside_others(others: list[Any]) -> None:
    """What the other payloads of an append open, or do not, hides no deep one."""
    for levels in range(DEPTH_MAX - 2, DEPTH_MAX + 5):
        payloads = [*others, nested(levels)]
        events = [Event("test.any", payload) for payload in payloads]
        if levels <= DEPTH_MAX:
            assert len(encode_body(events, REGISTRY).kinds) == len(payloads)
        else:
            with pytest.raises(InvalidEvent) as caught:
                encode_body(events, REGISTRY)
            assert caught.value.index == len(others)


def test_a_payload_is_so_large_and_no_larger() -> None:
    """8 MiB to the byte; over it, the error names the largest part."""
    fits = {"small": 1, "large": "x" * (EVENT_BYTES_MAX - len('{"small":1,"large":""}'))}
    assert len(encode_payload(fits)) == EVENT_BYTES_MAX
    with pytest.raises(InvalidEvent) as caught:
        encode_payload({**fits, "more": 1})
    assert caught.value.path == "/large"


def test_an_append_holds_so_many_events_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is refused, not cut off; so is no event at all."""
    monkeypatch.setattr(encode, "EVENTS_PER_APPEND_MAX", 3)
    assert len(encode_body([Event("a.b")] * 3, REGISTRY).kinds) == 3
    for count in (0, 4):
        with pytest.raises(InvalidEvent):
            encode_body([Event("a.b")] * count, REGISTRY)


@pytest.mark.parametrize(
    "events", [Event("a.b"), {"type": "a.b"}, "a.b", None, iter([Event("a.b")])]
)
def test_events_are_a_list_of_events(events: Any) -> None:
    """One event in the place of a list, or an iterator, is refused as what it is."""
    with pytest.raises(InvalidEvent):
        encode_body(events, REGISTRY)


@pytest.mark.parametrize(
    "bad", [{"a": 1}, "text", None, 5, Event("", {}), Event("a b"), Event("a", schema=0)]
)
def test_a_bad_event_is_named_by_its_place(bad: Any) -> None:
    """What is no event, or has no type that can be stored: the error says the how manieth it is."""
    with pytest.raises(InvalidEvent) as caught:
        encode_body([Event("a.b"), bad], REGISTRY)
    assert caught.value.index == 1


@pytest.mark.parametrize("raw", [b'{"b":2, "a":1.50}', b"1e2", b'"\\u0041"', b"null", b"[1 , 2]"])
def test_raw_json_is_stored_as_it_is(raw: bytes) -> None:
    """A ``msgspec.Raw`` keeps white space, order and number forms."""
    (recorded,) = stored(Event("a.b", msgspec.Raw(raw)))
    assert recorded.raw == raw


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nope", b"1 2", b'1],["a.b",2', b"\xff", b'"\xff"', b"NaN", b"{1:2}"]
)
def test_raw_bytes_that_are_not_json_are_refused(raw: bytes) -> None:
    """As a payload, inside one, in metadata: an append that is stored can be read."""
    for event in (
        Event("a.b", msgspec.Raw(raw)),
        Event("a.b", {"x": {"y": msgspec.Raw(raw)}}),
        Event("a.b", metadata={"x": msgspec.Raw(raw)}),
    ):
        with pytest.raises(InvalidEvent):
            encode_body([event], REGISTRY)
    with pytest.raises(InvalidEvent):
        encode_metadata({"x": msgspec.Raw(raw)})


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1},1772355600000000',
        b'{},null,{"origin":"recorded"}',
        b"1e999",
        b"[" * 900 + b"]" * 900,
    ],
)
def test_raw_json_is_one_value_that_can_be_read(raw: bytes) -> None:
    """What follows a payload would be its time and metadata; what is too deep no reader takes."""
    with pytest.raises(InvalidEvent):
        encode_body([Event("a.b", msgspec.Raw(raw))], REGISTRY)


def test_raw_json_within_a_payload_counts_into_its_depth() -> None:
    """The limit is that of the payload as a whole."""
    with pytest.raises(InvalidEvent):
        encode_body([Event("a.b", {"x": msgspec.Raw(b"[" * 128 + b"]" * 128)})], REGISTRY)


def test_metadata_is_an_object() -> None:
    """Shared or an event's own; empty is the same as none."""
    assert encode_metadata(None) is None
    assert encode_metadata({}) is None
    assert encode_metadata({"a": [1, "é"]}) == '{"a":[1,"é"]}'
    for wrong in ([1], "text", 5):
        with pytest.raises(InvalidEvent):
            encode_metadata(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidEvent):
            encode_body([Event("a.b", metadata=wrong)], REGISTRY)  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent) as caught:
        encode_metadata({"a": {"b": math.nan}})
    assert caught.value.path == "/a/b"


@pytest.mark.parametrize("moment", [1.5, "soon", datetime(2026, 3, 1), True])  # noqa: DTZ001
def test_a_time_that_is_no_instant_is_refused(moment: Any) -> None:
    """An event happened at one moment of one time zone."""
    with pytest.raises(UsageError):
        encode_body([Event("a.b", occurred_at=moment)], REGISTRY)


def test_a_row_comes_back_as_events() -> None:
    """Places count on from the row's; without a time of its own an event has the row's."""
    body = '[["a.b",{"x":1}],["a.b.v2",[],7,{"k":2,"own":3}]]'
    first, second = decode_row(row_of(body, 2, metadata='{"k":1}'), REGISTRY)
    assert (first.id, first.position, first.raw) == ("call-1@4", 10, b'{"x":1}')
    assert (second.id, second.position, second.raw) == ("call-1@5", 11, b"[]")
    assert (first.occurred_at_us, second.occurred_at_us) == (1_000, 7)
    assert (first.recorded_at_us, second.recorded_at_us) == (1_000, 1_000)
    assert (first.metadata, second.metadata) == ({"k": 1}, {"k": 2, "own": 3})
    assert decode_row(row_of(body.encode(), 2), REGISTRY)[0].raw == first.raw


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("", 1),
        ("[", 1),
        ("{}", 1),
        ("[1]", 1),
        ('[["a.b"]]', 1),
        ("[[5,{}]]", 1),
        ('[["a.b",{},"soon"]]', 1),
        ('[["a.b",{}]]', 2),
        ('[["a.b",{}],["a.b",{}]]', 1),
        (b'[["a.b\xff",{}]]', 1),
    ],
)
def test_a_row_that_is_not_what_it_says_is_corrupt(body: str | bytes, count: int) -> None:
    """The error names the place of the append."""
    with pytest.raises(Corrupt) as caught:
        decode_row(row_of(body, count), REGISTRY)
    assert (caught.value.position, caught.value.stream) == (10, "call-1")


@given(st.dictionaries(TEXT, JSON_VALUES, max_size=5))
def test_every_leaf_is_found_by_its_path(value: dict[str, Any]) -> None:
    """The pointers that errors name lead where they say (RFC 6901)."""
    for path, leaf in walk(value):
        found = resolve(value, path)
        assert (
            exactly(found) == exactly(leaf)
            if not isinstance(leaf, dict)
            else set(found) == set(leaf)
        )
