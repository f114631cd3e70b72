"""The fast fold gives what the slow one gives: the same state, or the same error."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core import dispatch
from refold.core.dispatch import Decoder
from refold.core.encode import encode_body, encode_one_by_one, row_of
from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry
from refold.core.stored import SEPARATOR, Row, joined
from refold.errors import CodecError, RefoldError, UpcastFailed, UsageError

REGISTRY = Registry()


@REGISTRY.event("test.said")
class Said(msgspec.Struct):
    """A struct, in its first schema."""

    text: str


@REGISTRY.event("test.paid", schema=3)
class Paid(msgspec.Struct, array_like=True):
    """A struct stored as an array, in its third schema."""

    amount: Decimal
    years: dict[int, int] = {}


@REGISTRY.event("test.noted")
@dataclasses.dataclass
class Noted:
    """A dataclass."""

    text: str
    size: int = 0


@REGISTRY.event("test.model")
class Model:
    """A stand-in for a pydantic model (which is no dependency): the two methods it is known by."""

    def __init__(self, text: str) -> None:
        self.text = text

    def model_dump(self) -> dict[str, str]:
        """The fields as plain values."""
        return {"text": self.text}

    @classmethod
    def model_validate(cls, data: dict[str, str]) -> Model:
        """An instance of plain values; a ValueError, as pydantic's own is, for a wrong one."""
        if not isinstance(data, dict) or not isinstance(data.get("text"), str):
            raise ValueError("no text")
        return cls(data["text"])


@REGISTRY.upcast("test.paid", schema=1)
def _cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"units": str(Decimal(data["cents"]) / 100)}


@REGISTRY.upcast("test.paid", schema=2)
def _array(data: dict[str, Any]) -> Any:
    return [data["units"], {"2026": 1}]


def made(*, with_model: bool, with_recorded: bool) -> Fold[list[Any]]:
    """A fold that notes all it sees; models and recorded events change how it must be run."""
    fold: Fold[list[Any]] = Fold("notes", list, registry=REGISTRY)

    @fold.on(Said, Noted)
    def _(state: list[Any], event: Said | Noted) -> list[Any]:
        state.append((type(event).__name__, event.text))
        return state

    @fold.on(Paid)
    def _(state: list[Any], event: Paid) -> list[Any]:
        state.append((str(event.amount), event.years))
        return state

    @fold.on("test.loose")
    def _(state: list[Any], event: Any) -> list[Any]:
        return [*state, event]

    if with_model:
        fold.on(Model)(lambda state, event: [*state, event.text])
    if with_recorded:
        fold.on("test.watched")(watched)
        fold.on("test.placed")(placed)
    return fold


def watched(state: list[Any], event: Any, recorded: Recorded) -> list[Any]:
    """A step that asks for the recorded event."""
    return [*state, (recorded.id, recorded.position, event)]


def placed(state: list[Any], event: Any, id: str, at_us: int) -> list[Any]:
    """A step that asks for no more than the place of its event."""
    return [*state, (id, at_us, event)]


WORDS = st.sampled_from(["", "a", "é\x00\n", '"quoted"', "x" * 50])
PLACES: list[dict[str, Any]] = [
    {},
    {"occurred_at": 5},
    {"metadata": {"k": 1}},
    {"metadata": {"copied_from": "call-0@3"}, "occurred_at": 9},
]
GOOD: list[st.SearchStrategy[object]] = [
    st.builds(Said, WORDS),
    st.builds(Noted, WORDS, st.integers(-5, 5)),
    st.builds(Model, WORDS),
    st.builds(Paid, st.decimals(0, 9, places=2), st.dictionaries(st.integers(0, 9), st.integers())),
    st.builds(lambda n: Event("test.paid", {"cents": n}), st.integers(0, 999)),
    st.builds(lambda n: Event("test.paid.v2", {"units": str(n)}), st.integers(0, 999)),
    st.builds(lambda t: Event.of(Said(t), metadata={"k": 1}, occurred_at=7), WORDS),
    st.builds(lambda t: Event("test.said", {"text": t, "unknown": [1]}), WORDS),
    st.builds(lambda w: Event("test.loose", w), st.none() | WORDS | st.lists(WORDS)),
    st.builds(lambda w: Event("test.watched", w), WORDS),
    st.builds(lambda w, of: Event("test.placed", w, **of), WORDS, st.sampled_from(PLACES)),
    st.builds(lambda n: Event(f"test.other{n}", {"n": n}), st.integers(0, 99)),
    st.builds(lambda n: Event(f"test.loose.v{n}", n), st.integers(2, 4)),
]
BAD: list[object] = [
    Event("test.said", {"text": 5}),
    Event("test.said", []),
    Event("test.noted", {"text": "a", "size": "big"}),
    Event("test.model", {"wrong": 1}),
    Event("test.paid", {"dollars": 1}),
    Event("test.paid.v3", ["many"]),
]
GOOD_EVENTS = st.one_of(GOOD)
ANY_EVENTS = st.one_of([*GOOD, st.sampled_from(BAD)])


def rows_of(appends: list[list[object]]) -> list[Row]:
    """The appends as rows of one stream."""
    rows, version = [], 0
    for events in appends:
        body = encode_one_by_one(events, REGISTRY, are_old=True)
        rows.append(
            row_of(body, position=version * 2 + 1, stream="call-1", version=version, recorded_at=0)
        )
        version += len(events)
    return rows


def page_of(rows: list[Row], *, is_packed: bool) -> Row:
    """The rows as one, as a page of appends joins them, or as a segment packs them."""
    segment = joined(rows)
    first, count = rows[0], segment.event_count
    body, parts = segment.text[: segment.body_bytes], segment.text[segment.body_bytes :]
    if not is_packed:
        body = SEPARATOR.join(str(row.body).encode() for row in rows)
    place = first.position, first.stream, first.version, count, first.recorded_at, None
    return Row(*place, body, packed_parts=parts, joined=SEPARATOR in body)


def outcome(run: Any) -> Any:
    """What a run comes to: a state, or what is known of its error."""
    try:
        return run()
    except RefoldError as error:
        return type(error), error.facts.get("id"), error.facts.get("type")


def fast(fold: Fold[list[Any]], rows: list[Row], first: int, last: int) -> list[Any]:
    """The state as a store folds."""
    state = fold.initial()
    for row in rows:
        state = fold.over(state, row, first=first, last=last)
    return state


def slow(fold: Fold[list[Any]], rows: list[Row], first: int, last: int) -> list[Any]:
    """The state event by event; only events that are wanted are decoded to their class."""
    events = [recorded for row in rows for recorded in decode_row(row, REGISTRY)]
    return fold.run(e for e in events if first <= e.version <= last).state


@given(
    st.lists(st.lists(GOOD_EVENTS, min_size=1, max_size=6), max_size=5),
    st.booleans(),
    st.booleans(),
    st.integers(0, 8),
    st.integers(0, 30),
)
def test_any_history_folds_fast_as_it_folds_slowly(
    appends: list[list[object]], with_model: bool, with_recorded: bool, first: int, last: int
) -> None:
    """All makes of classes, old schemas, unknown types, by class and by name; any slice of it."""
    fold = made(with_model=with_model, with_recorded=with_recorded)
    rows = rows_of(appends)
    assert fast(fold, rows, 0, 10**6) == slow(fold, rows, 0, 10**6)
    assert fast(fold, rows, first, last) == slow(fold, rows, first, last)
    if rows:
        for page in (page_of(rows, is_packed=False), page_of(rows, is_packed=True)):
            assert fast(fold, [page], 0, 10**6) == slow(fold, rows, 0, 10**6)
            assert fast(fold, [page], first, last) == slow(fold, rows, first, last)


@given(st.lists(st.lists(ANY_EVENTS, min_size=1, max_size=4), max_size=4), st.booleans())
def test_a_history_that_does_not_fit_fails_alike(
    appends: list[list[object]], with_model: bool
) -> None:
    """The same error naming the same event, or the same state where nobody asked for that event."""
    fold = made(with_model=with_model, with_recorded=False)
    rows = rows_of(appends)
    expected = outcome(lambda: slow(fold, rows, 0, 10**6))
    assert outcome(lambda: fast(fold, rows, 0, 10**6)) == expected
    assert outcome(lambda: fast(fold, rows, 0, 10**6)) == expected  # and once it has learnt


@pytest.mark.parametrize(
    ("bad", "kind"),
    [(BAD[0], CodecError), (BAD[2], CodecError), (BAD[3], CodecError), (BAD[4], UpcastFailed)],
)
def test_what_does_not_fit_is_named(bad: object, kind: type[CodecError]) -> None:
    """The error holds the id of the event, wherever in a row it stands."""
    fold = made(with_model=True, with_recorded=False)
    rows = rows_of([[Said("a")], [Said("b"), bad, Said("c")]])
    with pytest.raises(kind) as caught:
        fast(fold, rows, 0, 10**6)
    assert caught.value.id == "call-1@2"


def test_a_step_that_forgets_the_state_is_found_on_the_fast_way() -> None:
    """Returning None is refused, not folded on."""
    fold: Fold[list[Any]] = Fold("forgetful", list, registry=REGISTRY)
    fold.on(Said)(lambda state, event: None)
    with pytest.raises(UsageError):
        fast(fold, rows_of([[Said("a")]]), 0, 10**6)


def test_a_step_or_an_upcaster_that_comes_later_counts() -> None:
    """What was learnt before it was added is forgotten."""
    registry = Registry()
    fold: Fold[list[Any]] = Fold("growing", list, registry=registry)
    fold.on("test.a")(lambda state, event: [*state, ("a", event)])
    body = encode_body([Event("test.a", {"n": 1}), Event("test.b", {"n": 2})], registry)
    row = row_of(body, position=1, stream="call-1", version=0, recorded_at=0)
    assert fast(fold, [row], 0, 9) == [("a", {"n": 1})]
    fold.on("test.b")(lambda state, event: [*state, ("b", event)])
    assert fast(fold, [row], 0, 9) == [("a", {"n": 1}), ("b", {"n": 2})]
    registry.upcast("test.b", schema=1)(lambda data: {"m": data["n"]})
    assert fast(fold, [row], 0, 9) == [("a", {"n": 1}), ("b", {"m": 2})]


def test_threads_may_share_a_fold() -> None:
    """Each meets types the others have not taught yet, and gets its own history's state."""
    fold = made(with_model=False, with_recorded=False)
    barrier = threading.Barrier(8)

    def run(number: int) -> bool:
        rows = rows_of([[Said(f"{number}-{n}"), Event(f"test.t{number}.{n}")] for n in range(30)])
        barrier.wait(timeout=30)
        return fast(fold, rows, 0, 10**6) == slow(fold, rows, 0, 10**6)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(8)))


def test_tags_that_are_learnt_at_once_are_all_decoded() -> None:
    """Who meets a new one while another is learnt takes no decoder that lacks either."""

    def wrap(tag: str) -> type:
        if tag == "test.a":
            assert [event.data for event in decoder(b'[["test.b",1]]')] == [1]
        return msgspec.defstruct("Any", [("data", int)], tag=tag, array_like=True)

    decoder = Decoder(wrap)
    for body in (b'[["test.a",2]]', b'[["test.b",2]]', b'[["test.a",2],["test.b",2]]'):
        assert {event.data for event in decoder(body)} == {2}


@pytest.mark.parametrize(
    ("reads", "looks", "body"),
    [
        ("__call__", "_decode_tags", '[["test.new",1]]'),
        ("bodies", "_decode_tags_of_bodies", '[[["test.new",1]]]'),
    ],
)
def test_what_another_thread_learnt_meanwhile_is_used(
    monkeypatch: pytest.MonkeyPatch, reads: str, looks: str, body: str
) -> None:
    """A good body is read, even where its types became known between the failure and the look."""
    decoder = Decoder(
        lambda tag: msgspec.defstruct("Any", [("data", Any)], tag=tag, array_like=True)
    )
    read, tags_of = getattr(decoder, reads), getattr(dispatch, looks)

    def overtaken(body: str) -> Any:
        monkeypatch.undo()
        read(body)
        return tags_of(body)

    monkeypatch.setattr(dispatch, looks, overtaken)
    assert len(read(body)) == 1
