"""Schemas change, histories do not: every kind of change, and what must hold of all of them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core.encode import encode_body, encode_one_by_one, row_of
from refold.core.event import Event, Kind
from refold.core.fold import Fold
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry
from refold.errors import InvalidEvent, RefoldError, UnknownEventType, UpcastFailed, UsageError
from refold.testing import as_recorded

Payload = dict[str, Any]


class Person(msgspec.Struct):
    """Schema 5: every kind of change of a field was made on the way."""

    first: str
    last: str
    age: int
    mail: str
    newsletter: bool = False


class Asked(msgspec.Struct):
    """The first half of what was once one event."""

    room: str


class Confirmed(msgspec.Struct):
    """The second half, in its second schema: the price is text now."""

    price: Decimal


REGISTRY = Registry()
REGISTRY.event("person.noted", schema=5)(Person)
REGISTRY.event("booking.asked")(Asked)
REGISTRY.event("booking.confirmed", schema=2)(Confirmed)


@REGISTRY.upcast("person.noted", schema=1)
def added(data: Payload) -> Payload:
    """A field added that no default of the class could give."""
    return {**data, "age": 0}


@REGISTRY.upcast("person.noted", schema=2)
def renamed(data: Payload) -> Payload:
    """A field renamed."""
    data["mail"] = data.pop("email")
    return data


@REGISTRY.upcast("person.noted", schema=3)
def field_split(data: Payload) -> Payload:
    """One field became two."""
    first, _, last = data.pop("name").partition(" ")
    return {**data, "first": first, "last": last}


@REGISTRY.upcast("person.noted", schema=4)
def retyped(data: Payload) -> Payload:
    """Text became a number."""
    return {**data, "age": int(data["age"])}


STEPS: list[Callable[[Payload], Payload]] = [added, renamed, field_split, retyped]


@REGISTRY.upcast("booking.made", schema=1)
def with_currency(data: Payload) -> Payload:
    """A step before the split: it runs first."""
    return {**data, "cents": data["cents"] * 100}


@REGISTRY.upcast("booking.made", schema=2, into=["booking.asked", "booking.confirmed"])
def halves(data: Payload) -> list[object]:
    """One event became two; the second only where there is a price, in its own old schema."""
    asked: list[object] = [Asked(data["room"])]
    return asked + [Event("booking.confirmed", {"cents": data["cents"]})] * bool(data["cents"])


@REGISTRY.upcast("booking.confirmed", schema=1)
def as_price(data: Payload) -> Payload:
    """What the split made goes on by its own upcaster."""
    return {"price": str(Decimal(data["cents"]) / 10_000)}


REGISTRY.retire("mood.guessed", reason="it was never right")

NAMES = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)
OLDEST = st.builds(
    lambda first, last, mail, extra: {"name": f"{first} {last}", "email": mail, **extra},
    NAMES,
    NAMES,
    NAMES,
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers()),
)


@given(OLDEST, st.integers(1, 5))
def test_a_chain_is_the_composition_of_its_steps(oldest: Payload, stored: int) -> None:
    """From whatever schema an event is stored in, what is read is every later step after another.

    Fields that no step and no class knows are still there.
    """
    data = reduce(lambda payload, step: step(dict(payload)), STEPS[: stored - 1], oldest)
    expected = reduce(lambda payload, step: step(dict(payload)), STEPS[stored - 1 :], data)
    (recorded,) = as_recorded([Event("person.noted", data, schema=stored)], registry=REGISTRY)
    assert recorded.data == expected
    assert recorded.event == msgspec.convert(expected, Person)
    assert {"x", "y"} & recorded.data.keys() == {"x", "y"} & oldest.keys()


# -- a history with old events, and the same one written by hand as it would be today -----------

Pair = tuple[list[object], list[object]]


def noted(name: str, mail: str, schema: int) -> Pair:
    """A person as some schema stored them, and as today's would."""
    data: Payload = {"name": f"{name} B", "email": mail}
    for step in STEPS[: schema - 1]:
        data = step(data)
    return [Event("person.noted", data, schema=schema)], [Person(name, "B", 0, mail)]


def made(room: str, cents: int, schema: int) -> Pair:
    """A booking as one event, and as the one or two that it is today."""
    old = Event("booking.made", {"room": room, "cents": cents}, schema=schema)
    price = Decimal(cents) / (100 if schema == 1 else 10_000)
    return [old], [Asked(room), *([Confirmed(price)] if cents else [])]


PAIRS: st.SearchStrategy[Pair] = st.one_of(
    st.builds(noted, NAMES, NAMES, st.integers(1, 5)),
    st.builds(made, NAMES, st.integers(0, 999), st.integers(1, 2)),
    st.builds(lambda mood: ([Event("mood.guessed", mood)], []), st.none() | NAMES),
    st.builds(lambda room: ([Asked(room)], [Asked(room)]), NAMES),
    st.builds(lambda n: ([Event("other.thing", n)], [Event("other.thing", n)]), st.integers()),
)


def noting(*, by_recorded: bool = False) -> Fold[list[Any]]:
    """A fold that writes down whatever it is given."""
    fold: Fold[list[Any]] = Fold("noting", list, registry=REGISTRY)
    if by_recorded:
        step = lambda state, event, recorded: [*state, recorded.type, event]  # noqa: E731
        fold.on(Person, Asked, Confirmed)(step)
    else:
        fold.on(Person, Asked, Confirmed)(lambda state, event: [*state, event])
    fold.on("mood.guessed")(lambda state, event: [*state, "a mood"])
    fold.on("booking.made")(lambda state, event: [*state, "a whole booking"])
    return fold


def in_rows(fold: Fold[list[Any]], events: list[object], per_row: int) -> list[Any]:
    """The state as rows are folded, as a store folds."""
    state = fold.initial()
    for start in range(0, len(events), per_row):
        body = encode_one_by_one(events[start : start + per_row], REGISTRY, are_old=True)
        row = row_of(body, position=start + 1, stream="a-1", version=start, recorded_at=0)
        state = fold.over(state, row, first=0, last=10**6)
    return state


@given(st.lists(PAIRS, max_size=8), st.booleans(), st.integers(1, 4))
def test_an_old_history_folds_as_the_one_written_anew(
    pairs: list[Pair], by_recorded: bool, per_row: int
) -> None:
    """Row by row and event by event: upcast, split and retired events fold to the same state."""
    old = [event for before, _ in pairs for event in before]
    new = [event for _, after in pairs for event in after]
    fold = noting(by_recorded=by_recorded)
    expected = fold.run(as_recorded(new, registry=REGISTRY)).state if new else []
    assert in_rows(fold, old, per_row) == expected
    if old:
        assert fold.run(as_recorded(old, registry=REGISTRY)).state == expected


@given(st.lists(PAIRS, max_size=8))
def test_events_that_were_not_recorded_count_alike(pairs: list[Pair]) -> None:
    """A decider's test may give old events: ``Fold.evolve`` brings them up too."""
    fold = noting()
    old: list[Any] = reduce(fold.evolve, [event for before, _ in pairs for event in before], [])
    new: list[Any] = reduce(fold.evolve, [event for _, after in pairs for event in after], [])
    assert old == new


# -- an event split in two ----------------------------------------------------------------------


def one(event: object, registry: Registry = REGISTRY) -> Recorded:
    """The event as a store gives it back."""
    (recorded,) = as_recorded([event], registry=registry)
    return recorded


def test_a_split_event_stays_one_recorded_event() -> None:
    """Its type, bytes and place are those stored; its data is what the split was given."""
    old = one(Event("booking.made", {"room": "a", "cents": 5}, metadata={"k": 1}, occurred_at=7))
    assert (old.type, old.stored_kind, old.kind) == ("booking.made", Kind("booking.made"), old.kind)
    assert (old.raw, old.data) == (b'{"room":"a","cents":5}', {"room": "a", "cents": 500})
    assert old.kind == Kind("booking.made", 2)
    assert old.events == [Asked("a"), Confirmed(Decimal("0.05"))]
    with pytest.raises(UnknownEventType) as caught:
        _ = old.event
    assert caught.value.type == "booking.made"


def test_the_parts_of_a_split_event_share_its_place() -> None:
    """Id, version, position, times and metadata; each has its own type and payload."""
    old = one(Event("booking.made", {"room": "a", "cents": 5}, metadata={"k": 1}, occurred_at=7))
    parts = old.parts()
    assert [part.type for part in parts] == ["booking.asked", "booking.confirmed"]
    for part in parts:
        assert (part.id, part.version, part.position) == (old.id, old.version, old.position)
        assert (part.occurred_at_us, part.recorded_at_us) == (7, old.recorded_at_us)
        assert (part.metadata, part.whole) == ({"k": 1}, old)
        assert list(part.parts()) == [part]
    assert [part.type for part in old.parts(among={"booking.asked"})] == ["booking.asked"]
    assert list(old.parts(among={"booking.made"})) == []


def test_an_event_that_is_not_split_is_its_own_part() -> None:
    """In its current schema or an old one, known or not."""
    for event in (Asked("a"), Event("person.noted", {"name": "A B", "email": "m"}), Event("z")):
        recorded = one(event)
        assert list(recorded.parts()) == [recorded]
        assert list(recorded.parts(among={recorded.type})) == [recorded]
        assert list(recorded.parts(among={"q"})) == []


def test_a_type_may_be_split_into_several_of_itself() -> None:
    """A batch becomes its items: the next schema of the same type, which is not split."""
    registry = Registry()

    @registry.event("order.placed", schema=2)
    class Placed(msgspec.Struct):
        item: str

    @registry.upcast("order.placed", schema=1, into=["order.placed"])
    def items(data: Payload) -> list[object]:
        return [Placed(item) for item in data["items"]]

    fold: Fold[list[str]] = Fold("items", list, registry=registry)
    fold.on("order.placed")(lambda state, event: [*state, event["item"]])
    body = encode_body([Event("order.placed", {"items": ["a", "b"]}), Placed("c")], registry)
    row = row_of(body, position=1, stream="a-1", version=0, recorded_at=0)
    for _ in range(2):  # and once it has learnt
        assert fold.over([], row, first=0, last=9) == ["a", "b", "c"]
    assert registry.current(Kind("order.placed")) == Kind("order.placed")
    assert registry.current(Kind("order.placed", 2)) == Kind("order.placed", 2)


def test_what_a_split_made_may_be_split_again() -> None:
    """One step after the other, and read by those who want the last of them."""
    registry = Registry()
    registry.upcast("a", schema=1, into=["b", "c"])(lambda data: [Event("b", data), Event("c")])
    registry.upcast("b", schema=1, into=["d", "e"])(lambda data: [Event("d", data), Event("e")])
    assert [part.type for part in one(Event("a", {"n": 1}), registry).parts()] == ["d", "e", "c"]
    assert registry.becomes(Kind("a")) >= {"d", "e", "c"}
    assert registry.upcasts.sources_of(["d"]) == {"a", "b", "d"}
    assert registry.upcasts.sources_of(["z"]) == {"z"}


def bad_split(function: Callable[[Payload], Any]) -> Recorded:
    """An event whose split does this."""
    registry = Registry()
    registry.event("a.half")(Asked)
    registry.event("a.other")(Confirmed)
    registry.upcast("a.whole", schema=1, into=["a.half"])(function)
    return one(Event("a.whole", {}), registry)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda data: None, id="forgets to return"),
        pytest.param(lambda data: {"room": "a"}, id="gives a payload"),
        pytest.param(lambda data: [{"room": "a"}], id="gives payloads"),
        pytest.param(lambda data: [Confirmed(Decimal(1))], id="of a type not named"),
        pytest.param(lambda data: [Event("a.other", {})], id="of a type not named, untyped"),
        pytest.param(lambda data: [Event("a.half", {"x": float("nan")})], id="not JSON"),
        pytest.param(lambda data: [Event("a.half", {}, metadata={"k": 1})], id="with metadata"),
        pytest.param(lambda data: [Event("a.half", {}, occurred_at=1)], id="with a time"),
        pytest.param(lambda data: [Event("", {})], id="without a type"),
        pytest.param(lambda data: [data["missing"]], id="raises"),
    ],
)
def test_a_split_that_does_wrong_is_named(function: Callable[[Payload], Any]) -> None:
    """The error says which event, type and schema; the event can still be read."""
    recorded = bad_split(function)
    with pytest.raises(UpcastFailed) as caught:
        recorded.parts()
    assert (caught.value.id, caught.value.type, caught.value.schema) == ("test-1@0", "a.whole", 1)
    assert recorded.data == {}


def test_a_split_into_itself_ends() -> None:
    """One that gives back what it was given is an error, not an endless run."""
    registry = Registry()
    registry.upcast("a", schema=1, into=["a"])(lambda data: [Event("a", data)])
    with pytest.raises(UpcastFailed) as caught:
        one(Event("a", {}), registry).parts()
    assert caught.value.id == "test-1@0"


def test_into_is_a_list_of_names() -> None:
    """One name by itself would be taken letter by letter."""
    with pytest.raises(UsageError):
        Registry().upcast("a", schema=1, into="b")


def test_a_split_that_fails_is_met_only_by_who_wants_its_parts() -> None:
    """Folds of other events pass over it, fast and slowly; one that wants a part gets the error."""
    registry = Registry()
    registry.upcast("a.whole", schema=1, into=["a.half"])(lambda data: [data["missing"]])
    quiet: Fold[int] = Fold("quiet", int, registry=registry)
    quiet.on("other")(lambda state, event: state + 1)
    loud: Fold[int] = Fold("loud", int, registry=registry)
    loud.on("a.half")(lambda state, event: state + 1)
    body = encode_body([Event("a.whole", {}), Event("other")], registry)
    row = row_of(body, position=1, stream="a-1", version=0, recorded_at=0)
    assert quiet.over(0, row, first=0, last=9) == 1
    assert quiet.run(decode_row(row, registry)).state == 1
    for run in (
        lambda: loud.over(0, row, first=0, last=9),
        lambda: loud.run(decode_row(row, registry)),
    ):
        with pytest.raises(UpcastFailed) as caught:
            run()
        assert caught.value.id == "a-1@0"


# -- a retired event ----------------------------------------------------------------------------


def test_a_retired_event_is_read_as_it_is_stored() -> None:
    """It counts as nothing, and its upcasters are not run: they may be gone, or fail."""
    registry = Registry()
    registry.upcast("mood.guessed", schema=1)(lambda data: data["missing"])
    registry.upcast("mood.guessed", schema=3)(lambda data: data)
    registry.retire("mood.guessed", reason="it was never right")
    recorded = one(Event("mood.guessed", {"mood": "fine"}), registry)
    assert (recorded.data, recorded.schema) == ({"mood": "fine"}, 1)
    assert (list(recorded.parts()), recorded.events) == ([], [])


def test_what_a_split_makes_of_a_retired_type_counts_for_nothing() -> None:
    """The other parts stay."""
    registry = Registry()
    registry.upcast("a", schema=1, into=["b", "c"])(lambda data: [Event("b"), Event("c")])
    registry.retire("b", reason="not needed")
    assert [part.type for part in one(Event("a"), registry).parts()] == ["c"]
    assert registry.becomes(Kind("a")) == {"c"}


def test_a_retirement_needs_a_reason_and_a_name() -> None:
    """The reason is what who appends one is told."""
    with pytest.raises(UsageError):
        Registry().retire("a.b", reason="")
    with pytest.raises(InvalidEvent):
        Registry().retire("a b", reason="why")


@given(st.lists(PAIRS, max_size=6), st.lists(PAIRS, max_size=6))
def test_no_fold_fails_where_its_steps_do_not(before: list[Pair], after: list[Pair]) -> None:
    """A fold that has no step for anything here reads any of these histories without a word."""
    fold: Fold[int] = Fold("none", int, registry=REGISTRY)
    fold.on("never.happens")(lambda state, event: state + 1)
    events = [event for old, _ in before + after for event in old]
    try:
        state = fold.run(as_recorded(events, registry=REGISTRY)).state if events else 0
    except RefoldError as error:  # pragma: no cover
        pytest.fail(str(error))
    assert state == 0
