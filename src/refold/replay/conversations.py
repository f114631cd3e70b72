"""A recorded conversation and its replay, decision by decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from refold.replay.actions import (
    LEVELS,
    NOT_COMPARED,
    SAME_ACTION,
    CallPair,
    Difference,
    Level,
    compare_actions,
)
from refold.replay.decision import Action, Call, Decision
from refold.replay.journal import StoredAnswer


class DecisionComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One decision: what was recorded, what the candidate did, and how far apart they are.

    ``at`` is the event it was recorded at, ``answer`` the event that holds the candidate's answer
    or failure, ``error`` why it failed. Deltas are candidate less recorded, where both are known.
    """

    index: int
    at: str
    level: Level
    recorded: Action
    candidate: Action | None
    answer: str | None
    error: str | None
    pairs: list[CallPair]
    only_recorded: list[Call]
    only_candidate: list[Call]
    cost_delta: Decimal | None
    latency_delta_ms: float | None


class ConversationComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation; ``counts`` is how many decisions stand at each level.

    ``same_action`` says whether every decision was the same action: None unless all of them were
    answered. ``first_divergence`` is the index of the first one that was another action. Costs
    are sums in US dollars of what is known, None where nothing is.
    """

    stream: str
    branch: str
    decisions: list[DecisionComparison]
    counts: dict[str, int]
    same_action: bool | None
    first_divergence: int | None
    cost_recorded: Decimal | None
    cost_candidate: Decimal | None


def compare_conversation(
    stream: str, branch: str, recorded: Iterable[Decision], answers: Mapping[str, StoredAnswer]
) -> ConversationComparison:
    """A conversation's decisions against the answers on its branch."""
    compared = [compare_decision(decision, answers.get(decision.at)) for decision in recorded]
    counts = Counter(decision.level for decision in compared)
    return ConversationComparison(
        stream=stream,
        branch=branch,
        decisions=compared,
        counts={level: counts[level] for level in LEVELS},
        same_action=_same_action(compared),
        first_divergence=_first_divergence(compared),
        cost_recorded=total_cost(decision.recorded for decision in compared),
        cost_candidate=total_cost(d.candidate for d in compared if d.candidate is not None),
    )


def compare_decision(decision: Decision, answer: StoredAnswer | None) -> DecisionComparison:
    """One recorded decision against the candidate's answer, if there is one."""
    candidate = None if answer is None else answer.action
    difference = _difference(decision.action, answer)
    return DecisionComparison(
        index=decision.index,
        at=decision.at,
        level=difference.level,
        recorded=decision.action,
        candidate=candidate,
        answer=None if answer is None else answer.id,
        error=None if answer is None else answer.error,
        pairs=difference.pairs,
        only_recorded=difference.only_recorded,
        only_candidate=difference.only_candidate,
        cost_delta=_cost_delta(decision.action, candidate),
        latency_delta_ms=_latency_delta(decision.action, candidate),
    )


def total_cost(actions: Iterable[Action]) -> Decimal | None:
    """The sum of the costs that are known; None when none is."""
    known = [action.cost for action in actions if action.cost is not None]
    return sum(known, Decimal(0)) if known else None


def _difference(recorded: Action, answer: StoredAnswer | None) -> Difference:
    if answer is None:
        return Difference("missing", [], [], [])
    if answer.action is None:
        return Difference("failed", [], [], [])
    return compare_actions(recorded, answer.action)


def _same_action(compared: Sequence[DecisionComparison]) -> bool | None:
    # A conversation with a decision left out could be found different but never the same, which
    # would make a network fault look like the model's.
    if not compared or any(decision.level in NOT_COMPARED for decision in compared):
        return None
    return all(decision.level in SAME_ACTION for decision in compared)


def _first_divergence(compared: Sequence[DecisionComparison]) -> int | None:
    alike = SAME_ACTION | NOT_COMPARED
    return next((d.index for d in compared if d.level not in alike), None)


def _cost_delta(recorded: Action, candidate: Action | None) -> Decimal | None:
    if candidate is None or candidate.cost is None or recorded.cost is None:
        return None
    return candidate.cost - recorded.cost


def _latency_delta(recorded: Action, candidate: Action | None) -> float | None:
    if candidate is None or candidate.latency_ms is None or recorded.latency_ms is None:
        return None
    return candidate.latency_ms - recorded.latency_ms
