"""Whatever is given to be stored comes back as it was, or is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.core.canonical import DEPTH_MAX
from refold.core.encode import encode_body, encode_metadata
from refold.core.event import Event
from refold.core.registry import Registry
from refold.errors import InvalidEvent, RefoldError
from tests.fuzz.values import (
    ANYTHING,
    HALVES,
    JSON_VALUES,
    KEYS,
    NESTED,
    TEXT,
    fuzzed,
    same_json,
)

REGISTRY = Registry()
OBJECTS = st.dictionaries(KEYS, JSON_VALUES, max_size=5)
TIMES = st.none() | st.integers(0, 10**16)
NUMBERS = count()


@REGISTRY.event("test.paid")
class Paid(msgspec.Struct):
    """Money, exact, and whatever was said beside."""

    amount: Decimal
    beside: Any = None


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[refold.Store]]:
    """A log on each backend, shared by all examples; each has a stream of its own."""
    path = tmp_path_factory.mktemp("fuzz") / "log.db"
    with ExitStack() as stack:
        yield [
            stack.enter_context(refold.open(url, registry=REGISTRY, synchronous="NORMAL"))
            for url in ("memory:", path)
        ]


@fuzzed(120, 2_000)
@given(payloads=st.lists(JSON_VALUES | NESTED, min_size=1, max_size=4), at=TIMES, shared=OBJECTS)
def test_json_comes_back_as_it_was(
    stores: list[refold.Store], payloads: list[Any], at: int | None, shared: dict[str, Any]
) -> None:
    """Any JSON up to the limit of depth: by type, by digit, in the order of its keys."""
    events = [Event("test.any", value, metadata=shared, occurred_at=at) for value in payloads]
    stream = f"any-{next(NUMBERS)}"
    for store in stores:
        try:
            store.append(stream, events, metadata={"shared": 1})
        except InvalidEvent as error:
            deep = [n for n, value in enumerate(payloads) if _depth(value) > DEPTH_MAX]
            assert error.index in deep
            continue
        assert all(_depth(value) <= DEPTH_MAX for value in payloads)
        found = list(store.read(stream))
        assert all(same_json(e.data, value) for e, value in zip(found, payloads, strict=True))
        assert all(same_json(e.metadata, {"shared": 1, **shared}) for e in found)
        assert at is None or {e.occurred_at_us for e in found} == {at}


@fuzzed(80, 1_000)
@given(events=st.lists(st.builds(Paid, st.decimals(), ANYTHING), min_size=1, max_size=3))
def test_money_is_exact_or_refused(stores: list[refold.Store], events: list[Paid]) -> None:
    """A Decimal comes back with all of its digits; one that is no number is not stored."""
    stream = f"paid-{next(NUMBERS)}"
    for store in stores:
        try:
            store.append(stream, events)
        except InvalidEvent as error:
            assert 0 <= error.index < len(events)
            assert store.head(stream) == -1
            continue
        stored = [e.event.amount for e in store.read(stream)]
        assert list(map(str, stored)) == [str(event.amount) for event in events]


@fuzzed(200, 2_500)
@given(payload=ANYTHING, metadata=st.none() | ANYTHING, name=TEXT | HALVES | st.just("a.b"))
def test_what_cannot_be_stored_is_refused_as_such(payload: Any, metadata: Any, name: str) -> None:
    """Anything at all as type, payload and metadata: an InvalidEvent, or text that is JSON."""
    try:
        body = encode_body([Event(name, payload, metadata=metadata), Event("a.b")], REGISTRY)
    except InvalidEvent as error:
        assert error.index == 0
        return
    stored = json.loads(body.text.encode())
    assert [event[0] for event in stored] == list(body.kinds)
    # As JSON reads and writes it again: nothing in it is NaN, no text is half a character.
    assert encode_body([Event(name, stored[0][1])], REGISTRY).kinds == body.kinds[:1]


@fuzzed(150, 1_500)
@given(metadata=st.none() | ANYTHING | OBJECTS | st.dictionaries(KEYS | HALVES, ANYTHING))
def test_shared_metadata_is_an_object_or_refused(metadata: Any) -> None:
    """Metadata of an append: nothing for nothing, JSON of an object, or an InvalidEvent."""
    try:
        text = encode_metadata(metadata)
    except InvalidEvent:
        return
    assert (text is None) == (not metadata)
    assert text is None or isinstance(json.loads(text), dict)


@fuzzed(100, 1_000)
@given(stream=TEXT | HALVES, key=st.none() | TEXT | HALVES, size=st.integers(0, 300))
def test_any_text_names_a_stream_or_is_refused(
    stores: list[refold.Store], stream: str, key: str | None, size: int
) -> None:
    """A name is stored and found as it is, on every backend alike, or is an InvalidEvent."""
    name = stream + "x" * size
    outcomes = []
    for store in stores:
        try:
            answer = store.append(name, [Event("a.b", {"of": name, "key": key})], key=key)
            found = store.event(answer.ids[-1])
            assert (found.stream, found.data) == (name, {"of": name, "key": key})
            outcomes.append("stored")
        except RefoldError as error:
            outcomes.append(error.code)
    assert len(set(outcomes)) == 1
    assert outcomes[0] in ("stored", "invalid_event", "key_reused")


def _depth(value: Any) -> int:
    levels, inside = 0, [value]
    while inside := [
        child
        for one in inside
        if isinstance(one, dict | list)
        for child in ([*one.values(), None] if isinstance(one, dict) else [*one, None])
    ]:
        levels += 1
    return levels
