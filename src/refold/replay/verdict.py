"""The verdict: whether a candidate is better, worse or the same, or that this cannot be told.

Each metric is judged by its paired difference, candidate less control, and how far off that can be.
A metric with a direction is *better*, *worse*, *equivalent* (all of the interval within a margin
that was declared beforehand) or *inconclusive*; a guardrail may be *not worse* as well (the worse
end is within the margin). One without only *changed more than noise*, or
there is *no change seen*, and that is said only where a change of any size that matters would have
been seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist
from typing import Final

from msgspec.structs import replace

from refold.errors import refuse_unless
from refold.replay import wording
from refold.replay.answer import SIDES, Sides
from refold.replay.answer import Answer as Answer
from refold.replay.answer import Verdict as Verdict
from refold.replay.answer import Verdicts as Verdicts
from refold.replay.metrics import Metric, Observation
from refold.replay.pairing import paired_arms
from refold.replay.stats import CONFIDENCE
from refold.replay.stats.difference import Looks, PairedDifference, paired_difference
from refold.replay.stats.exact import fewest_clusters
from refold.replay.stats.power import clusters_needed, smallest_effect
from refold.replay.stats.several import benjamini_hochberg, holm

USEFUL_SHARE: Final = 0.05
USEFUL_PART: Final = 0.1
"""Where no margin is declared, a difference that matters is taken to be five points of a share, or
a tenth of what the control has: an interval wider than that shows nothing."""


def judge(
    metric: Metric,
    candidate: Iterable[Observation],
    control: Iterable[Observation],
    *,
    margin: float | None = None,
    confidence: float = CONFIDENCE,
    is_complete: bool = True,
    looks: Looks = "one",
    clustered_by: str = "conversation",
    sides: Sides = SIDES,
    is_guardrail: bool = False,
) -> Verdict:
    """The verdict on one metric from what both arms gave, item by item.

    ``margin`` is the difference, in the metric's unit, that does not matter; it is declared before
    the run. A run that ``is_complete`` does not hold for is inconclusive, whatever it shows so far;
    who wants to look earlier asks for ``looks="any"``, an interval that holds at every look.
    ``clustered_by`` is the word for a cluster, ``sides`` are those for the arms. A metric that
    ``is_guardrail`` and has no margin is given one: five points of a share, or a tenth of what the
    control has. Raises
    :class:`~refold.errors.UsageError` for arguments that cannot be.
    """
    refuse_unless(0 < confidence < 1, "between 0 and 1", confidence=confidence)
    is_fine = margin is None or (margin > 0 and math.isfinite(margin))
    refuse_unless(is_fine, "above 0: leave it out for none", margin=margin)
    differences, reach, means = paired_arms(metric, candidate, asked := list(control))
    facts = Verdict(
        metric=metric,
        answer="inconclusive",
        plain="",
        clusters=len(differences),
        margin=margin,
        confidence=confidence,
        is_complete=is_complete,
        looks=looks,
        clustered_by=clustered_by,
        sides=sides,
        is_guardrail=is_guardrail,
        **means._asdict(),
    )
    if not differences:
        return replace(facts, plain=wording.nothing_known(facts, has_control=bool(asked)))
    if is_guardrail:
        facts = replace(facts, margin=_useful(facts) or None)
    found = paired_difference(differences, confidence=confidence, reach=reach, looks=looks)
    is_bounded = metric.low is not None and metric.high is not None
    return _answered(_with_figures(facts, found, reach if is_bounded else math.inf))


def family(
    primary: Verdict, guardrails: Sequence[Verdict] = (), rest: Sequence[Verdict] = ()
) -> Verdicts:
    """Several verdicts of one run together, so that many metrics are not many chances to be wrong.

    The primary stands as it is. Of the guardrails, Holm's method keeps the chance of any false
    alarm; of the rest, that of Benjamini and Hochberg the share of false ones. What is no longer
    seen then is answered anew.
    """
    guarded, others = _adjusted(guardrails, holm), _adjusted(rest, benjamini_hochberg)
    return Verdicts(
        ship=wording.ship(primary, guarded, others),
        primary=primary,
        guardrails=guarded,
        rest=others,
    )


def _adjusted(
    verdicts: Sequence[Verdict], adjust: Callable[[Sequence[float]], list[float]]
) -> list[Verdict]:
    adjusted = iter(adjust([one.p for one in verdicts if one.p is not None]))
    return [
        one if one.p is None else _answered(replace(one, adjusted_p=next(adjusted)))
        for one in verdicts
    ]


def _with_figures(facts: Verdict, found: PairedDifference, reach: float) -> Verdict:
    mean, confidence = found.mean, facts.confidence
    ends = max(found.low, -reach), min(found.high, reach)
    low, high = (end if math.isfinite(end) else None for end in ends)
    effect = None
    if mean.error and mean.clusters >= fewest_clusters(1 - confidence):
        effect = smallest_effect(mean.error, mean.degrees, confidence=confidence)
    figures = replace(facts, difference=mean.mean, low=low, high=high, p=found.p)
    needed = _clusters_needed(figures, found)
    return replace(figures, method=found.method, smallest_effect=effect, clusters_needed=needed)


def _answered(verdict: Verdict) -> Verdict:
    verdict = replace(verdict, is_not_worse=verdict.is_answered and _is_not_worse(verdict))
    answered = replace(verdict, answer=_answer(verdict) if verdict.is_answered else "inconclusive")
    return replace(answered, plain=wording.plain(answered))


def _answer(verdict: Verdict) -> Answer:
    direction, margin = verdict.metric.direction, verdict.margin
    low, high = _ends_with_missing(verdict)
    p = verdict.p if verdict.adjusted_p is None else verdict.adjusted_p
    if margin is not None and -margin <= low and high <= margin:
        return "equivalent" if direction else "no change seen"
    if p is not None and p <= 1 - verdict.confidence and (low >= 0 or high <= 0):
        if direction is None:
            return "changed more than noise"
        return "better" if (low >= 0) == (direction == "higher") else "worse"
    if verdict.is_guardrail and verdict.is_not_worse:
        return "not worse"
    useful = _useful(verdict)
    return "no change seen" if not direction and max(-low, high) <= useful else "inconclusive"


def _is_not_worse(verdict: Verdict) -> bool:
    """Whether the worse end is within the margin, wherever the better one is."""
    low, high = _ends_with_missing(verdict)
    worst = {"higher": -low, "lower": high}.get(verdict.metric.direction or "", math.inf)
    return verdict.margin is not None and worst <= verdict.margin


def _ends_with_missing(verdict: Verdict) -> tuple[float, float]:
    """The interval, made wider by as much as the missing answers could move the difference."""
    if verdict.low is None or verdict.high is None:
        return -math.inf, math.inf
    found = verdict.difference or 0.0
    moved = [(end or 0.0) - found for end in (verdict.missing_low, verdict.missing_high)]
    return verdict.low + min(0.0, moved[0]), verdict.high + max(0.0, moved[1])


def _useful(verdict: Verdict) -> float:
    """The difference that matters: the margin, or what is taken for it where none is declared."""
    if verdict.margin is not None:
        return verdict.margin
    if verdict.metric.unit == "share":
        return USEFUL_SHARE
    return USEFUL_PART * abs(verdict.control or 0.0)


def _clusters_needed(verdict: Verdict, found: PairedDifference) -> int | None:
    """How many settle it, if the difference is what it seems; more than there are, or None."""
    mean, useful = found.mean, _useful(verdict)
    if verdict.metric.direction and verdict.margin is None and abs(mean.mean) <= useful:
        return None  # Without a margin no number of them is equivalent.
    left_open = (verdict.missing_high or 0.0) - (verdict.missing_low or 0.0)
    if not useful or left_open >= 2 * useful:  # More of them leave as much open.
        return None
    deviation = (mean.error or 0.0) * math.sqrt(mean.clusters)
    needed = clusters_needed(mean.mean, deviation, confidence=verdict.confidence, margin=useful)
    z = NormalDist().inv_cdf((1 + verdict.confidence) / 2)
    # Wilson's end for what was not seen, times the number and z squared, hardly changes with it.
    unseen = math.ceil((mean.clusters + z**2) * found.unseen / useful)
    unseen = 0 if abs(mean.mean) > useful else unseen  # A difference that large is seen before.
    return None if needed is None else max(needed, unseen, mean.clusters + 1)
