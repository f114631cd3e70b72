"""The paired difference of two arms: one number, between what ends it lies, and whether by chance.

Each item was asked of both arms, so its difference is one value, and what makes items hard or easy
is out of it. What is left is a mean of differences over items in clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from refold.replay.stats.clusters import Cluster, ClusteredMean, clustered_mean
from refold.replay.stats.exact import (
    FEW_CLUSTERS,
    can_be_exact,
    fewest_clusters,
    sign_flip_interval,
    sign_flip_p,
)
from refold.replay.stats.rates import wilson
from refold.replay.stats.several import always_valid
from refold.replay.stats.student import t_deviations, t_tail

Looks = Literal["one", "any"]
"""Whether a growing comparison is looked at once, at the end, or at any time."""


class PairedDifference(NamedTuple):
    """A mean difference with its interval, and the two-sided p that it is none.

    An end is infinite where nothing bounds it. Where ``p`` is at most what the confidence leaves,
    no part of the interval lies beyond 0. ``unseen`` is by how much the mean may be off because
    most clusters that differ are still to come.
    """

    mean: ClusteredMean
    low: float
    high: float
    p: float
    method: str
    unseen: float


def paired_difference(
    clusters: Sequence[Cluster], *, confidence: float, reach: float, looks: Looks = "one"
) -> PairedDifference:
    """The mean of the differences of items in clusters: each their sum and number; one or more.

    Up to 16 clusters the exact test of signs and the interval it comes to, above them the
    cluster-robust t interval. Two things that t does not see are added. *Whether it is chance*
    is for the exact test wherever there is one: where few clusters differ, or all by as much (it
    is McNemar's then). *What has not been seen yet*: while fewer clusters differ than the exact
    test needs, as many more may as Wilson's interval allows; they are taken to differ by as much
    as those seen, and one of them by ``reach``, the most an item can. So 20 clusters without a
    difference do not show that there is none.

    ``looks="any"`` gives an interval that holds at every look at a growing number of clusters;
    it is wider, and without ends up to 16 clusters.
    """
    mean, differing = clustered_mean(clusters), [total for total, _ in clusters if total]
    if looks == "any":
        low, high, p = _at_any_look(mean, confidence)
        method = "asymptotic confidence sequence over clusters"
    elif len(clusters) <= FEW_CLUSTERS:
        low, high = sign_flip_interval(clusters, confidence)
        p, method = sign_flip_p(differing), "exact sign flips of clusters"
    else:
        low, high, p = _by_t(mean, confidence)
        method = "cluster-robust t (jackknife)"
        if can_be_exact(differing):
            p = max(p, sign_flip_p(differing))
            is_binary = all(count == 1 and abs(total) in (0, 1) for total, count in clusters)
            method = "exact McNemar; ends by t" if is_binary else method
    unseen = _unseen(clusters, mean, confidence, reach)
    low, high = min(low, mean.mean - unseen), max(high, mean.mean + unseen)
    if p > 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    else:
        low, high = (max(low, 0.0), high) if mean.mean > 0 else (low, min(high, 0.0))
    return PairedDifference(mean, low, high, p, method, unseen)


def _by_t(mean: ClusteredMean, confidence: float) -> tuple[float, float, float]:
    error = mean.error or 0.0
    half = t_deviations(confidence, mean.degrees) * error
    return mean.mean - half, mean.mean + half, 2 * t_tail(_deviations(mean), mean.degrees)


def _at_any_look(mean: ClusteredMean, confidence: float) -> tuple[float, float, float]:
    if mean.clusters <= FEW_CLUSTERS:
        return -math.inf, math.inf, 1.0
    wide, p = always_valid(_deviations(mean), mean.clusters, confidence)
    half = wide * (mean.error or 0.0)
    return mean.mean - half, mean.mean + half, p


def _deviations(mean: ClusteredMean) -> float:
    """How many standard errors the mean is from 0."""
    if not mean.error:
        return math.inf if mean.mean else 0.0
    return abs(mean.mean) / mean.error


def _unseen(
    clusters: Sequence[Cluster], mean: ClusteredMean, confidence: float, reach: float
) -> float:
    sizes = [abs(total) / count for total, count in clusters if total]
    if mean.error == 0:
        sizes = []  # All alike, be it none or all that differ: no other has been seen.
    elif len(sizes) >= fewest_clusters(1 - confidence):
        return 0.0
    share = wilson(len(sizes), len(clusters), confidence=confidence).high
    return share * (math.fsum(sizes) + reach) / (len(sizes) + 1)
