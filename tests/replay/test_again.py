"""A decision asked again as a conversation would have gone, beside as it went."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

import refold
from refold.conversation.events import AgentUtterance, ToolCall, ToolResult, UserUtterance
from refold.conversation.voice import DtmfReceived, PlaybackInterrupted
from refold.conversation.what_if import what_if
from refold.errors import UsageError
from refold.replay import Action, Call, ChatRequest, Variant, compare, replays
from refold.replay.again import AskedAgain, ask_again
from tests.replay.stories import CONFIGURED

EVENTS: list[object] = [
    CONFIGURED,
    UserUtterance("I am Ada Smith, and it is about flight HAT9."),
    ToolCall(call_id="a", name="find", arguments='{"name": "Ada Smith"}', message_id="m1"),
    ToolResult(call_id="a", result='{"user": "ada_77"}'),
    AgentUtterance("What do you wish?", message_id="m2"),
    UserUtterance("Cancel it."),
    ToolCall(call_id="b", name="cancel", arguments='{"user": "ada_77"}', message_id="m3"),
    ToolResult(call_id="b", result="done"),
    AgentUtterance("It is done.", message_id="m4"),
]
"""The decisions are at 2, 4, 6 and 8."""


@pytest.fixture
def store() -> Any:
    with refold.open("memory:") as opened:
        opened.append("call-1", EVENTS)
        yield opened


class Knows:
    """A candidate that cancels for whom it knows, and else asks; it keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, request: ChatRequest) -> Action:
        said = json.dumps(request.messages)
        self.asked.append(said)
        if "ada_77" in said:
            return Action(calls=(Call("cancel", '{"user": "ada_77"}', "x"),))
        return Action(text="Who are you?")


def again(store: refold.Store, candidate: Any, samples: int = 5, **changed: Any) -> AskedAgain:
    found = what_if(store.branch("call-1"), **changed)
    return ask_again(store, found, candidate, samples=samples, workers=2)


def test_the_first_decision_that_rests_on_the_change_is_asked_on_both_sides(
    store: refold.Store,
) -> None:
    """On the changed side without what is gone; what differs on all samples is no noise."""
    candidate = Knows()
    found = again(store, candidate, without=["3"])
    assert found.decision == "call-1@4"
    assert found.was.actions == {'cancel {"user":"ada_77"}': 5}
    assert found.changed.actions == {"words only": 5}
    assert found.apart == 1.0 and found.actions_p == pytest.approx(2 * 2 / 252)
    assert found.verdict.startswith("The change moves what it does by more than noise: 100%")
    assert Counter("ada_77" in said for said in candidate.asked) == {True: 5, False: 5}
    assert not any("What do you wish" in said for said in candidate.asked)


def test_both_sides_are_asked_in_turn(store: refold.Store) -> None:
    """A model that changes its mind in the midst changes it for both."""
    candidate = Knows()
    again(store, candidate, samples=4, without=["3"])
    sides = ["ada_77" in said for said in candidate.asked]
    assert [sorted(sides[n : n + 2]) for n in range(0, 8, 2)] == [[False, True]] * 4


def test_what_rests_on_it_and_stands_before_the_decision_is_not_told(store: refold.Store) -> None:
    """A result without its call is no history that a model can be asked about."""
    candidate = Knows()
    found = again(store, candidate, without=["2"])
    assert found.decision == "call-1@4"
    changed = [said for said in candidate.asked if "ada_77" not in said]
    assert len(changed) == 5 and not any('"tool"' in said for said in changed)


def test_a_change_that_nothing_rests_on_is_asked_at_the_next_decision(store: refold.Store) -> None:
    """The agent's own words: nothing names them, and yet they may matter."""
    found = again(store, Knows(), replacing={"4": [AgentUtterance("Yes?")]})
    assert found.decision == "call-1@6"
    assert found.apart == 0.0
    assert found.verdict.startswith("No change beyond noise is seen in 5 answers a side (p 1)")


def test_asked_once_more_it_asks_only_what_is_missing(store: refold.Store) -> None:
    """The answers are on branches, under keys; with more samples the rest is asked."""
    first = again(store, Knows(), samples=3, without=["3"])
    assert "ask for 5 samples or more" in first.verdict
    candidate = Knows()
    assert again(store, candidate, samples=3, without=["3"]) == first
    assert candidate.asked == []
    more = again(store, candidate, samples=5, without=["3"])
    assert len(candidate.asked) == 4
    assert more.actions_p == pytest.approx(2 * 2 / 252)


def test_another_change_is_asked_for_itself(store: refold.Store) -> None:
    """Also where it changes the same event: the branches are named for what the history is."""
    candidate = Knows()
    one = again(store, candidate, replacing={"3": [ToolResult(call_id="a", result="none")]})
    two = again(store, candidate, replacing={"3": [ToolResult(call_id="a", result="nobody")]})
    assert one.changed.stream != two.changed.stream
    assert len(candidate.asked) == 20


def test_it_is_a_replay_as_any_other_of_the_one_decision(store: refold.Store) -> None:
    """It is listed with its samples, and nothing of it is missing, nor is anything but it asked."""
    found = again(store, Knows(), samples=2, without=["3"])
    (replay,) = replays(store)
    assert replay.variant.id == found.variant_id
    for sample in range(2):
        run = replay.run(store, sample)
        assert sorted(run.streams) == sorted([found.was.stream, found.changed.stream])
        assert (run.answered, run.failed, run.missing) == (2, 0, 0)
    figures = compare(store, [found.was.stream], Variant()).figures
    assert figures.decisions == 2  # One a sample.
    assert [info.stream for info in store.streams(category="call")] == ["call-1"]


def test_words_that_differ_are_told_where_calls_do_not(store: refold.Store) -> None:
    """They are no other action, and yet more than noise."""

    def words(request: ChatRequest) -> Action:
        return Action(text="Hello Ada." if "ada_77" in json.dumps(request.messages) else "Hello.")

    found = again(store, words, samples=6, without=["3"])
    assert found.apart == 0.0
    assert "does not move its calls by more than noise; its words it does" in found.verdict
    assert found.was.levels == found.changed.levels == {"words": 6}


def test_a_number_is_one_number_however_it_is_written(store: refold.Store) -> None:
    """As everywhere where calls are compared; so is the order of keys."""
    written = iter(['{"a": 2, "b": "x"}', '{"b": "x", "a": 2.0}'] * 5)

    def calls(request: ChatRequest) -> Action:
        return Action(calls=(Call("book", next(written), "x"),))

    found = again(store, calls, without=["3"])
    assert found.was.actions == found.changed.actions == {'book {"a":2,"b":"x"}': 5}


def test_samples_that_failed_are_no_answers(store: refold.Store) -> None:
    """They are counted apart, with why, and a side that has none decides nothing."""

    def fails(request: ChatRequest) -> Action:
        if "ada_77" in json.dumps(request.messages):
            return Action(text="Yes.")
        raise ValueError("out of order")

    found = again(store, fails, samples=2, without=["3"])
    assert (found.was.failed, found.changed.failed) == (0, 2)
    assert "out of order" in found.changed.error
    assert found.verdict == "A side has no answer, so nothing is known of the change."


CUT: list[object] = [
    CONFIGURED,
    UserUtterance("When is a slot free?"),
    AgentUtterance("At nine on Friday, or at ten on Monday.", message_id="m1"),
    PlaybackInterrupted("At nine on Friday,", " or at ten on Monday.", message_id="m1"),
    UserUtterance("That one."),
    AgentUtterance("Booked.", message_id="m2"),
]


class Hears:
    """A candidate that books what it said last, as far as it knows to have said it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, request: ChatRequest) -> Action:
        said = [one["content"] for one in request.messages if one["role"] == "assistant"]
        self.asked.append(said[-1] if said else "")
        return Action(text="Monday?" if "Monday" in self.asked[-1] else "Friday.")


def test_what_was_cut_off_is_told_as_far_as_it_was_heard() -> None:
    """On both sides: who was never told of Monday cannot have meant it."""
    with refold.open("memory:") as voice:
        voice.append("call-1", CUT)
        candidate = Hears()
        again(voice, candidate, replacing={"4": [UserUtterance("The other one.")]})
    assert {*candidate.asked} == {"At nine on Friday,"}


def test_an_interruption_that_had_not_been_is_a_change() -> None:
    """Then all of the words were heard; an answer to nothing that was heard stands nowhere."""
    with refold.open("memory:") as voice:
        voice.append("call-1", CUT)
        candidate = Hears()
        found = again(voice, candidate, without=["3"])
        assert Counter(candidate.asked) == {
            "At nine on Friday,": 5, "At nine on Friday, or at ten on Monday.": 5,
        }  # fmt: skip
        assert "its words it does" in found.verdict
        voice.append("call-2", [*CUT[:3], PlaybackInterrupted("", message_id="m1"), *CUT[4:]])
        silent = Hears()
        ask_again(voice, what_if(voice.branch("call-2"), without=["3"]), silent, samples=1)
        assert sorted(silent.asked) == ["", "At nine on Friday, or at ten on Monday."]


def test_words_in_the_place_of_those_that_were_cut_off_are_told() -> None:
    """What was heard of the others says nothing of these."""
    with refold.open("memory:") as voice:
        voice.append("call-1", CUT)
        candidate = Hears()
        again(voice, candidate, replacing={"2": [AgentUtterance("On Monday.", message_id="m1")]})
    assert {*candidate.asked} == {"At nine on Friday,", "On Monday."}


def test_a_change_that_no_model_is_told_of_is_not_asked_about() -> None:
    """Both sides would be asked the same, and what differs would be noise that was paid for."""
    with refold.open("memory:") as voice:
        voice.append("call-1", [*CUT[:4], DtmfReceived("1"), *CUT[4:]])
        candidate = Hears()
        with pytest.raises(UsageError, match="told the same"):
            again(voice, candidate, without=["4"])
        assert candidate.asked == []
        assert [info.stream for info in voice.streams()] == ["call-1"]


def test_an_image_beside_the_same_words_is_another_answer(store: refold.Store) -> None:
    """As everywhere: what is beside words is part of what was said."""

    def shows(request: ChatRequest) -> Action:
        at = "a" if "ada_77" in json.dumps(request.messages) else "b"
        return Action(text="Here.", parts=({"type": "image_url", "image_url": {"url": at}},))

    found = again(store, shows, samples=6, without=["3"])
    assert "its words it does" in found.verdict


def test_after_the_agents_last_word_there_is_nothing_to_ask(store: refold.Store) -> None:
    """A change that no decision follows."""
    with pytest.raises(UsageError, match="nothing to ask again"):
        again(store, Knows(), adding={"8": [UserUtterance("Thanks.")]})
    with pytest.raises(UsageError, match="nothing to ask again"):
        again(store, Knows(), without=["8"])
