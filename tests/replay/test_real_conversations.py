"""Next-step replays of 200 real conversations, through real HTTP, give real differences.

The server answers with what gpt-4o did in another trial of the same task (tau-bench, MIT), so the
figures here are those of a model against itself: how much it differs from one trial to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import refold
from refold.conversation.openai_chat import from_messages
from refold.replay import ChatEndpoint, Variant, compare, replay, select, verify
from refold.replay.actions import LEVELS
from refold.replay.compare import Comparison, json_pieces
from refold.replay.runner import ReplaySummary
from tests.support.nearest_prefix import CONVERSATIONS, nearest_prefix_server

CANDIDATE, CONTROL = Variant(label="nearest"), Variant(label="second nearest")
DECISIONS = 2_454

pytestmark = pytest.mark.skipif(
    not CONVERSATIONS.exists(),
    reason="../shared/data/tau-bench/gpt-4o-airline.json is not here",
)


class Replayed(NamedTuple):
    """The log with both replays, what the runs said, and how many requests the servers saw."""

    store: refold.Store
    streams: list[str]
    first: ReplaySummary
    again: ReplaySummary
    requests: int
    compared: Comparison


def record_all(path: Path) -> refold.Store:
    """The conversations as streams ``airline-<task>-<trial>``."""
    store = refold.open(path, synchronous="NORMAL")
    for trial in json.loads(CONVERSATIONS.read_text()):
        stream = f"airline-{trial['task_id']}-{trial['trial']}"
        store.append(stream, from_messages(trial["traj"]))
    return store


def run(store: refold.Store, streams: list[str], variant: Variant, base_url: str) -> ReplaySummary:
    return replay(store, streams, variant, ChatEndpoint(base_url, model="gpt-4o"), workers=4)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    store = record_all(tmp_path_factory.mktemp("real") / "airline.db")
    streams = select(store, category="airline")
    with nearest_prefix_server() as server:
        first = run(store, streams, CANDIDATE, server.base_url)
        again = run(store, streams, CANDIDATE, server.base_url)
        requests = len(server.requests)
    with nearest_prefix_server(rank=1) as server:
        run(store, streams, CONTROL, server.base_url)
    compared = compare(store, streams, CANDIDATE, control=CONTROL)
    yield Replayed(store, streams, first, again, requests, compared)
    store.close()


def test_the_record_agrees_with_itself(replayed: Replayed) -> None:
    """Every one of the real decisions is derived again from its messages, without a mismatch."""
    verification = verify(replayed.store, replayed.streams)
    assert (verification.conversations, verification.decisions) == (200, DECISIONS)
    assert verification.mismatches == []


def test_every_decision_is_asked_once(replayed: Replayed) -> None:
    """One request a decision, no failures."""
    first = replayed.first
    assert (first.conversations, first.decisions) == (200, DECISIONS)
    assert (first.answered, first.requests, first.failed) == (DECISIONS, DECISIONS, 0)
    assert first.usage is not None
    assert first.usage.input_tokens > 1_000_000


def test_a_second_run_makes_no_request(replayed: Replayed) -> None:
    """The servers saw exactly the requests of the first."""
    assert (replayed.again.requests, replayed.again.kept) == (0, DECISIONS)
    assert replayed.requests == DECISIONS


def test_real_differences_are_found_the_same_every_time(replayed: Replayed) -> None:
    """The server is a function of the messages, so the levels are known to the last decision."""
    figures = replayed.compared.figures
    assert figures.counts == {
        "same": 527,
        "words": 995,
        "arguments": 159,
        "tools": 773,
        **dict.fromkeys(LEVELS[4:], 0),
    }
    rate = figures.by_decision
    assert rate.trials + figures.not_assessed == DECISIONS
    assert rate.trials - rate.successes == 159 + 773
    assert figures.by_conversation.trials == 195
    assert figures.by_record.called.trials + figures.by_record.spoke.trials == DECISIONS
    assert figures.baselines.never_calls == pytest.approx(
        figures.by_record.spoke.trials / DECISIONS
    )


def test_turns_of_one_conversation_are_not_independent(replayed: Replayed) -> None:
    """The interval by decision is wider than one that takes every turn for a new coin."""
    rate = replayed.compared.figures.by_decision
    assert rate.rate is not None
    assert rate.low < rate.rate < rate.high
    naive = 2 * 1.96 * (rate.rate * (1 - rate.rate) / rate.trials) ** 0.5
    assert rate.high - rate.low > 1.2 * naive


def test_the_control_gives_the_noise_floor(replayed: Replayed) -> None:
    """The nearest point is nearer than the second nearest; both are compared on 200 pairs."""
    control = replayed.compared.control
    assert control is not None
    assert control.figures.counts == {
        "same": 393,
        "words": 969,
        "arguments": 201,
        "tools": 891,
        **dict.fromkeys(LEVELS[4:], 0),
    }
    same = {one.metric.name: one for one in replayed.compared.verdicts}["same_calls"]
    assert (same.items, same.clusters, same.missing) == (DECISIONS, 200, 0)
    assert same.answer == "changed more than noise"
    assert same.low is not None
    assert same.low > 0


def test_argument_changes_lead_from_one_to_the_other(replayed: Replayed) -> None:
    """Every difference in arguments names the paths that make it."""
    changed = [
        pair
        for conversation in replayed.compared.conversations
        for decision in conversation.decisions
        if decision.level == "arguments"
        for pair in decision.pairs
    ]
    assert len(changed) == 159
    assert all(pair.changes for pair in changed)


def test_the_comparison_is_the_same_bytes_again(replayed: Replayed) -> None:
    """From the same log."""
    again = compare(replayed.store, replayed.streams, CANDIDATE, control=CONTROL)
    assert b"".join(json_pieces(again)) == b"".join(json_pieces(replayed.compared))
