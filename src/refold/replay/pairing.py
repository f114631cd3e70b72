"""The observations of two arms, item beside item, as what the statistics take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from refold.errors import refuse_unless
from refold.replay.metrics import Metric, Observation
from refold.replay.stats import Cluster

Values = list[float | None]
"""What an arm gave for an item: a value a sample, None where it is not known."""


class ArmMeans(NamedTuple):
    """Two arms over the items that either was to be asked.

    ``candidate`` and ``control`` are means over the items known of both; where there are none, over
    what is known of each, None without any.
    ``missing`` counts the items of which an answer of either arm is not known; ``missing_low`` and
    ``missing_high`` are the difference over *all* items if those were the lowest or the highest
    there can be.
    """

    items: int
    missing: int
    candidate: float | None = None
    control: float | None = None
    missing_low: float | None = None
    missing_high: float | None = None


class Pair(NamedTuple):
    """What both arms gave for one item."""

    item: str
    cluster: str
    candidate: Values
    control: Values

    @property
    def is_whole(self) -> bool:
        """Whether every answer of both is known."""
        return None not in self.candidate and None not in self.control

    @property
    def means(self) -> tuple[float | None, float | None]:
        """Of what is known of the candidate and of the control."""
        return _mean(self.candidate), _mean(self.control)

    def difference(self, lowest: float | None = None, highest: float | None = None) -> float | None:
        """Of what is known, or with the lowest and the highest in place of what is not."""
        new, old = _mean(self.candidate, lowest), _mean(self.control, highest)
        return None if new is None or old is None else new - old


def paired_arms(
    metric: Metric, candidate: Iterable[Observation], control: Iterable[Observation]
) -> tuple[list[Cluster], float, ArmMeans]:
    """The differences of two arms by cluster, how far two values can lie apart, and the means.

    Samples of one item are averaged first. An item that one arm has not, or has as None, is
    missing: neither 0 nor left out in silence. One that the metric applies to in one arm only is
    left out of both. An item whose observations name several clusters
    (trials of a task, each a conversation) is above them, so it is its own cluster. Where the
    metric has no lowest or highest value, it is that of those seen. Raises
    :class:`~refold.errors.UsageError` for a value that is not a finite number.
    """
    pairs = pairs_of(candidate, control)
    missing = sum(not one.is_whole for one in pairs)
    known = [(one, found) for one in pairs if (found := one.difference()) is not None]
    if not known:
        new, old = [one.candidate for one in pairs], [one.control for one in pairs]
        return [], math.inf, ArmMeans(len(pairs), missing, _over(new), _over(old))
    seen = [value for one in pairs for side in one[2:] for value in side if value is not None]
    lowest = min(seen) if metric.low is None else metric.low
    highest = max(seen) if metric.high is None else metric.high
    by_cluster = defaultdict[str, list[float]](list)
    for one, found in known:
        by_cluster[one.cluster].append(found)
    new, old = [one.candidate for one, _ in known], [one.control for one, _ in known]
    ends = ((lowest, highest), (highest, lowest))
    bounds = (math.fsum(one.difference(*end) or 0.0 for one in pairs) / len(pairs) for end in ends)
    # In an order of their own: sums of them are rounded the same, whoever was asked first.
    clusters = sorted((math.fsum(of), len(of)) for of in by_cluster.values())
    return (
        clusters,
        highest - lowest,
        ArmMeans(len(pairs), missing, _over(new), _over(old), *bounds),
    )


def pairs_of(candidate: Iterable[Observation], control: Iterable[Observation]) -> list[Pair]:
    """The items of two arms, each with what both gave."""
    clusters: dict[str, str] = {}
    new, old = (_values(arm, clusters) for arm in (candidate, control))
    return [
        Pair(i, of, new.get(i, [None]), old.get(i, [None]))
        for i, of in clusters.items()
        if new.get(i) != [] and old.get(i) != []
    ]


def _values(arm: Iterable[Observation], clusters: dict[str, str]) -> dict[str, Values]:
    values: dict[str, Values] = {}
    for one in arm:
        is_fine = one.value is None or math.isfinite(one.value)
        refuse_unless(is_fine, f"a finite number, or None, for {one.item}", value=one.value)
        if clusters.setdefault(one.item, one.cluster) != one.cluster:
            clusters[one.item] = one.item
        of = values.setdefault(one.item, [])
        if one.applies:
            of.append(one.value)
    return values


def _over(arm: list[Values]) -> float | None:
    return _mean([_mean(values) for values in arm])


def _mean(values: Values, instead: float | None = None) -> float | None:
    """The mean of what is known; ``instead`` stands for each value that is not, where given."""
    if len(values) == 1:
        return instead if values[0] is None else values[0]
    whole = [instead if value is None else value for value in values]
    known = [value for value in whole if value is not None]
    return math.fsum(known) / len(known) if known else None
