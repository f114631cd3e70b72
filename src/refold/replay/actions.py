"""Two answers at the same point, compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from refold.conversation.chat_shapes import exact_arguments
from refold.core import alignment, patch
from refold.core.patch import Operation
from refold.replay.decision import Action, Call

Level = Literal["same", "words", "arguments", "tools", "failed", "missing"]
"""How far an answer is from the recorded one.

``same``: the same tool calls (names in order, arguments by value) and the same words.
``words``: the same calls, or both none, in other words. ``arguments``: the same tools in the same
order, at least one with other arguments. ``tools``: other tools, another order or number, or words
on one side and calls on the other. ``failed``: the candidate gave no answer (a network or server
fault, not a verdict on it). ``missing``: it was not asked.
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
    pairs: list[CallPair]
    only_recorded: list[Call]
    only_candidate: list[Call]


def compare_actions(recorded: Action, candidate: Action) -> Difference:
    """The difference between two answers.

    Calls are matched by tool name in order, as many as possible; words are compared without the
    white space around them.
    """
    pairs, only_recorded, only_candidate = _matched(recorded.calls, candidate.calls)
    if only_recorded or only_candidate:
        level: Level = "tools"
    elif any(pair.changes for pair in pairs):
        level = "arguments"
    else:
        level = "same" if recorded.text.strip() == candidate.text.strip() else "words"
    return Difference(level, pairs, only_recorded, only_candidate)


def arguments_of(call: Call) -> Any:
    """What a call's arguments say: the JSON value, none at all as ``{}``, else the text itself.

    A number is a ``Decimal`` where a float would be another number.
    """
    return _with_floats(exact_arguments(call.arguments))


def _matched(
    olds: Sequence[Call], news: Sequence[Call]
) -> tuple[list[CallPair], list[Call], list[Call]]:
    places = list(_places(olds, news))
    old_places, new_places = {i for i, _ in places}, {j for _, j in places}
    return (
        [_pair(olds[i], news[j]) for i, j in places],
        [call for i, call in enumerate(olds) if i not in old_places],
        [call for j, call in enumerate(news) if j not in new_places],
    )


def _places(olds: Sequence[Call], news: Sequence[Call]) -> Iterable[tuple[int, int]]:
    """Which recorded call is matched by which of the candidate's."""
    old, new = range(len(olds)), range(len(news))
    if len(old) * len(new) <= patch.ALIGNMENT_CELLS_MAX:
        return alignment.heaviest_pairs(old, new, lambda i, j: olds[i].name == news[j].name)
    by_place = alignment.place_by_place(old, new)
    return ((i, j) for i, j in by_place if olds[i].name == news[j].name)


def _pair(recorded: Call, candidate: Call) -> CallPair:
    if recorded.arguments == candidate.arguments:
        return CallPair(recorded, candidate, [])
    changes = patch.diff(exact_arguments(recorded.arguments), exact_arguments(candidate.arguments))
    return CallPair(recorded, candidate, [_operation_with_floats(change) for change in changes])


def _operation_with_floats(change: Operation) -> Operation:
    return msgspec.structs.replace(
        change, value=_with_floats(change.value), before=_with_floats(change.before)
    )


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
