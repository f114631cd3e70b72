"""Free runs of 200 real conversations: every one of their 2,454 decisions is accounted for.

The candidate gives what gpt-4o gave in another trial of the same task (tau-bench, MIT), answer by
answer: a real agent that goes its own way, and costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import refold
from refold.conversation.openai_chat import from_messages
from refold.freerun import FreeRun
from refold.replay import ChatRequest, Variant, compare, replay, select
from refold.replay.compare import Comparison
from tests.support.nearest_prefix import CONVERSATIONS

DECISIONS = 2_454
pytestmark = pytest.mark.skipif(
    not CONVERSATIONS.exists(),
    reason="../shared/data/tau-bench/gpt-4o-airline.json is not here",
)


class Tau(NamedTuple):
    """The conversations in a store, and each trial's own answers by stream."""

    store: refold.Store
    streams: list[str]
    answers: dict[str, list[Any]]


@pytest.fixture(scope="module")
def tau() -> Iterator[Tau]:
    answers = {}
    with refold.open("memory:") as store:
        for trial in json.loads(CONVERSATIONS.read_text()):
            stream = f"airline-{trial['task_id']}-{trial['trial']}"
            store.append(stream, from_messages(trial["traj"]))
            answers[stream] = [one for one in trial["traj"] if one["role"] == "assistant"]
        yield Tau(store, select(store, category="airline"), answers)


def trial_of(tau: Tau, *, later: int) -> Callable[[ChatRequest], Any]:
    """An agent that gives the answers of so many trials later of the task, one after the other."""

    def answer(request: ChatRequest) -> Any:
        task, _, trial = request.at.partition("@")[0].rpartition("-")
        given = sum(one["role"] == "assistant" for one in request.messages)
        own = tau.answers[f"{task}-{(int(trial) + later) % 4}"]
        return own[given] if given < len(own) else {"role": "assistant", "content": "Goodbye."}

    return answer


def run(tau: Tau, later: int) -> Comparison:
    variant = Variant(label=f"{later} trials later")
    said = replay(tau.store, tau.streams, variant, trial_of(tau, later=later), mode=FreeRun())
    assert (said.conversations, said.decisions, said.failed) == (200, DECISIONS, 0)
    return compare(tau.store, tau.streams, said.variant)


def test_the_recorded_answers_lead_where_they_led(tau: Tau) -> None:
    """With its own answers each goes to its end, its tools answered from the record."""
    compared = run(tau, 0)
    course = compared.figures.course
    assert course is not None
    assert (course.comparable, course.same, course.diverged) == (DECISIONS, 200, {})
    assert compared.figures.counts["same"] == DECISIONS


def test_what_another_trial_did_adds_up_to_every_recorded_decision(tau: Tau) -> None:
    """Comparable, diverged, conditional and excluded are 2,454, in the whole and in each rate."""
    compared = run(tau, 1)
    figures, course = compared.figures, compared.figures.course
    assert course is not None
    assert course.is_whole
    assert course.decisions == DECISIONS
    parts = course.comparable, course.diverged, course.conditional, course.excluded, course.same
    assert parts == TABLE
    diverged = sum(course.diverged.values())
    assert compared.partings == diverged == 200 - course.same
    assert figures.by_decision.trials + figures.not_assessed == course.comparable + diverged
    by_record = figures.by_record
    assert by_record.called.trials + by_record.spoke.trials == course.comparable + diverged
    account = figures.accounting
    assert account.decisions == DECISIONS
    assert account.answered + account.conditional + account.excluded == DECISIONS
    same = {one.metric.name: one for one in compared.verdicts}["same_course"]
    assert (same.items, same.missing, same.control) == (200, 0, 1.0)
    assert same.candidate == pytest.approx(course.same / 200)


TABLE: tuple[Any, ...] = (687, {"other_calls": 189, "stale_read": 4}, 1_574, {}, 7)
"""Comparable, diverged, conditional, excluded, and how many went to their end as recorded."""
