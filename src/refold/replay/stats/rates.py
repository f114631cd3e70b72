"""Single rates and their intervals; the shape of a list of measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, quantiles
from typing import Final, NamedTuple

from refold.errors import refuse_unless
from refold.replay.stats.clusters import Cluster, clustered_mean
from refold.replay.stats.student import t_deviations

CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


UNKNOWN: Final = Interval(0.0, 1.0)
"""What is known of a rate without data."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The shape of a list of measurements, in their own unit."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float


def wilson(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a rate of independent trials; ``(0, 1)`` for no trials.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference",
    JASA 22, without continuity correction. Raises :class:`UsageError` for counts that cannot be.
    """
    refuse_unless(trials >= 0, "at least 0", trials=trials)
    refuse_unless(0 <= successes <= trials, f"from 0 to {trials=}", successes=successes)
    refuse_unless(0 < confidence < 1, "between 0 and 1", confidence=confidence)
    if trials == 0:
        return UNKNOWN
    return _score(successes / trials, trials, NormalDist().inv_cdf((1 + confidence) / 2))


def share_interval(clusters: Sequence[Cluster], *, confidence: float = CONFIDENCE) -> Interval:
    """An interval for a share of items that come in clusters: successes over trials of each.

    Wilson's interval with as many trials as independent ones would tell as much, and t in place
    of the bell curve: it stays within 0 and 1, and holds for few clusters, where a bootstrap keeps
    60 to 80 of the 95 % it says. Source: Franco, Little, Louis and Slud 2019, "Comparative study
    of confidence intervals for proportions in complex sample surveys", Journal of Survey Statistics
    and Methodology 7. Where all trials came out the same, each cluster is one trial, the fewest
    independent ones there can have been; ``(0, 1)`` for fewer than two clusters with trials.
    """
    filled = [cluster for cluster in clusters if cluster[1]]
    if len(filled) < 2:
        return UNKNOWN
    found = clustered_mean(filled)
    share, error = found.mean, found.error or 0.0
    deviations = t_deviations(confidence, found.degrees)
    if share in (0, 1):
        return _score(share, len(filled), deviations)
    independent = share * (1 - share) / error**2 if error else math.inf
    return _score(share, min(independent, found.items), deviations)


def summarise(values: Iterable[float]) -> Summary | None:
    """Count, mean and percentiles of measurements such as latencies; None for none.

    Percentiles are linear between neighbours: type 7 of Hyndman and Fan 1996, as numpy's.
    """
    ordered = sorted(values)
    refuse_unless(all(map(math.isfinite, ordered)), "finite numbers", values=ordered)
    if not ordered:
        return None
    cuts = quantiles(ordered if len(ordered) > 1 else ordered * 2, n=100, method="inclusive")
    return Summary(len(ordered), fmean(ordered), cuts[49], cuts[94], cuts[98])


def _score(rate: float, trials: float, deviations: float) -> Interval:
    spread = deviations**2 / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = deviations * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    # The ends are exactly 0 and 1 there; rounding would leave 1e-18.
    return Interval(0.0 if rate == 0 else centre - half, 1.0 if rate == 1 else centre + half)
