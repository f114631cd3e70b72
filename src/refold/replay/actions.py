"""What is compared: two answers at one point, the decisions of a conversation, all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import asdict, replace

from refold.conversation.chat_shapes import UNREAD_CALL, exact_arguments, has_unread
from refold.core import alignment, jsonvalue, patch
from refold.core.patch import Operation
from refold.replay.decision import Action, Call, Decision
from refold.replay.journal import StoredAnswer

N = TypeVar("N", Decimal, float)
T = TypeVar("T")

Level = Literal["same", "words", "arguments", "tools", "failed", "missing"]
"""How far an answer is from the recorded one.

``same``: the same tool calls (names in order, arguments by value), words and parts.
``words``: the same calls, or both none, in other words or parts, or in some not understood.
``arguments``: the same tools in the same order, at least one with other arguments. ``tools``:
other tools, another order or number, words on one side and calls on the other, or a call that is
not understood. ``failed``: the candidate gave no answer (a network or server fault, not a verdict
on it). ``missing``: it was not asked.
"""
LEVELS: tuple[Level, ...] = ("same", "words", "arguments", "tools", "failed", "missing")
SAME_ACTION: frozenset[Level] = frozenset({"same", "words"})
NOT_COMPARED: frozenset[Level] = frozenset({"failed", "missing"})


class CallPair(msgspec.Struct, frozen=True):
    """A call of either side to the same tool; ``changes`` lead from one's arguments to the other's.

    Paths are JSON Pointers into the arguments.
    """

    recorded: Call
    candidate: Call
    changes: list[Operation]


class Difference(msgspec.Struct, frozen=True):
    """How two answers differ: the calls that match by tool, and those without a counterpart."""

    level: Level
    pairs: list[CallPair] = []
    only_recorded: list[Call] = []
    only_candidate: list[Call] = []


def compare_actions(recorded: Action, candidate: Action) -> Difference:
    """The difference between two answers.

    Calls are matched by tool name in order, as many as possible; words are compared without the
    white space around them.
    """
    olds, news = recorded.calls, candidate.calls
    places = list(_places(olds, news))
    old_places, new_places = {i for i, _ in places}, {j for _, j in places}
    pairs = [_pair(olds[i], news[j]) for i, j in places]
    only_recorded = [call for i, call in enumerate(olds) if i not in old_places]
    only_candidate = [call for j, call in enumerate(news) if j not in new_places]
    parts = [*recorded.parts, *candidate.parts]
    if only_recorded or only_candidate or UNREAD_CALL in parts:
        level: Level = "tools"
    elif any(pair.changes for pair in pairs):
        level = "arguments"
    else:
        same = recorded.text.strip() == candidate.text.strip() and not has_unread(parts)
        same = same and jsonvalue.equal(recorded.parts, candidate.parts)
        level = "same" if same else "words"
    return Difference(level, pairs, only_recorded, only_candidate)


def arguments_of(call: Call) -> Any:
    """What a call's arguments say: the JSON value, none at all as ``{}``, else the text itself.

    A number is a ``Decimal`` where a float would be another number.
    """
    return _with_floats(_exactly(call))


def _places(olds: Sequence[Call], news: Sequence[Call]) -> Iterable[tuple[int, int]]:
    """Which recorded call is matched by which of the candidate's."""

    def same_tool(i: int, j: int) -> bool:
        return (olds[i].name, olds[i].kind) == (news[j].name, news[j].kind)

    old, new = range(len(olds)), range(len(news))
    if len(old) * len(new) <= patch.ALIGNMENT_CELLS_MAX:
        return alignment.heaviest_pairs(old, new, same_tool)
    return (pair for pair in alignment.place_by_place(old, new) if same_tool(*pair))


def _exactly(call: Call) -> Any:
    return call.arguments if call.kind == "custom" else exact_arguments(call.arguments)


def _pair(recorded: Call, candidate: Call) -> CallPair:
    if recorded.arguments == candidate.arguments:
        return CallPair(recorded, candidate, [])
    changes = [
        replace(change, value=_with_floats(change.value), before=_with_floats(change.before))
        for change in patch.diff(_exactly(recorded), _exactly(candidate))
    ]
    return CallPair(recorded, candidate, changes)


def _with_floats(value: Any) -> Any:
    """The value with a float for each number that a float writes as it is."""
    match value:
        case dict():
            return {key: _with_floats(item) for key, item in value.items()}
        case list():
            return [_with_floats(item) for item in value]
        case Decimal() if Decimal(repr(float(value))) == value:
            return float(value)
    return value


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
    alike = SAME_ACTION | NOT_COMPARED
    divergence = next((d.index for d in compared if d.level not in alike), None)
    # A conversation with a decision left out could be found different but never the same, which
    # would make a network fault look like the model's.
    is_answered = bool(compared) and counts.keys().isdisjoint(NOT_COMPARED)
    return ConversationComparison(
        stream=stream,
        branch=branch,
        decisions=compared,
        counts={level: counts[level] for level in LEVELS},
        same_action=divergence is None if is_answered else None,
        first_divergence=divergence,
        cost_recorded=total_cost(d.recorded.cost for d in compared),
        cost_candidate=total_cost(d.candidate.cost for d in compared if d.candidate),
    )


def compare_decision(decision: Decision, answer: StoredAnswer | None) -> DecisionComparison:
    """One recorded decision against the candidate's answer, if there is one."""
    old, candidate = decision.action, None if answer is None else answer.action
    if candidate is None:
        difference = Difference("missing" if answer is None else "failed")
    else:
        difference = compare_actions(old, candidate)
    new = candidate or Action()
    return DecisionComparison(
        index=decision.index,
        at=decision.at,
        recorded=old,
        candidate=candidate,
        answer=None if answer is None else answer.id,
        error=None if answer is None else answer.error,
        cost_delta=_delta(new.cost, old.cost),
        latency_delta_ms=_delta(new.latency_ms, old.latency_ms),
        **asdict(difference),
    )


def total_cost(costs: Iterable[Decimal | None]) -> Decimal | None:
    """The sum of the costs that are known; None when none is."""
    given = known(costs)
    return sum(given, Decimal(0)) if given else None


def known(values: Iterable[T | None]) -> list[T]:
    """The values without what is not known."""
    return [value for value in values if value is not None]


def _delta(new: N | None, old: N | None) -> N | None:
    return None if new is None or old is None else new - old
