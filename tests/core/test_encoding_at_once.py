"""Encoding many events by one call stores what encoding them one by one would."""

from decimal import Decimal
from math import nan
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core import encode
from refold.core.canonical import DEPTH_MAX
from refold.core.encode import encode_body, encode_metadata, encode_one_by_one
from refold.core.event import Event
from refold.core.payload import encode_payload
from refold.core.registry import Registry
from refold.errors import InvalidEvent

REGISTRY = Registry()


@REGISTRY.event("user.utterance")
class Said(msgspec.Struct):
    """An event class."""

    text: str
    score: float = 0.5


@REGISTRY.event("place.named", schema=2)
class Named(msgspec.Struct):
    """One whose tag names its schema, with fields of any kind."""

    what: Any


leaves = st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)
payloads = st.dictionaries(
    st.text(), st.recursive(leaves | st.none(), lambda inner: st.lists(inner), max_leaves=5)
)
metadatas = st.none() | st.dictionaries(st.text(), leaves | st.none())
times = st.none() | st.integers(0, 2**50)
said = st.builds(Said, text=st.text(), score=st.floats(allow_nan=False, allow_infinity=False))
named = st.builds(Named, what=payloads)
events = (
    said
    | named
    | st.builds(Event, st.just("x.y"), payloads, metadata=metadatas, occurred_at=times)
    | st.builds(Event.of, said, metadata=metadatas, occurred_at=times)
)


@given(st.lists(events, min_size=1, max_size=8))
def test_the_bytes_are_the_same(given_events: list[object]) -> None:
    """However events are encoded, what is stored is the same, and so is what is refused."""
    try:
        alone = encode_one_by_one(given_events, REGISTRY)
    except InvalidEvent:
        with pytest.raises(InvalidEvent):
            encode_body(given_events, REGISTRY)
    else:
        assert encode_body(given_events, REGISTRY) == alone


def test_usual_events_are_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What agents record most takes the quick way, in large appends too."""
    copy = Event("x.y", msgspec.Raw(b'{"a" :1}'), occurred_at=7, metadata={"k": 1})
    turn = [Said("a"), Event("x.y", {"a": [{"b": 1}]}), Event.of(Said("b"), occurred_at=5), copy]
    alone = encode_one_by_one(turn, REGISTRY)  # Its types are known from here on.
    monkeypatch.delattr(encode, "encode_one_by_one")
    assert encode_body(turn, REGISTRY) == alone
    assert len(encode_body(turn * 1_000, REGISTRY).kinds) == 4_000


def test_types_that_are_new_are_met_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """An append of many types that never turned up before takes the quick way too.

    One by one, each of them cost as much as all before it.
    """
    monkeypatch.delattr(encode, "encode_one_by_one")
    new: list[object] = [Event(f"new.type{n}", {"n": n}) for n in range(300)]
    assert len(encode_body(new, REGISTRY).kinds) == 300


@pytest.mark.parametrize(
    "bad",
    [
        Said("a", nan),
        Named({"a": [Decimal("Infinity")]}),
        Event("x.y", {"a": nan}),
        Event("x.y", {"a": object()}),
        Event("x.y", {"a": "\ud800"}),
        Event("x.y", {"a": msgspec.Raw(b"1],[2")}),
        Event("x.y", {}, metadata={"a": nan}),
        Event("x y", {}),
        object(),
    ],
)
def test_one_bad_event_is_found_among_good_ones(bad: object) -> None:
    """What cannot be stored is refused wherever it stands."""
    assert encode_body([Said("a"), Said("b")], REGISTRY).kinds == ("user.utterance",) * 2
    with pytest.raises(InvalidEvent):
        encode_body([Said("a"), bad, Said("b")], REGISTRY)


@pytest.mark.parametrize("beside", [0, 1, 300])
def test_one_deep_event_is_found_among_flat_ones(beside: int) -> None:
    """Brackets of many flat events do not hide those of a deep one."""
    deep: Any = {}
    for _ in range(DEPTH_MAX):
        deep = {"a": deep}
    with pytest.raises(InvalidEvent):
        encode_body([*[Said("a" * 300)] * beside, Event("x.y", deep)], REGISTRY)
    encode_body([*[Said("a" * 300)] * beside, Event("x.y", deep["a"])], REGISTRY)


@given(st.dictionaries(st.text(), leaves | st.none(), min_size=1))
def test_metadata_is_stored_as_payloads_are(metadata: dict[str, Any]) -> None:
    """Plain metadata takes a quick way to the same bytes."""
    try:
        expected = encode_payload(metadata).decode()
    except InvalidEvent:
        with pytest.raises(InvalidEvent):
            encode_metadata(metadata)
    else:
        assert encode_metadata(metadata) == expected
