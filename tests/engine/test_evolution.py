"""Changed schemas in a store: appends, snapshots, branches, differences and exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event, Registry
from refold.conversation import Conversation, to_messages, transcript
from refold.core.event import Kind
from refold.core.snapshot import EVENTS_BETWEEN_MIN
from refold.core.upcast import Upcasts
from refold.errors import InvalidEvent
from refold.replay import Action, ChatRequest, Variant, compare, decisions, replay, verify

EVENTS = 2 * EVENTS_BETWEEN_MIN


class Total(msgspec.Struct):
    """What was added up."""

    amount: Decimal = Decimal(0)


def total(registry: Registry) -> refold.Fold[Total]:
    """A fold of ``added`` events."""
    fold = refold.Fold("total", Total, registry=registry)

    @fold.on("added")
    def add(state: Total, event: dict[str, Any]) -> Total:
        state.amount += Decimal(event["amount"])
        return state

    return fold


def filled(path: Path) -> None:
    """A store with enough events for snapshots, which have been taken."""
    registry = Registry()
    with refold.open(path, registry=registry) as store:
        store.append("acc-1", [Event("added", {"amount": "1"})] * EVENTS)
        store.append("acc-1", [Event("paid", {"amount": "5"})] * 3)
        assert store.fold("acc-1", total(registry)).state.amount == EVENTS


def doubled(data: dict[str, Any]) -> dict[str, Any]:
    """An upcaster."""
    return {"amount": str(2 * Decimal(data["amount"]))}


CHANGES: list[tuple[Callable[[Registry], object], int]] = [
    (lambda r: None, EVENTS),
    (lambda r: r.upcast("added", schema=1)(doubled), 2 * EVENTS),
    (lambda r: r.upcast("added", schema=1)(lambda data: {"amount": "3"}), 3 * EVENTS),
    (
        lambda r: r.upcast("added", schema=1, into=["added"])(
            lambda data: [Event("added.v2", data)] * 4
        ),
        4 * EVENTS,
    ),
    (lambda r: r.upcast("added", schema=1, into=["other"])(lambda data: []), 0),
    (
        lambda r: r.upcast("paid", schema=1, into=["added"])(lambda data: [Event("added", data)]),
        EVENTS + 15,
    ),
    (lambda r: r.retire("added", reason="counted twice"), 0),
    (lambda r: None, EVENTS),
]


def test_snapshots_notice_every_change(tmp_path: Path) -> None:
    """An upcaster, a split or a retirement added, changed or removed: the state is the new one.

    The changes come one after the other, each on the snapshots that the one before it left.
    """
    path = tmp_path / "a.db"
    filled(path)
    for change, expected in CHANGES:
        registry = Registry()
        change(registry)
        with refold.open(path, registry=registry) as store:
            for _ in range(2):  # from the beginning, and from the snapshots of this registry
                assert store.fold("acc-1", total(registry)).state.amount == expected


@pytest.fixture
def registry() -> Registry:
    """One type is retired."""
    registry = Registry()

    @registry.event("mood.guessed")
    class Guessed(msgspec.Struct):
        mood: str

    registry.event("mood.known")(msgspec.defstruct("Known", [("mood", str)]))
    return registry


def retired(registry: Registry) -> Registry:
    """The registry with its retirement."""
    registry.retire("mood.guessed", reason="it was never right")
    return registry


def test_a_retired_event_cannot_be_appended(registry: Registry) -> None:
    """Typed or not, in any schema, alone or among others; the reason and its place are told."""
    guessed: Any = registry.class_of(Kind("mood.guessed"))
    retired(registry)
    with refold.open("memory:", registry=registry) as store:
        for event in (guessed("fine"), Event("mood.guessed", {}), Event("mood.guessed.v7", {})):
            with pytest.raises(InvalidEvent) as caught:
                store.append("a-1", [Event("mood.seen"), event])
            assert (caught.value.type, caught.value.index) == ("mood.guessed", 1)
            assert "it was never right" in caught.value.message
        assert store.log_head() == 0
        store.append("a-1", [Event("mood.seen")])
        branch = store.branch("a-1")
        with pytest.raises(InvalidEvent):
            branch.adding(Event("mood.guessed"))
        with pytest.raises(InvalidEvent):
            branch.replacing("a-1@0", Event("mood.guessed"))


def test_retired_events_stay_readable_and_on_branches(registry: Registry, tmp_path: Path) -> None:
    """They are read, copied to a branch and left out of it as any other; folds are quiet."""
    path = tmp_path / "a.db"
    with refold.open(path, registry=Registry()) as store:
        store.append("a-1", [Event("x", 1), Event("mood.guessed", {"mood": "fine"}), Event("x", 2)])
    with refold.open(path, registry=retired(registry)) as store:
        assert [e.data for e in store.read("a-1")] == [1, {"mood": "fine"}, 2]
        store.branch("a-1").without("a-1@0").save("a-1~b")
        assert [e.data for e in store.read("a-1~b")][1:] == [{"mood": "fine"}, 2]
        (change,) = refold.diff(store.read("a-1"), store.branch("a-1").without("a-1@1")).changes
        assert change.kind == "removed"
        fold: refold.Fold[int] = refold.Fold("n", int, registry=registry)
        fold.on("mood.guessed")(lambda state, event: state + 1)
        assert store.fold("a-1", fold).state == 0


# -- a conversation of another tool, whose turns hold both sides --------------------------------


@pytest.fixture
def talked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[refold.Store]:
    """Two turns in the old shape, each of what was asked and answered, and a retired event.

    In the registry of the vocabulary, for as long as the test.
    """
    with refold.open(tmp_path / "a.db") as store:
        store.append("call-1", [Event("chat.turn", {"asked": "Hi", "said": "Hello"})])
        store.append("call-1", [Event("chat.mood", {"mood": "fine"})])
        store.append("call-1", [Event("chat.turn", {"asked": "Bye", "said": "See you"})])
    registry = store.registry
    monkeypatch.setattr(registry, "upcasts", Upcasts())

    @registry.upcast("chat.turn", schema=1, into=["user.utterance", "agent.utterance"])
    def both(data: dict[str, Any]) -> list[object]:
        return [
            Event("user.utterance", {"text": data["asked"]}),
            Event("agent.utterance", {"text": data["said"]}),
        ]

    registry.retire("chat.mood", reason="it was never right")
    with refold.open(tmp_path / "a.db") as store:
        yield store
    registry.revision += 1


SAID = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "See you")]


def test_a_split_turn_is_both_sides_of_a_conversation(talked: refold.Store) -> None:
    """In the fold, the transcript, the exported messages and the decisions of the agent."""
    history = list(talked.read("call-1"))
    assert [event.type for event in history] == ["chat.turn", "chat.mood", "chat.turn"]
    state = talked.fold("call-1", Conversation).state
    assert [turn.text for turn in state.transcript] == [text for _, text in SAID]
    lines = [line.text for line in transcript(history) if line.type != "chat.mood"]
    assert lines == [text for _, text in SAID]
    exported = to_messages(history)
    assert [(m["role"], m["content"]) for m in exported] == SAID
    assert [(loss.where, loss.what) for loss in exported.loss] == [("call-1@1", "chat.mood")]
    assert [(d.at, d.action.text) for d in decisions(history)] == [
        ("call-1@0", "Hello"),
        ("call-1@2", "See you"),
    ]


def test_a_replay_asks_with_what_was_split_from_the_same_event(talked: refold.Store) -> None:
    """What the person said stands before the answer, also where one event held both."""
    asked: list[Any] = []

    def candidate(request: ChatRequest) -> Action:
        asked.append([(m["role"], m["content"]) for m in request.messages])
        return Action(text="Hello")

    summary = replay(talked, ["call-1"], Variant(model="m", prompt="Be kind."), candidate)
    assert (summary.answered, summary.failed) == (2, 0)
    told = sorted(asked, key=len)
    assert told == [[("system", "Be kind."), *SAID[:1]], [("system", "Be kind."), *SAID[:3]]]
    figures = compare(talked, ["call-1"], Variant(model="m", prompt="Be kind.")).figures
    assert figures.counts["missing"] == figures.counts["failed"] == 0
    assert verify(talked, ["call-1"]).mismatches == []


def test_a_difference_is_told_part_by_part(talked: refold.Store) -> None:
    """A turn written anew as today's two events is the same; what one of them says else shows."""
    old = talked.branch("call-1")
    same = old.replacing(
        "call-1@2",
        Event("user.utterance", {"text": "Bye"}),
        Event("agent.utterance", {"text": "See you"}),
    )
    assert not refold.diff(old, same)
    other = old.replacing(
        "call-1@2",
        Event("user.utterance", {"text": "Bye"}),
        Event("agent.utterance", {"text": "Farewell"}),
    )
    found = refold.diff(old, other)
    (change,) = found.changes
    assert (found.shared, change.kind) == (2, "changed")
    assert change.before is not None
    assert (change.before.id, change.before.type) == ("call-1@2", "agent.utterance")
    assert [op.value for op in change.patch] == ["Farewell"]


def test_an_old_event_differs_from_a_new_one_only_in_what_they_are_read_as() -> None:
    """The same payload, once upcast and once written anew, is no difference."""
    registry = Registry()
    registry.upcast("a", schema=1)(lambda data: {"new": data["old"], "kept": 1})
    with refold.open("memory:", registry=registry) as store:
        store.append("a-1", [Event("a", {"old": 1})])
        store.append("b-1", [Event("a.v2", {"kept": 1, "new": 1})])
        store.append("b-2", [Event("a.v2", {"kept": 1, "new": 2})])
        assert not refold.diff(store.read("a-1"), store.read("b-1"))
        (change,) = refold.diff(store.read("a-1"), store.read("b-2")).changes
        assert [(op.path, op.value) for op in change.patch] == [("/new", 2)]


def test_a_decider_sees_the_parts() -> None:
    """A budget that was one event with the name is known to a decision that looks for the limit."""
    registry = Registry()
    registry.upcast("agent.added", schema=1, into=["agent.named", "limit.set"])(
        lambda data: [
            Event("agent.named", {"name": data["name"]}),
            Event("limit.set", {"limit": data["limit"]}),
        ]
    )
    fold: refold.Fold[int] = refold.Fold("limit", int, registry=registry)
    fold.on("limit.set")(lambda state, event: event["limit"])
    decider: refold.Decider[int, int] = refold.Decider(
        fold, lambda command, limit: [Event("spent", command)] if command <= limit else []
    )
    with refold.open("memory:", registry=registry) as store:
        store.append("agent-1", [Event("agent.added", {"name": "a", "limit": 5})])
        assert store.execute("agent-1", decider, 5) is not None
        assert store.execute("agent-1", decider, 6) is None


def limits() -> Registry:
    """A limit was once part of the event that named an agent."""
    registry = Registry()
    registry.upcast("agent.added", schema=1, into=["agent.named", "limit.set"])(
        lambda data: [
            Event("agent.named", {"name": data["name"]}),
            Event("limit.set", {"limit": data["limit"]}),
        ]
    )
    return registry


def test_a_query_of_a_type_finds_what_was_split_into_it() -> None:
    """The fold of a query sees the parts of its types, and no others; by tag it sees all."""
    registry = limits()
    fold: refold.Fold[list[Any]] = refold.Fold("all", list, registry=registry)
    fold.on("agent.named", "limit.set")(lambda state, event: [*state, event])
    with refold.open("memory:", registry=registry) as store:
        store.append("agent-1", [Event("agent.added", {"name": "a", "limit": 5})], tags=["t"])
        store.append("agent-2", [Event("limit.set", {"limit": 7})], tags=["t"])
        found = store.fold(refold.Query(types=["limit.set"]), fold).state
        assert found == [{"limit": 5}, {"limit": 7}]
        found = store.fold(refold.Query(tags=["t"]), fold).state
        assert found == [{"name": "a"}, {"limit": 5}, {"limit": 7}]
        stored = store.read_all(matching=refold.Query(types=["limit.set"]))
        assert [event.id for event in stored] == ["agent-2@0"]


def test_a_condition_on_a_type_counts_what_is_split_into_it() -> None:
    """An older program that still records the whole event conflicts with the decision."""
    query = refold.Query(types=["limit.set"])
    with refold.open("memory:", registry=limits()) as store:
        store.append("agent-0", [Event("other")])
        store.append("agent-1", [Event("agent.added", {"name": "a", "limit": 5})])
        with pytest.raises(refold.Conflict):
            store.append("agent-2", [Event("spent")], unless=query, after=1)
        assert store.append("agent-2", [Event("spent")], unless=query, after=2).position == 3
