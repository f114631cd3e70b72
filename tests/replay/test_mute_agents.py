"""Agents that say nothing, or are cut off, on 200 real conversations: worse, and nowhere the same.

The answers are those of tau-bench (MIT), as the record has them or as a broken agent would; no
server is needed for what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import fmean

import pytest
from msgspec.structs import replace

import refold
from refold.conversation.openai_chat import from_messages
from refold.replay import Action, decisions
from refold.replay.actions import ConversationComparison, compare_conversation
from refold.replay.decision import Decision
from refold.replay.figures import Figures, Tally
from refold.replay.journal import StoredAnswer
from refold.replay.metrics import METRICS, observations
from refold.replay.verdict import judge
from tests.support.nearest_prefix import CONVERSATIONS

pytestmark = pytest.mark.skipif(
    not CONVERSATIONS.exists(),
    reason="../shared/data/tau-bench/gpt-4o-airline.json is not here",
)
Agent = Callable[[Action], Action]


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[Decision]]:
    """The decisions of each conversation."""
    store = refold.open("memory:")
    found = {}
    for trial in json.loads(CONVERSATIONS.read_text()):
        stream = f"airline-{trial['task_id']}-{trial['trial']}"
        store.append(stream, from_messages(trial["traj"]))
        found[stream] = decisions(store.read(stream))
    return found


def mute(_: Action) -> Action:
    return Action(finish_reason="stop")


def cut_off(action: Action) -> Action:
    return replace(action, text=action.text[:20], finish_reason="length")


def cut_off_in_silence(action: Action) -> Action:
    return Action(text=action.text[:20], finish_reason="stop")


def refuses(_: Action) -> Action:
    return Action(text="I can't help with that.", finish_reason="refusal")


def filtered(_: Action) -> Action:
    return Action(finish_reason="content_filter")


def figures(compared: list[ConversationComparison]) -> Figures:
    """The figures of some compared conversations."""
    tally = Tally()
    for one in compared:
        tally.add(one)
    return tally.figures()


def as_it_was(action: Action) -> Action:
    return action


@pytest.mark.parametrize("agent", [mute, cut_off, refuses, filtered])
def test_a_broken_agent_is_worse_and_never_the_same(
    recorded: dict[str, list[Decision]], agent: Agent
) -> None:
    """By broken answers, against the record and by far; no decision is the same action."""
    arms = [
        [
            compare_conversation(
                stream,
                stream,
                made,
                {one.at: StoredAnswer(one.at, act(one.action)) for one in made},
            )
            for stream, made in recorded.items()
        ]
        for act in (agent, as_it_was)
    ]
    told = figures(arms[0])
    assert (told.decisions, told.by_decision.successes, told.not_assessed) == (2_454, 0, 0)
    assert (told.broken.rate, told.broken_recorded.successes) == (1.0, 0)
    metric = METRICS["broken_answers"]
    found = judge(metric, *(observations(arm, metric) for arm in arms))
    assert (found.answer, found.candidate, found.control) == ("worse", 1.0, 0.0)


def test_the_record_over_again_is_the_same(recorded: dict[str, list[Decision]]) -> None:
    """Every decision; what an agent reaches that never calls is told beside it."""
    every = [
        compare_conversation(
            stream, stream, made, {one.at: StoredAnswer(one.at, one.action) for one in made}
        )
        for stream, made in recorded.items()
    ]
    told = figures(every)
    assert told.counts["same"] == told.by_decision.successes == told.decisions == 2_454
    assert told.baselines.never_calls == pytest.approx(0.526, abs=0.02)
    assert told.baselines.always_calls is not None
    assert told.baselines.always_calls < 0.25


def test_words_that_are_cut_off_are_seen_though_nobody_says_so(
    recorded: dict[str, list[Decision]],
) -> None:
    """Where they end inside a word of the record: over half of those that were cut."""
    spoken = [d for made in recorded.values() for d in made if len(d.action.text) > 40]
    found = [
        compare_conversation(
            "s", "s", [one], {one.at: StoredAnswer(one.at, cut_off_in_silence(one.action))}
        )
        for one in spoken
    ]
    assert fmean("truncated" in one.decisions[0].faults for one in found) > 0.5
