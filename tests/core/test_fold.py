"""Folds and deciders."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from refold.core import fold as fold_module
from refold.core.event import Event
from refold.core.fold import Decider, Fold, Folded
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.errors import Rejected, UsageError
from refold.testing import as_recorded

REGISTRY = Registry()


@REGISTRY.event("test.said")
class Said(msgspec.Struct, frozen=True):
    """Something was said."""

    text: str


@REGISTRY.event("test.paid")
class Paid(msgspec.Struct, frozen=True):
    """Money changed hands."""

    amount: Decimal


def log_fold() -> Fold[list[Any]]:
    """A fold that notes what each step was called with."""
    fold: Fold[list[Any]] = Fold("log", list, registry=REGISTRY)

    @fold.on(Said)
    def _(state: list[Any], event: Said) -> list[Any]:
        return [*state, event]

    @fold.on("test.noted", "test.marked")
    def _(state: list[Any], event: dict[str, Any]) -> list[Any]:
        return [*state, event]

    @fold.on(Paid)
    def _(state: list[Any], event: Paid, recorded: Recorded) -> list[Any]:
        return [*state, (event.amount, recorded.id)]

    return fold


def history(*events: object) -> list[Recorded]:
    """The events as a store gives them back."""
    return as_recorded(events, registry=REGISTRY)


def test_each_step_gets_what_it_asked_for() -> None:
    """By class an instance, by type name a dict, and the recorded event where it takes three."""
    events = [
        Said("a"),
        Event("test.noted", {"n": 1}),
        Event("test.marked", {}),
        Paid(Decimal("2")),
    ]
    folded = log_fold().run(history(*events))
    assert folded == Folded([Said("a"), {"n": 1}, {}, (Decimal("2"), "test-1@3")], 3, 4)


def test_an_event_without_a_step_leaves_the_state() -> None:
    """It counts as seen all the same: the fold stands at its version."""
    assert log_fold().run(history(Said("a"), Event("test.other"))) == Folded([Said("a")], 1, 2)
    assert log_fold().run([]) == Folded([], -1, 0)


def test_a_fold_goes_on_from_a_state() -> None:
    """A run over two halves is a run over the whole."""
    events = history(Said("a"), Said("b"), Said("c"))
    half = log_fold().run(events[:2])
    assert log_fold().run(events[2:], half.state) == log_fold().run(events)


def test_every_run_begins_with_a_state_of_its_own() -> None:
    """A step may change the state in place: the next run does not see it."""
    fold: Fold[list[str]] = Fold("in place", list, registry=REGISTRY)

    @fold.on(Said)
    def _(state: list[str], event: Said) -> list[str]:
        state.append(event.text)
        return state

    assert fold.run(history(Said("a"))) == fold.run(history(Said("a")))


def test_a_step_that_changes_its_event_does_not_change_the_history() -> None:
    """The same events fold to the same state again."""
    fold: Fold[list[Any]] = Fold("greedy", list, registry=REGISTRY)

    @fold.on("test.noted")
    def _(state: list[Any], event: dict[str, Any]) -> list[Any]:
        return [*state, event["items"].pop()]

    events = history(Event("test.noted", {"items": [1, 2]}))
    assert fold.run(events) == fold.run(events) == Folded([2], 0, 1)
    assert events[0].data == {"items": [1, 2]}


def test_a_step_that_forgets_to_return_the_state_is_found() -> None:
    """At the first event, by the name of its type, typed, by name and with the recorded event."""

    def forget_two(state: Any, event: Any) -> None:
        """A step with two arguments."""

    def forget_three(state: Any, event: Any, recorded: Any) -> None:
        """A step with three."""

    for forget in (forget_two, forget_three):
        fold: Fold[list[Any]] = Fold("forgetful", list, registry=REGISTRY)
        fold.on(Said)(forget)
        with pytest.raises(UsageError) as caught:
            fold.run(history(Said("a")))
        assert "test.said" in caught.value.message


def test_a_type_has_one_step() -> None:
    """A second step for it is refused, by class, name or tag."""
    fold = log_fold()
    for again in (Said, "test.said", "test.said.v2", "test.noted"):
        with pytest.raises(UsageError):
            fold.on(again)(lambda state, event: state)


def test_a_class_must_be_registered_before_it_is_folded() -> None:
    """In the fold's own registry."""
    fold: Fold[list[Any]] = Fold("elsewhere", list, registry=Registry())
    with pytest.raises(UsageError):
        fold.on(Said)(lambda state, event: state)


def test_an_option_of_a_step_is_not_its_recorded_event() -> None:
    """Only a third argument by place asks for it."""
    fold: Fold[list[Any]] = Fold("options", list, registry=REGISTRY)

    @fold.on(Said)
    def _(state: list[Any], event: Said, *, loud: bool = False) -> list[Any]:
        return [*state, event.text, loud]

    assert fold.run(history(Said("a"))).state == ["a", False]


def test_a_step_of_four_arguments_is_given_the_place_of_its_event() -> None:
    """The id and the time of the recorded event; not where a fourth has a value of its own."""
    fold: Fold[list[Any]] = Fold("places", list, registry=REGISTRY)

    @fold.on(Said)
    def _(state: list[Any], event: Said, id: str, at_us: int) -> list[Any]:
        return [*state, (event.text, id, at_us)]

    @fold.on("test.noted")
    def _(state: list[Any], event: Any, recorded: Recorded, more: int = 1) -> list[Any]:
        return [*state, recorded.id, more]

    said = Event.of(Said("a"), occurred_at=7)
    events = history(said, Event("test.noted"))
    assert fold.run(events).state == [("a", "test-1@0", 7), "test-1@1", 1]
    with pytest.raises(UsageError):
        fold.evolve([], Said("a"))


def test_events_that_were_not_recorded_evolve_the_state() -> None:
    """Typed, dressed or untyped, each gets to its step as if it came from the log."""
    fold = log_fold()
    state: list[Any] = []
    for event in (
        Said("a"),
        Event.of(Said("b"), metadata={"k": 1}),
        Event("test.said", {"text": "c"}),
        Event("test.noted", {"n": 1}),
        Event("test.other"),
    ):
        state = fold.evolve(state, event)
    assert state == [Said("a"), Said("b"), Said("c"), {"n": 1}]
    with pytest.raises(UsageError):
        fold.evolve(state, Paid(Decimal(1)))


def decider(decide: Any) -> Decider[list[Any], str]:
    """A decider over the log fold."""
    return Decider(log_fold(), decide)


def test_a_decision_is_events_or_no() -> None:
    """A rejection may be returned or raised; nothing to do is no events."""

    def refuse(command: str, state: list[Any]) -> Sequence[object]:
        raise Rejected("no", command=command)

    assert decider(lambda command, state: [Said(command)]).decide("x", []) == [Said("x")]
    assert decider(lambda command, state: ()).decide("x", []) == ()
    for refusing in (refuse, lambda command, state: Rejected("no", command=command)):
        with pytest.raises(Rejected) as caught:
            decider(refusing).decide("x", [])
        assert (caught.value.reason, caught.value.command) == ("no", "x")


def test_a_decision_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than an append holds is an error of the decider."""
    monkeypatch.setattr(fold_module, "EVENTS_PER_DECISION_MAX", 2)
    assert len(decider(lambda command, state: [Said("x")] * 2).decide("x", [])) == 2
    with pytest.raises(UsageError):
        decider(lambda command, state: [Said("x")] * 3).decide("x", [])
