"""Statistics for paired comparisons, from the standard library alone.

The unit is the conversation. Turns of one conversation resemble each other, so a rate over turns
takes whole conversations as *clusters*, each given as ``(successes, trials)``. What needs chance
takes a ``seed``: the same arguments give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, product
from random import Random
from statistics import NormalDist
from typing import Final, NamedTuple

from refold.errors import UsageError

EXACT_DIFFERENCES_MAX: Final = 12
"""``sign_flip`` tries every one of the 2**n signs up to this many differences."""

EXACT_PAIRS_MAX: Final = 100_000
"""``mcnemar_exact`` adds up the binomial tail up to this many differing pairs."""

_COIN: Final = bytes(value & 1 for value in range(256))
"""Turns a random byte into 0 or 1."""

Cluster = tuple[int, int]
"""Successes and trials of one conversation."""


class Interval(NamedTuple):
    """The two ends of an interval of rates."""

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


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """The score interval of a rate of independent trials; ``(0, 1)`` for no trials.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference",
    JASA 22, without continuity correction. Raises :class:`UsageError` for counts that cannot be.
    """
    _check_counts(successes, trials)
    z = _normal_quantile(confidence)
    if trials == 0:
        return UNKNOWN
    rate, spread = successes / trials, z * z / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials)) / (1 + spread)
    # The ends are exactly 0 and 1 there; rounding would leave 1e-18.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Interval(low, high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p that the two arms of paired yes/no outcomes are equally good.

    ``only_first`` and ``only_second`` count the pairs in which just that arm succeeded; pairs in
    which both or neither did say nothing. Exact binomial, conditional on those that differ, in
    whole numbers; above 100,000 differing pairs, where that takes seconds and changes nothing a
    reader would see, the normal approximation with Edwards' continuity correction. Source:
    McNemar 1947, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12.
    """
    _check_count("only_first", only_first)
    _check_count("only_second", only_second)
    differing, fewer = only_first + only_second, min(only_first, only_second)
    if differing > EXACT_PAIRS_MAX:
        return math.erfc(max(0, differing - 2 * fewer - 1) / math.sqrt(2 * differing))
    term = tail = math.comb(differing, fewer)
    for k in range(fewer, 0, -1):
        term = term * k // (differing - k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << differing))


def mcnemar_pairs_needed(
    difference: float, discordant_rate: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """How many pairs show a ``difference`` between two rates with this ``power``.

    ``discordant_rate`` is the share of pairs whose two outcomes differ; ``difference`` (its sign
    does not matter) cannot be larger. Source: Connor 1987, "Sample size for testing differences
    in proportions for the paired-sample design", Biometrics 43, two-sided. A normal
    approximation: asked for 0.80, the exact test then has 0.76 to 0.79, so plan for somewhat
    more. Never below the number that lets the exact test reject at all.
    """
    _check_planning(discordant_rate, alpha, power)
    if not 0 < abs(difference) <= discordant_rate:
        raise UsageError(
            f"difference={difference!r} must not be 0 nor exceed "
            f"discordant_rate={discordant_rate!r}",
            argument="difference",
            value=difference,
        )
    z_alpha, z_power = _normal_quantile(1 - alpha), NormalDist().inv_cdf(power)
    under_null = z_alpha * math.sqrt(discordant_rate)
    under_effect = z_power * math.sqrt(discordant_rate - difference**2)
    connor = ((under_null + under_effect) / difference) ** 2
    return math.ceil(max(connor, _differing_pairs_min(alpha) / discordant_rate))


def mcnemar_smallest_effect(
    pairs: int, discordant_rate: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest difference between two rates that this many pairs would show.

    The inverse of :func:`mcnemar_pairs_needed`, with the same source and the same caution. None
    when no difference that fits ``discordant_rate`` would be shown by so few pairs.
    """
    _check_count("pairs", pairs)
    _check_planning(discordant_rate, alpha, power)
    z_alpha, z_power = _normal_quantile(1 - alpha), NormalDist().inv_cdf(power)
    inside = pairs - z_alpha**2 + z_power**2
    if inside < 0 or pairs * discordant_rate < _differing_pairs_min(alpha):
        return None
    # Connor's equation is a quadratic in the difference; this is the root the power belongs to.
    reach = z_alpha * math.sqrt(pairs) + z_power * math.sqrt(inside)
    effect = math.sqrt(discordant_rate) * reach / (pairs + z_power**2)
    return effect if effect <= discordant_rate else None


def cluster_rate_se(clusters: Sequence[Cluster]) -> float | None:
    """The standard error of all successes over all trials, trials of a cluster not independent.

    The linearised ratio estimator (Cochran, *Sampling Techniques*, 3rd edition 1977, chapter 6).
    It is the clustered standard error of Miller 2024 (arXiv:2411.00640) times
    ``sqrt(m / (m - 1))`` for m clusters, which matters only for few. None for fewer than two
    clusters with trials: one cluster does not show how clusters differ.
    """
    filled = _checked_clusters(clusters)
    if len(filled) < 2:
        return None
    successes, trials = _totals(filled)
    rate, count = successes / trials, len(filled)
    squares = math.fsum((won - rate * tried) ** 2 for won, tried in filled)
    return math.sqrt(squares * count / (count - 1)) / trials


def cluster_bootstrap(
    clusters: Sequence[Cluster],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """An interval for all successes over all trials that resamples whole clusters.

    Percentile bootstrap (Efron 1979, "Bootstrap methods", Annals of Statistics 7); too narrow for
    fewer than about 20 clusters. ``(0, 1)`` for fewer than two clusters with trials. When every
    trial came out the same there is nothing to resample: then Wilson's interval counts each
    cluster once, the fewest independent trials there can have been.
    """
    filled = _checked_clusters(clusters)
    _check_between("confidence", confidence)
    _check_count("resamples", resamples, least=100)
    if len(filled) < 2:
        return UNKNOWN
    successes, trials = _totals(filled)
    if successes in (0, trials):
        return wilson(len(filled) if successes else 0, len(filled), confidence=confidence)
    rates = _resampled_rates(filled, resamples, Random(seed))
    tail = 50 * (1 - confidence)
    return Interval(percentile(rates, tail), percentile(rates, 100 - tail))


def sign_flip(differences: Sequence[float], *, permutations: int = 10_000, seed: int = 0) -> float:
    """Two-sided p that paired differences have no direction: each could have had either sign.

    The statistic is the size of the sum. Exact for up to 12 differences other than 0 (those of 0
    count for nothing); above, a random sample of signs that counts the observed one too, so p is
    never 0 (Phipson and Smyth 2010). Source: Fisher 1935, *The Design of Experiments*, section 21.
    """
    _check_count("permutations", permutations, least=1)
    moved = [float(value) for value in _checked_finite("differences", differences) if value]
    if len(moved) <= EXACT_DIFFERENCES_MAX:
        halves = product((0, 1), repeat=len(moved))
        return _share_as_far(moved, halves, count=0, extreme=0)
    generator = Random(seed)
    drawn = (generator.randbytes(len(moved)).translate(_COIN) for _ in range(permutations))
    return _share_as_far(moved, drawn, count=1, extreme=1)


def percentile(values: Sequence[float], q: float) -> float:
    """The ``q``-th percentile (0 to 100) of ``values`` in any order, linear between neighbours.

    Type 7 of Hyndman and Fan 1996, the default of numpy. Raises :class:`UsageError` for no values.
    """
    if not values:
        raise UsageError("values is empty, so it has no percentile", argument="values")
    if not 0 <= q <= 100:
        raise UsageError(f"q={q!r} must be from 0 to 100", argument="q", value=q)
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summarise(values: Iterable[float]) -> Summary | None:
    """Count, mean and percentiles of measurements such as latencies; None for none."""
    ordered = sorted(_checked_finite("values", values))
    if not ordered:
        return None
    p50, p95, p99 = (percentile(ordered, q) for q in (50, 95, 99))
    return Summary(len(ordered), math.fsum(ordered) / len(ordered), p50, p95, p99)


def _resampled_rates(clusters: Sequence[Cluster], resamples: int, generator: Random) -> list[float]:
    rates = []
    for _ in range(resamples):
        successes, trials = _totals(generator.choices(clusters, k=len(clusters)))
        rates.append(successes / trials)
    return rates


def _totals(clusters: Sequence[Cluster]) -> Cluster:
    return sum(won for won, _ in clusters), sum(tried for _, tried in clusters)


def _share_as_far(
    values: Sequence[float], selections: Iterable[Iterable[int]], *, count: int, extreme: int
) -> float:
    """The share of sign choices whose sum is at least as far from 0 as the observed one."""
    total = math.fsum(values)
    # Sums that are equal on paper differ in the last bits, depending on the order of adding.
    reach = abs(total) - 1e-12 * math.fsum(map(abs, values))
    for selection in selections:
        count += 1
        extreme += abs(total - 2 * sum(compress(values, selection))) >= reach
    return extreme / count


def _normal_quantile(confidence: float) -> float:
    """How many standard deviations, to each side, hold ``confidence`` of a normal variable."""
    _check_between("confidence", confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _differing_pairs_min(alpha: float) -> int:
    """The fewest differing pairs for which the exact test can reach ``alpha``: 2 * 0.5**k."""
    return math.ceil(1 - math.log2(alpha))


def _checked_clusters(clusters: Sequence[Cluster]) -> list[Cluster]:
    for successes, trials in clusters:
        _check_counts(successes, trials)
    return [cluster for cluster in clusters if cluster[1]]


def _checked_finite(argument: str, values: Iterable[float]) -> list[float]:
    kept = list(values)
    for value in kept:
        if not math.isfinite(value):
            raise UsageError(
                f"{argument} holds {value!r}, which is not a finite number",
                argument=argument,
                value=value,
            )
    return kept


def _check_planning(discordant_rate: float, alpha: float, power: float) -> None:
    _check_between("alpha", alpha)
    # With less power than alpha, chance alone would do.
    _check_between("power", power, above=alpha)
    if not 0 <= discordant_rate <= 1:
        raise UsageError(
            f"discordant_rate={discordant_rate!r} must be from 0 to 1",
            argument="discordant_rate",
            value=discordant_rate,
        )


def _check_counts(successes: int, trials: int) -> None:
    _check_count("trials", trials)
    _check_count("successes", successes)
    if successes > trials:
        raise UsageError(
            f"successes={successes} exceeds trials={trials}",
            argument="successes",
            value=successes,
        )


def _check_count(argument: str, value: int, *, least: int = 0) -> None:
    if value < least:
        raise UsageError(
            f"{argument}={value!r} must be at least {least}", argument=argument, value=value
        )


def _check_between(argument: str, value: float, *, above: float = 0.0) -> None:
    if not above < value < 1:
        raise UsageError(
            f"{argument}={value!r} must be above {above} and below 1",
            argument=argument,
            value=value,
        )
