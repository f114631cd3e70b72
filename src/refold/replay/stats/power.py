"""What a number of clusters can see: the chance, the smallest effect, the number needed.

All of it is for the t interval of a mean with a standard error of ``error`` (see
:mod:`~refold.replay.stats.clusters`), exact where the clusters' means are normal. The exact test
for few clusters has a little less power. Source: Cohen 1988, *Statistical Power Analysis*; for two
one-sided tests, Phillips 1990, Journal of Pharmacokinetics and Biopharmaceutics 18.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

from refold.replay.stats.exact import fewest_clusters
from refold.replay.stats.student import over_spread, t_deviations

POWER: Final = 0.8
DOUBLED_MAX: Final = 2_000_000
"""A plan for more than so many times the fewest is none."""
_BELL: Final = NormalDist()


def settled(
    difference: float, error: float, degrees: float, *, confidence: float, margin: float = 0.0
) -> float:
    """The chance that an interval settles the matter, where the truth is ``difference``.

    It does when 0 is outside it, or when all of it is within ``margin`` of 0. Without a margin
    this is the power of the t test.
    """
    true, edge = difference / error, margin / error
    wide = t_deviations(confidence, degrees)

    def at(spread: float) -> float:
        half = wide * spread
        if edge >= 2 * half:
            return 1.0
        seen = _BELL.cdf(true - half) + _BELL.cdf(-true - half)
        within = _BELL.cdf(edge - half - true) - _BELL.cdf(half - edge - true)
        return seen + max(0.0, within)

    return over_spread(at, degrees)


def smallest_effect(
    error: float, degrees: float, *, confidence: float, power: float = POWER
) -> float:
    """The smallest true difference that would have been seen with this power."""

    def is_seen(difference: float) -> bool:
        return settled(difference, error, degrees, confidence=confidence) >= power

    return _least(is_seen, error, 1e-6 * error) or math.inf


def clusters_needed(
    difference: float,
    deviation: float,
    *,
    confidence: float,
    margin: float = 0.0,
    power: float = POWER,
) -> int | None:
    """How many clusters settle the matter with this power, where the truth is ``difference``.

    ``deviation`` is the standard deviation of a cluster: its error times the root of how many
    there were. Never fewer than let the exact test speak; None for more than twelve million.
    """
    fewest = fewest_clusters(1 - confidence)

    def are_enough(clusters: float) -> bool:
        count = math.ceil(clusters)
        error = deviation / math.sqrt(count)
        return settled(difference, error, count - 1, confidence=confidence, margin=margin) >= power

    if not deviation:
        return fewest
    needed = _least(are_enough, fewest, 0.25)
    return None if needed is None else math.ceil(needed)


def _least(is_enough: Callable[[float], bool], start: float, exactness: float) -> float | None:
    """The least value, from ``start`` up to millions of it, that is enough; None if none is."""
    low = high = start
    while not is_enough(high):
        low, high = high, 2 * high
        if high > DOUBLED_MAX * start:
            return None
    while high - low > exactness:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
