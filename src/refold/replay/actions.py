"""What is compared: two answers at one point, the decisions of a conversation, all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

import msgspec
from msgspec.structs import asdict, replace

from refold.conversation.chat_shapes import UNREAD_CALL, has_unread
from refold.core import jsonvalue, patch
from refold.core.patch import Operation
from refold.replay.course import Led
from refold.replay.decision import Action, Call, Decision
from refold.replay.faults import (
    FAULTS,
    UNKNOWN,
    Faults,
    Offered,
    fault_in,
    faults_of,
    is_cut_off,
    offered_by,
)
from refold.replay.hidden import GONE
from refold.replay.journal import StoredAnswer
from refold.replay.normalising import (
    NOTHING_IGNORED,
    Ignored,
    exactly,
    normal_arguments,
    normal_words,
)

N = TypeVar("N", Decimal, float)
T = TypeVar("T")

Level = Literal[
    "same",
    "words",
    "arguments",
    "tools",
    "empty",
    "refused",
    "filtered",
    "truncated",
    "not_offered",
    "broken_arguments",
    "own_limit",
    "failed",
    "missing",
    "conditional",
    "excluded",
]
"""How far an answer is from the recorded one, or what is broken about it.

``same``: the same tool calls (in any order, arguments by what they say), words and parts.
``words``: the same calls, or both none, in other words or parts, or in some not understood.
``arguments``: as many calls of the same tools, at least one with other arguments. ``tools``: other
tools, or another number of calls, words on one side and calls on the other, or a call that is not
understood. Then what is broken: see :data:`~refold.replay.faults.FaultKind`; an answer that is the
recorded one over again, with all that is broken about it, is still ``same``. ``failed``: the
candidate gave no answer (a network or server fault, not a verdict on it). ``missing``: it was not
asked. Where a candidate went on with its own answers, ``conditional`` is all that follows its first
other action, and ``excluded`` what it could not come to for no fault of its own.
"""
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
SAME_ACTION: Final[frozenset[Level]] = frozenset({"same", "words"})
NOT_COMPARED: Final[frozenset[Level]] = frozenset({"failed", "missing", "conditional", "excluded"})
PAIRS_TRIED_MAX: Final = 10_000
"""Calls of one tool without their like are paired by place where there are more pairs to try."""


class Terms(NamedTuple):
    """How answers are compared: what of arguments is ignored, and what the variant offered.

    ``offered`` is None where the candidate was offered what was recorded.
    """

    ignored: Ignored = NOTHING_IGNORED
    offered: Offered | None = None


AS_RECORDED: Final = Terms()


class CallPair(msgspec.Struct, frozen=True):
    """A call of either side to the same tool; ``changes`` lead from one's arguments to the other's.

    Paths are JSON Pointers into the arguments.
    """

    recorded: Call
    candidate: Call
    changes: list[Operation]


class Difference(msgspec.Struct, frozen=True):
    """How two answers differ: the calls that match, and those without a counterpart.

    ``faults`` is what is broken about the candidate's, ``recorded_faults`` about the recorded one.
    """

    level: Level
    pairs: list[CallPair] = []
    only_recorded: list[Call] = []
    only_candidate: list[Call] = []
    faults: Faults = {}
    recorded_faults: Faults = {}


def compare_actions(
    recorded: Action,
    candidate: Action,
    *,
    offered: Offered = UNKNOWN,
    recorded_offered: Offered | None = None,
    ignored: Ignored = NOTHING_IGNORED,
) -> Difference:
    """The difference between two answers.

    Calls are matched by tool and arguments, wherever they stand; what is left of a tool's calls is
    paired by likeness. Words are compared in NFC, each stretch of white space as one blank.
    ``offered`` are the tools that the candidate could call, ``recorded_offered`` those of the
    record where they are others.
    """
    places = list(_places(recorded.calls, candidate.calls, offered, ignored))
    matched = [{place[0] for place in places}, {place[1] for place in places}]
    faults = faults_of(candidate, offered)
    if is_cut_off(candidate.text, recorded.text):
        faults.setdefault("truncated", "ends in the midst of a word of what was recorded")
    found = Difference(
        "same",
        [CallPair(recorded.calls[i], candidate.calls[j], changes) for i, j, changes in places],
        [call for i, call in enumerate(recorded.calls) if i not in matched[0]],
        [call for j, call in enumerate(candidate.calls) if j not in matched[1]],
        faults,
        faults_of(recorded, offered if recorded_offered is None else recorded_offered),
    )
    return replace(found, level=_level(recorded, candidate, found))


def _level(recorded: Action, candidate: Action, found: Difference) -> Level:
    parts = [*recorded.parts, *candidate.parts]
    distance: Level = "words"
    if found.only_recorded or found.only_candidate or UNREAD_CALL in parts:
        distance = "tools"
    elif any(pair.changes for pair in found.pairs):
        distance = "arguments"
    elif (
        normal_words(recorded.text) == normal_words(candidate.text)
        and not has_unread(parts)
        and jsonvalue.equal(recorded.parts, candidate.parts)
    ):
        distance = "same"
    if distance == "same" and found.faults.keys() == found.recorded_faults.keys():
        return "same"
    return next((kind for kind in FAULTS if kind in found.faults), distance)


def arguments_of(call: Call) -> Any:
    """What a call's arguments say: the JSON value, none at all as ``{}``, else the text itself.

    A number is a ``Decimal`` where a float would be another number.
    """
    return _with_floats(exactly(call))


_Match = tuple[int, int, list[Operation]]
"""The places of a recorded call and of the candidate's, and what leads from one to the other."""


def _places(
    olds: Sequence[Call], news: Sequence[Call], offered: Offered, ignored: Ignored
) -> Iterator[_Match]:
    """The calls of both sides that belong together, those of each tool by itself."""
    said = [[(call.name, call.kind, call.arguments) for call in side] for side in (olds, news)]
    if said[0] == said[1]:
        yield from ((place, place, []) for place in range(len(olds)))
        return
    for tool in dict.fromkeys((call.name, call.kind) for call in olds):
        schema = offered.get(tool[0])
        old, new = (
            {
                place: normal_arguments(call, schema, ignored)
                for place, call in enumerate(side)
                if (call.name, call.kind) == tool
            }
            for side in (olds, news)
        )
        yield from _of_a_tool(old, new)


def _of_a_tool(olds: dict[int, Any], news: dict[int, Any]) -> Iterator[_Match]:
    """First the calls with the same arguments, then the rest by likeness; arguments by place."""
    numbers = jsonvalue.Numbering()
    waiting: dict[int, list[int]] = {}
    for place, arguments in news.items():
        waiting.setdefault(numbers.of(arguments), []).append(place)
    for place, arguments in list(olds.items()):
        if same := waiting.get(numbers.of(arguments)):
            new = same.pop(0)
            del olds[place], news[new]
            yield place, new, []
    for old, new in _alike(olds, news):
        changes = [
            replace(change, value=_with_floats(change.value), before=_with_floats(change.before))
            for change in patch.diff(olds[old], news[new])
        ]
        yield old, new, changes


def _alike(olds: dict[int, Any], news: dict[int, Any]) -> list[tuple[int, int]]:
    """Calls with other arguments in pairs, those with the most in common first."""
    if len(olds) * len(news) > PAIRS_TRIED_MAX:
        return list(zip(olds, news, strict=False))
    numbers = jsonvalue.Numbering()
    old, new = (
        {place: _entries(arguments, numbers) for place, arguments in side.items()}
        for side in (olds, news)
    )
    likeness = {(i, j): len(one & other) for i, one in old.items() for j, other in new.items()}
    found: list[tuple[int, int]] = []
    for i, j in sorted(likeness, key=lambda place: (-likeness[place], place)):
        if i in old and j in new:
            del old[i], new[j]
            found.append((i, j))
    return found


def _entries(arguments: Any, numbers: jsonvalue.Numbering) -> set[Hashable]:
    items = arguments.items() if isinstance(arguments, dict) else ()
    return {(key, numbers.of(value)) for key, value in items}


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


class DecisionComparison(Difference, frozen=True, kw_only=True):
    """One decision: what was recorded, what the candidate did, and how these differ.

    ``is_later``: the conversation went on with it after the plan, so it was not to be asked.
    ``at`` is the event it was recorded at, ``answer`` the event that holds the candidate's answer
    or failure, ``error`` why it failed. ``why`` says why a course left its record here,
    or never came here. Deltas are candidate less recorded, where both are known.
    """

    index: int
    at: str
    recorded: Action
    candidate: Action | None
    answer: str | None
    error: str | None
    scores: dict[str, float | None] = {}
    recorded_scores: dict[str, float | None] = {}
    cost_delta: Decimal | None
    latency_delta_ms: float | None
    is_later: bool = False
    why: str = ""

    @property
    def is_assessed(self) -> bool:
        """Whether the level tells if it did the same: not where both only spoke, in other words."""
        return self.level != "words" or bool(self.recorded.calls)


class ConversationComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation; ``counts`` is how many decisions stand at each level.

    ``same_action`` says whether every decision that can be assessed was the same action: None
    where there is none, and unless all that were to be asked were answered. ``first_divergence`` is
    the place in them of the first one that was another action. ``led`` says where a
    candidate came to that went on with its own answers.
    """

    stream: str
    branch: str
    decisions: list[DecisionComparison]
    counts: dict[str, int]
    same_action: bool | None
    first_divergence: int | None
    led: Led | None = None

    @property
    def is_begun(self) -> bool:
        """Whether anything of it was answered, or failed to be."""
        came = self.led is not None and self.led.answers > 0
        return came or any(n for level, n in self.counts.items() if level != "missing")


def compare_conversation(
    stream: str,
    branch: str,
    recorded: Iterable[Decision],
    answers: Mapping[str, StoredAnswer],
    terms: Terms = AS_RECORDED,
    *,
    later: Iterable[Decision] = (),
) -> ConversationComparison:
    """A conversation's decisions against the answers on its branch.

    ``later`` are those that it went on with after it was planned: missing, and held against none.
    """
    compared = [compare_decision(one, answers.get(one.at), terms) for one in recorded]
    counts = Counter(decision.level for decision in compared)
    alike = SAME_ACTION | NOT_COMPARED
    divergence = next((n for n, d in enumerate(compared) if d.level not in alike), None)
    # A conversation with a decision left out could be found different but never the same, which
    # would make a network fault look like the model's.
    is_answered = counts.keys().isdisjoint(NOT_COMPARED)
    is_answered = is_answered and any(decision.is_assessed for decision in compared)
    after = [replace(compare_decision(one, None, terms), is_later=True) for one in later]
    counts.update(decision.level for decision in after)
    compared += after
    return ConversationComparison(
        stream=stream,
        branch=branch,
        decisions=compared,
        counts={level: counts[level] for level in LEVELS},
        same_action=divergence is None if is_answered else None,
        first_divergence=divergence,
    )


def compare_decision(
    decision: Decision, answer: StoredAnswer | None, terms: Terms = AS_RECORDED
) -> DecisionComparison:
    """One recorded decision against the candidate's answer, if there is one."""
    old, candidate = decision.action, None if answer is None else answer.action
    before = offered_by(decision.configured)
    offered = before if terms.offered is None else terms.offered
    if candidate is not None:
        difference = compare_actions(
            old, candidate, offered=offered, recorded_offered=before, ignored=terms.ignored
        )
    else:
        difference = _without_answer(answer, faults_of(old, before))
    new = candidate or Action()
    return DecisionComparison(
        index=decision.index,
        at=decision.at,
        recorded=old,
        candidate=candidate,
        answer=None if answer is None else answer.id or None,
        error=None if answer is None else answer.error,
        cost_delta=_delta(new.cost, old.cost),
        latency_delta_ms=_delta(new.latency_ms, old.latency_ms),
        why=GONE if difference.level == "excluded" else "",
        **asdict(difference),
    )


def _without_answer(answer: StoredAnswer | None, recorded: Faults) -> Difference:
    if answer is None:
        return Difference("missing", recorded_faults=recorded)
    error = answer.error or ""
    if error == GONE:
        return Difference("excluded", recorded_faults=recorded)
    if (kind := fault_in(error)) is not None:
        return Difference(kind, faults={kind: error}, recorded_faults=recorded)
    return Difference("failed", recorded_faults=recorded)


def total_cost(costs: Iterable[Decimal | None]) -> Decimal | None:
    """The sum of the costs that are known; None when none is."""
    given = known(costs)
    return sum(given, Decimal(0)) if given else None


def known(values: Iterable[T | None]) -> list[T]:
    """The values without what is not known."""
    return [value for value in values if value is not None]


def _delta(new: N | None, old: N | None) -> N | None:
    return None if new is None or old is None else new - old
