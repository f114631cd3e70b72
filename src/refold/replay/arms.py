"""The arms of a comparison: what each gave, metric by metric, and the verdicts on them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf, isfinite, nan
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from refold.conversation.attributes import Attributes
from refold.engine.store import Store
from refold.errors import UsageError, refuse_unless
from refold.replay.actions import ConversationComparison, compare_conversation
from refold.replay.answer import Verdict, Verdicts
from refold.replay.checks.seen import NamedCheck
from refold.replay.control import LATENCY
from refold.replay.decision import Decision
from refold.replay.journal import StoredAnswer
from refold.replay.judge import Judge
from refold.replay.metrics import METRICS, SAME_COURSE, Metric, Observation, observations
from refold.replay.plan import ReplayPlan
from refold.replay.stats import CONFIDENCE, Looks
from refold.replay.variant import NEXT_STEP
from refold.replay.verdict import family, judge

PRIMARY: Final = "broken_answers"
"""The metric that decides where none was declared: it needs no outcome."""
SAME_CALLS: Final = "same_calls"
"""The metric of a change: it applies to every decision."""
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
    ``guardrails`` are metrics that must not get worse; ``guardrail_margins`` says by how much some
    may, and without one that is five points of a share, or a tenth of what the control has.
    ``cluster`` is what conversations have in
    common that are not independent of each other, such as ``task`` or ``customer`` (see
    :class:`~refold.conversation.Attributes`); None: each stands for itself. ``looks`` is ``"any"``
    where someone may look before the run is over.
    """

    primary: str = PRIMARY
    guardrails: tuple[str, ...] = ()
    margin: float | None = None
    guardrail_margins: dict[str, float] = {}
    cluster: str | None = None
    confidence: float = CONFIDENCE
    looks: Looks = "one"

    def __post_init__(self) -> None:
        margins = [("margin", self.margin)]
        margins += [("guardrail", margin) for margin in self.guardrail_margins.values()]
        for name, margin in margins:
            is_fine = margin is None or 0 < margin < math.inf
            refuse_unless(is_fine, "above 0: leave it out for none", **{name: margin})

    @property
    def deciding(self) -> tuple[str, ...]:
        """The metrics that may stop a change."""
        return self.primary, *self.guardrails


def declared_question(
    plan: ReplayPlan | None, checks: Sequence[NamedCheck] = (), judge: Judge | None = None
) -> tuple[Question, list[str]]:
    """What a plan declared that is to be answered, and what of it cannot be with these checks."""
    primary = None if plan is None else plan.terms.primary
    if plan is None or primary is None:
        return Question(), []
    if primary in measured([*checks], judge, mode=plan.variant.made):
        return Question(primary=primary, margin=plan.terms.margin), []
    return Question(), [
        f"{primary} was to decide, which is a check or a judge; here {PRIMARY} does"
    ]


def check_question(question: Question, known: Mapping[str, Metric]) -> None:
    """Refuse a question for a metric that is not measured, or a margin of no guardrail."""
    others = {*question.guardrail_margins} - {*question.guardrails}
    refuse_unless(not others, "margins of guardrails", guardrail_margins=others)
    for name in question.deciding:
        if name not in known:
            raise UsageError(
                f"{name!r} is not measured here, but {', '.join(known)}; a check or a judge where "
                "there is one",
                argument="primary" if name == question.primary else "guardrails",
            )


def measured(
    checks: Iterable[NamedCheck] = (),
    judge: Judge | None = None,
    *,
    is_timed: bool = True,
    mode: str = NEXT_STEP,
) -> dict[str, Metric]:
    """The metrics of answers by name, and those of the checks and the judge of them."""
    own = [check.metric for check in checks] + ([] if judge is None else [judge.metric])
    of_course = [] if mode == NEXT_STEP else [SAME_COURSE]
    of_answers = [METRICS[name] for name in OF_ANSWERS if is_timed or name != LATENCY]
    return {metric.name: metric for metric in [*of_answers, *of_course, *own]}


def check_cluster(store: Store, streams: Iterable[str], cluster: str | None) -> None:
    """Refuse to cluster by what no conversation is known by, which may be a slip of the pen."""
    if cluster is not None and not any(
        Attributes.of(store.read(stream)).by(cluster) for stream in streams
    ):
        raise UsageError(f"no conversation has a {cluster} to cluster by", argument="cluster")


class Arm:
    """What one side gave, a conversation at a time: of each value no more than a few bytes."""

    def __init__(self, name: str, metrics: Iterable[Metric], *, is_early: bool) -> None:
        self.name, self._metrics, self._is_early = name, [*metrics], is_early
        self._items, self._clusters = list[str](), list[str]()
        self._columns = {one.name: array("d") for one in self._metrics}

    def add(self, conversation: ConversationComparison, cluster: str) -> None:
        """One more conversation, of a cluster."""
        places = {one.at: n for n, one in enumerate(conversation.decisions, len(self._items))}
        self._items += places
        self._clusters += [cluster] * len(places)
        for metric in self._metrics:
            values = self._columns[metric.name]
            values.extend([-inf] * len(places))
            for one in observations([conversation], metric, is_early=self._is_early):
                known = nan if one.value is None else one.value
                values[places[one.item]] = known if one.applies else inf

    def of(self, metric: str) -> Iterator[Observation]:
        """All that was observed of a metric."""
        columns = self._items, self._clusters, self._columns.get(metric, ())
        for item, cluster, value in zip(*columns, strict=metric in self._columns):
            if value != -inf:
                yield Observation(item, cluster, value if isfinite(value) else None, value != inf)


def itself(stream: str, made: Sequence[Decision]) -> ConversationComparison:
    """A recorded conversation as if its own answers had been a candidate's."""
    answers = {one.at: StoredAnswer(one.at, one.action) for one in made}
    return compare_conversation(stream, stream, made, answers)


class Gave(Protocol):
    """An arm: what it is called, and what it gave."""

    @property
    def name(self) -> str:
        """What it is called."""

    def of(self, metric: str) -> Iterable[Observation]:
        """All that was observed of a metric."""


def verdicts(
    question: Question,
    candidate: Gave,
    control: Gave,
    known: Mapping[str, Metric],
    *,
    is_complete: bool = True,
) -> Verdicts:
    """The verdicts on two arms: on the primary, on each guardrail, on whatever else was seen.

    ``known`` are the metrics by name, in the order in which they are told.
    """
    guardrails = [name for name in question.guardrails if name != question.primary]
    margins = {question.primary: question.margin}

    def judged(name: str) -> Verdict:
        return judge(
            known[name],
            candidate.of(name),
            control.of(name),
            margin=(question.guardrail_margins | margins).get(name),
            is_guardrail=name in guardrails,
            confidence=question.confidence,
            is_complete=is_complete,
            looks=question.looks,
            clustered_by=question.cluster or "conversation",
            sides=(candidate.name, control.name),
        )

    rest = [judged(name) for name in known if name not in question.deciding]
    # Where nothing can be said of any, one of them says so, and what to do.
    seen = [one for one in rest if one.items > one.missing or one.metric.name == SAME_CALLS]
    found = family(judged(question.primary), [judged(name) for name in guardrails], seen)
    return replace(found, unknown=[one for one in rest if one not in seen])
