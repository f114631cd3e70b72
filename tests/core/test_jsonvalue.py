"""JSON text is read to the last digit, and no key of it is lost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.core.encode import encode_body, encode_metadata
from refold.core.jsonvalue import read
from refold.core.registry import Registry
from refold.errors import InvalidEvent, UsageError
from refold.jsontext import exact
from tests.fuzz.values import JSON_VALUES, same_json

DIGITS = st.text("0123456789", min_size=1, max_size=30)
NUMBERS = st.builds(
    lambda sign, whole, part, power: f"{sign}{whole.lstrip('0') or '0'}{part}{power}",
    st.sampled_from(["", "-"]),
    DIGITS,
    st.just("") | DIGITS.map(lambda digits: f".{digits}"),
    st.just("") | st.integers(-420, 420).map(lambda power: f"e{power:+d}"),
)


@given(NUMBERS)
def test_a_number_is_read_to_the_last_digit(text: str) -> None:
    """Whatever type it is given as, it is written as the same number."""
    value = read(text)
    assert Decimal(value if isinstance(value, int) else repr(value).strip("Decimal()'")) == Decimal(
        text
    )
    assert read(bytes(exact([{"a": value}]))) == [{"a": value}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("-0.0", -0.0),
        ("0.1", 0.1),
        ("1e5", 100_000.0),
        ("18446744073709551617", 2**64 + 1),
        ("9007199254740993.0", Decimal("9007199254740993.0")),
        ("1.000000000000000001", Decimal("1.000000000000000001")),
        ("1e400", Decimal("1e400")),
        ("1e-400", Decimal("1e-400")),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
    ],
)
def test_a_number_is_a_float_where_that_is_the_same(text: str, value: Any) -> None:
    """Else it is a Decimal, so that nothing is rounded in silence."""
    assert (read(text), type(read(text))) == (value, type(value))


@given(JSON_VALUES)
def test_what_json_writes_is_read_as_it_was(value: Any) -> None:
    """The standard library's writer and this reader are each other's inverse."""
    assert same_json(read(json.dumps(value)), value)


@pytest.mark.parametrize(
    "text",
    ["NaN", "-Infinity", "1e99999999999999999999", "[1", "", "'a'", "9" * 5_000, '"\\ud800"'],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """The words of JavaScript among it, which Python's reader takes."""
    with pytest.raises(ValueError):
        read(text)


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]', '{"a": 1, "\\u0061": 2}']
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    """Readers do not agree on which of the two counts: it is named, and nothing is read."""
    with pytest.raises(UsageError) as refused:
        read(text)
    assert refused.value.facts["key"] == "a"


class Level(msgspec.Struct):
    """Holds whatever it is given."""

    value: Any = None
    counts: dict[int, Any] = {}


TWICE: list[Any] = [
    {1: "a", "1": "b"},
    {"deep": [{"x": {1.5: "a", "1.5": "b"}}]},
    [{2: {3: "a", "3": "b"}}],
    msgspec.Raw(b'{"a": 1, "a": 2}'),
    msgspec.Raw(b'{"a": 1, "\\u0061": 1e5}'),
    {"raw": msgspec.Raw(b'[{"a": 1, "a": 2}]')},
    Level({1: 2, "1": 3}),
    Level(counts={7: {1: 2, "1": 3}}),
]


@pytest.mark.parametrize("payload", TWICE, ids=range(len(TWICE)))
def test_two_keys_that_become_one_are_refused(payload: Any) -> None:
    """In a dict, in JSON text, at any depth, in an event with a class and in one without."""
    registry = Registry()
    registry.event("test.level")(Level)
    event = payload if isinstance(payload, Level) else refold.Event("test.any", payload)
    for events in ([event], [refold.Event("test.fine", {}), event, event]):
        with pytest.raises(InvalidEvent):
            encode_body(events, registry)
    with pytest.raises(InvalidEvent):
        encode_metadata({"given": payload})
    with pytest.raises(InvalidEvent):
        encode_body([refold.Event("test.fine", {}, metadata={"given": payload})], registry)


KEYS = st.text("01.a", max_size=2) | st.integers(0, 2) | st.sampled_from([0.5, 1.5])
DICTS = st.recursive(
    st.integers(), lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner)
)


@given(DICTS)
def test_a_dict_is_stored_whole_or_refused(value: Any) -> None:
    """As many members come back as went in."""

    def members(found: Any) -> int:
        parts = found.values() if isinstance(found, dict) else found
        return 1 if isinstance(found, int) else 1 + sum(map(members, parts))

    try:
        body = encode_body([refold.Event("test.any", value)], Registry())
    except InvalidEvent:
        with pytest.raises(UsageError):
            read(msgspec.json.encode(value))
        return
    ((_, back),) = json.loads(body.text)
    assert members(back) == members(value)
    assert read(msgspec.json.encode(value)) == back


def test_raw_numbers_are_stored_and_read_to_the_last_digit() -> None:
    """Text given as JSON is kept as it is; what is read of it is the same number."""
    text = b'{"amount": 1.000000000000000001, "half": 0.5, "big": 36893488147419103232}'
    with refold.open("memory:") as store:
        store.append("call-1", [refold.Event("test.seen", msgspec.Raw(text))])
        (event,) = store.read("call-1")
        assert event.raw == text
        assert event.data == {"amount": Decimal("1.000000000000000001"), "half": 0.5, "big": 2**65}

        fold: refold.Fold[dict[str, Any]] = refold.Fold("seen", dict)
        fold.on("test.seen")(lambda _, data: data)
        assert store.fold("call-1", fold).state == event.data
