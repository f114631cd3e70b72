"""What is measured of answers and conversations: metrics by name, and one observation of one.

A metric has a direction, so that a change in it is better or worse, or none: then it says only
that something changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import isnan
from typing import Final, Literal

import msgspec

from refold.replay.actions import ConversationComparison, DecisionComparison
from refold.replay.figures import is_compared, is_same_action
from refold.replay.normalising import normal_words


class Metric(msgspec.Struct, frozen=True):
    """A figure that arms are compared by.

    ``says`` names it in plain words ("answers that are broken"). ``direction`` is which is better,
    None where neither is. ``low`` and ``high`` are the range that a value not known can lie in, 0
    and 1 of a share; None where it has no end.
    """

    name: str
    says: str
    direction: Literal["higher", "lower"] | None
    unit: Literal["share", "USD", "ms", "tokens", "count", ""]
    low: float | None = None
    high: float | None = None


class Observation(msgspec.Struct, frozen=True):
    """What one arm gave for an item; several of one item are samples.

    ``item`` is what both arms were asked (a decision as ``call-42@7``, a conversation, a task),
    ``cluster`` what is independent of others (the stream, or what is above it). ``value`` is None
    where it is not known, which is not 0. ``applies`` is False where this arm's answer is none that
    the metric is about: an item is compared only where it applies to both arms.
    """

    item: str
    cluster: str
    value: float | None
    applies: bool = True


_METRICS: Final = (
    Metric("same_action", "answers that do what was recorded", None, "share", 0.0, 1.0),
    Metric("same_calls", "answers that call what was recorded", None, "share", 0.0, 1.0),
    Metric("same_words", "answers that say what was recorded", None, "share", 0.0, 1.0),
    Metric("broken_answers", "answers that are broken", "lower", "share", 0.0, 1.0),
    Metric("cost", "what an answer costs", "lower", "USD", 0.0),
    Metric("latency_ms", "how long an answer takes", "lower", "ms", 0.0),
    Metric("outcome", "conversations good by label, or else by end", "higher", "share", 0.0, 1.0),
    Metric("reward", "the reward of a conversation", "higher", ""),
)
SAME_COURSE: Final = Metric(
    "same_course", "conversations that go as recorded", None, "share", 0.0, 1.0
)
"""The metric of candidates that go on with their own answers: one value a conversation."""
METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _METRICS}
"""The metrics that come with refold, by name."""


def observations(
    conversations: Iterable[ConversationComparison], metric: Metric, *, is_early: bool = False
) -> Iterator[Observation]:
    """What a metric is at every decision that it applies to, each conversation its own cluster.

    A decision that was to be asked and has no value, because it was not or the value is not known,
    is an observation without one; what came after the plan is none. What was not asked yet is one
    that does not apply where the look ``is_early``. A metric that is none of :data:`METRICS` is a
    check that the comparison was made with.
    """
    for conversation in conversations:
        cluster = conversation.stream
        if metric == SAME_COURSE:
            yield from _of_course(conversation)
            continue
        for decision in conversation.decisions:
            if decision.is_later:
                continue
            if is_early and decision.level == "missing":
                yield Observation(decision.at, cluster, None, applies=False)
                continue
            if decision.level in _LEFT_OUT:
                yield Observation(decision.at, cluster, None, applies=False)
                continue
            value = _value(decision, metric.name)
            if value is None or not isnan(value):
                yield Observation(decision.at, cluster, value)
            elif metric.name not in _MEASURES:
                yield Observation(decision.at, cluster, None, applies=False)


def _of_course(conversation: ConversationComparison) -> Iterator[Observation]:
    for first in conversation.decisions[:1]:
        same = conversation.same_action
        yield Observation(first.at, conversation.stream, None if same is None else float(same))


def _value(decision: DecisionComparison, name: str) -> float | None:
    if not is_compared(decision):
        return None
    if (measure := _MEASURES.get(name)) is not None:
        return measure(decision)
    if decision.candidate is None:
        return None
    return decision.scores.get(name, NOT_APPLICABLE)


_LEFT_OUT: Final = frozenset({"conditional", "excluded"})
"""Levels of what a candidate's own course could not be held against, and so no metric is of."""
Measure = Callable[[DecisionComparison], float | None]
"""A value at a decision that has an outcome; None where it is not known."""
NOT_APPLICABLE: Final = float("nan")
"""What a measure gives where it does not apply, which the record alone says: no observation."""


def _same_action(decision: DecisionComparison) -> float:
    # Not by the answer's own words: what one arm leaves out would be missing in the other.
    return float(is_same_action(decision)) if decision.recorded.calls else NOT_APPLICABLE


def _same_words(decision: DecisionComparison) -> float:
    said = decision.candidate.text if decision.candidate is not None else ""
    if not decision.recorded.text.strip():
        return NOT_APPLICABLE
    return float(normal_words(said) == normal_words(decision.recorded.text))


def _cost(decision: DecisionComparison) -> float | None:
    cost = decision.candidate.cost if decision.candidate is not None else None
    return None if cost is None else float(cost)


_MEASURES: Final[dict[str, Measure]] = {
    "same_action": _same_action,
    "same_calls": lambda decision: float(is_same_action(decision)),
    "same_words": _same_words,
    "broken_answers": lambda decision: float(bool(decision.faults)),
    "cost": _cost,
    "latency_ms": lambda decision: decision.candidate.latency_ms if decision.candidate else None,
}
