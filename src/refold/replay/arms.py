"""The arms of a comparison: what each gave, metric by metric, and the verdicts on them."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from math import isnan, nan
from typing import Final

import msgspec
from msgspec.structs import replace

from refold.errors import UsageError
from refold.replay.actions import ConversationComparison, compare_conversation
from refold.replay.answer import Verdict, Verdicts
from refold.replay.decision import Decision
from refold.replay.journal import StoredAnswer
from refold.replay.metrics import METRICS, Metric, Observation, observations
from refold.replay.stats import CONFIDENCE, Looks
from refold.replay.verdict import family, judge

PRIMARY: Final = "broken_answers"
"""The metric that decides where none was declared: it needs no outcome."""
SAME_ACTION: Final = "same_action"
OF_ANSWERS: Final = (
    *("broken_answers", "same_action", "same_calls", "same_words", "cost", "latency_ms"),
)
"""The metrics of answers, in the order in which they are told."""
OF_THE_RECORD: Final = ("broken_answers", "cost")
"""Those that can be set against the record, where no control was asked. Times cannot: they depend
on how many were asked at once."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison is to answer, declared before its answers are looked at.

    ``primary`` is the metric that decides, ``margin`` how much of it, in its unit, does not matter.
    ``guardrails`` are metrics that must not get worse. ``cluster`` is what conversations have in
    common that are not independent of each other, such as ``task`` or ``customer`` (see
    :class:`~refold.conversation.Attributes`); None: each stands for itself. ``looks`` is ``"any"``
    where someone may look before the run is over.
    """

    primary: str = PRIMARY
    guardrails: tuple[str, ...] = ()
    margin: float | None = None
    cluster: str | None = None
    confidence: float = CONFIDENCE
    looks: Looks = "one"


def check_question(question: Question, known: Mapping[str, Metric]) -> None:
    """Refuse a question for a metric that nobody measures."""
    for name in (question.primary, *question.guardrails):
        if name not in known:
            raise UsageError(
                f"there is no metric {name!r}: {', '.join(known)}; a check is one where it is made",
                argument="primary",
            )


class Arm:
    """What one side gave, a conversation at a time: of each value no more than a few bytes."""

    def __init__(
        self, metrics: Collection[str] = OF_ANSWERS, known: Mapping[str, Metric] = METRICS
    ) -> None:
        self._metrics = [known[name] for name in metrics]
        self._columns: defaultdict[str, _Column] = defaultdict(_Column)

    def add(
        self, conversation: ConversationComparison, cluster: str, *, item: str | None = None
    ) -> None:
        """One more conversation, of a cluster; ``item`` where all of it is one item."""
        for metric in self._metrics:
            for one in observations([conversation], metric, lambda _: cluster):
                self._columns[metric.name].add(one if item is None else replace(one, item=item))

    def note(self, metric: str, one: Observation) -> None:
        """One more observation."""
        self._columns[metric].add(one)

    def keep(self, items: Container[str]) -> None:
        """Leave out what is of other items."""
        for column in self._columns.values():
            column.keep(items)

    def of(self, metric: str) -> Iterator[Observation]:
        """All that was observed of a metric."""
        return iter(self._columns.get(metric, ()))


class _Column:
    """Observations of one metric, in columns."""

    def __init__(self) -> None:
        self._items: list[str] = []
        self._clusters: list[str] = []
        self._values = array("d")

    def keep(self, items: Container[str]) -> None:
        kept = [one for one in self if one.item in items]
        _Column.__init__(self)
        for one in kept:
            self.add(one)

    def add(self, one: Observation) -> None:
        self._items.append(one.item)
        self._clusters.append(one.cluster)
        self._values.append(nan if one.value is None else one.value)

    def __iter__(self) -> Iterator[Observation]:
        for item, cluster, value in zip(self._items, self._clusters, self._values, strict=True):
            yield Observation(item, cluster, None if isnan(value) else value)


def itself(stream: str, made: Sequence[Decision]) -> ConversationComparison:
    """A recorded conversation as if its own answers had been a candidate's."""
    answers = {one.at: StoredAnswer(one.at, one.action) for one in made}
    return compare_conversation(stream, stream, made, answers)


def verdicts(
    question: Question,
    candidate: Arm,
    control: Arm,
    metrics: Collection[str] = OF_ANSWERS,
    known: Mapping[str, Metric] = METRICS,
    *,
    is_complete: bool,
) -> Verdicts:
    """The verdicts on two arms: on the primary, on each guardrail, on whatever else was seen."""

    def judged(name: str) -> Verdict:
        return judge(
            known[name],
            candidate.of(name),
            control.of(name),
            margin=question.margin if name == question.primary else None,
            confidence=question.confidence,
            is_complete=is_complete,
            looks=question.looks,
            clustered_by=question.cluster or "conversation",
        )

    guardrails = [name for name in question.guardrails if name != question.primary]
    rest = [judged(name) for name in metrics if name not in (question.primary, *guardrails)]
    # Where nothing can be said of any, one of them says so, and what to do.
    seen = [one for one in rest if one.items > one.missing or one.metric.name == SAME_ACTION]
    return family(judged(question.primary), [judged(name) for name in guardrails], seen)
