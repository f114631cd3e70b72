"""A conversation is looked at as it goes on: each event once, and each answer in its own place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    SessionStarted,
    StatePatched,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.conversation.fold import Conversation
from refold.conversation.voice import PlaybackInterrupted
from refold.core.fold import Fold
from refold.replay import Action, Call, compare, decisions, replay
from refold.replay.checks.reading import read_check
from refold.replay.checks.seen import SoFar
from refold.replay.decision import before
from tests.replay.stories import VARIANT

SAYS, CALLS = Action(text="Yes."), Action(calls=(Call("book", '{"day": 1}', "c1"),))

EVENTS: st.SearchStrategy[object] = st.sampled_from(
    [
        UserUtterance("Hello?"),
        AgentUtterance("Hi.", message_id="m1"),
        PlaybackInterrupted(played_text="H", message_id="m1"),
        PlaybackInterrupted(played_text="", message_id="m2"),
        AgentUtterance("One moment.", message_id="m2"),
        ModelResponse(usage=Usage(3, 4), message_id="m3"),
        ToolCall(call_id="c1", name="book", arguments='{"day": 1}', effect="write"),
        ToolCall(call_id="c2", name="find"),
        ToolResult(call_id="c1", result="booked"),
        ToolResult(call_id="c2", result="found", is_error=True),
        StatePatched([{"op": "add", "path": "/seat", "value": 4}]),
    ]
)


@given(st.lists(EVENTS, max_size=14))
def test_an_answer_stands_behind_what_was_recorded_before_it(events: list[object]) -> None:
    """The state is that of all of it folded anew, whichever answers were looked at before."""
    with refold.open("memory:") as store:
        store.append("call-1", [SessionStarted(), *events])
        history = list(store.read("call-1"))
    so_far = SoFar(history)
    for decision in decisions(history):
        for action in (CALLS, decision.action, SAYS):
            seen = so_far.answered(decision, action)
            told = before(history, decision)
            assert [one.id for one in seen.history[: len(told)]] == [one.id for one in told]
            assert seen.state == Conversation.run(seen.history).state
            assert [*_own_calls(seen.history)] == seen.stretches[-1]


def _own_calls(history: Any) -> list[str]:
    """The calls since the last words of the user, as they are told apart."""
    found: list[str] = []
    for one in history:
        if one.type == "user.utterance":
            found = []
        elif one.type == "tool.call":
            said = one.event.arguments.replace(" ", "")
            found.append(f"{one.event.name} {said}")
    return found


@pytest.mark.parametrize("decided", [10, 40])
def test_a_check_folds_each_event_once(decided: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each answer, whatever number of checks are made of it: not all that was before it."""
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("Where?"), AgentUtterance("At gate 4.")] * decided)
        replay(store, ["call-1"], VARIANT, lambda _: SAYS)
        folded: list[object] = []
        step = Fold.step

        def counted(self: Fold[Any], state: Any, recorded: refold.Recorded) -> Any:
            folded.append(recorded.id)
            return step(self, state, recorded)

        monkeypatch.setattr(Fold, "step", counted)
        checks = [read_check("personal_data"), read_check("kept_promises"), read_check("loops")]
        compare(store, ["call-1"], VARIANT, checks=checks)
    recorded_before, arms, answers, each = 2 * decided, 2, 4 * decided, 2
    assert len(folded) <= arms * recorded_before + answers * each + arms
