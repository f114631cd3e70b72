"""What the figures of a comparison still ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import NormalDist
from typing import Final

from refold.errors import UsageError
from refold.replay.stats.rates import CONFIDENCE, UNKNOWN, Interval, percentile, wilson

ALPHA: Final = 0.05
POWER: Final = 0.8
RESAMPLES: Final = 2_000
RESAMPLES_MIN: Final = 100
RESAMPLES_MAX: Final = 1_000_000
Cluster = tuple[int, int]


def mcnemar_pairs_needed(
    difference: float, discordant_rate: float, *, alpha: float = ALPHA, power: float = POWER
) -> int:
    """How many pairs show a ``difference`` between two rates with this power.

    ``discordant_rate`` is the share of pairs whose two outcomes differ; ``difference`` (its sign
    does not matter) cannot be larger. Source: Connor 1987, "Sample size for testing differences
    in proportions for the paired-sample design", Biometrics 43, two-sided. A normal
    approximation: asked for 0.80, the exact test then has 0.76 to 0.79, so plan for somewhat
    more. Never below the number that lets the exact test reject at all.
    """
    z, z_power = _planned(discordant_rate, alpha, power)
    fits = 0 < abs(difference) <= discordant_rate
    _check(fits, "difference", difference, f"other than 0 and within {discordant_rate=}")
    under_null = z * math.sqrt(discordant_rate)
    under_effect = z_power * math.sqrt(discordant_rate - difference**2)
    connor = ((under_null + under_effect) / difference) ** 2
    return math.ceil(max(connor, _differing_pairs_min(alpha) / discordant_rate))


def mcnemar_smallest_effect(
    pairs: int, discordant_rate: float, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """The smallest difference between two rates that this many pairs would show.

    The inverse of :func:`mcnemar_pairs_needed`, with the same source and the same caution. None
    when no difference that fits ``discordant_rate`` would be shown by so few pairs.
    """
    _check(pairs >= 0, "pairs", pairs, "at least 0")
    z, z_power = _planned(discordant_rate, alpha, power)
    inside = pairs - z**2 + z_power**2
    if inside < 0 or pairs * discordant_rate < _differing_pairs_min(alpha):
        return None
    # Connor's equation is a quadratic in the difference; this is the root the power belongs to.
    reach = z * math.sqrt(pairs) + z_power * math.sqrt(inside)
    effect = math.sqrt(discordant_rate) * reach / (pairs + z_power**2)
    return effect if effect <= discordant_rate else None


def cluster_bootstrap(
    clusters: Sequence[Cluster],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """An interval for all successes over all trials that resamples whole clusters.

    Percentile bootstrap (Efron 1979, "Bootstrap methods", Annals of Statistics 7); too narrow for
    fewer than about 20 clusters. ``(0, 1)`` for fewer than four clusters with trials: of these, the
    ends of 95 % are the clusters' own rates. When every trial of two or more came out the same
    there is nothing to resample: then Wilson's interval counts each cluster once, the fewest
    independent trials there can have been.
    """
    for successes, trials in clusters:
        _check_counts(successes, trials)
    _check_between("confidence", confidence)
    fits = type(resamples) is int and RESAMPLES_MIN <= resamples <= RESAMPLES_MAX
    _check(fits, "resamples", resamples, f"{RESAMPLES_MIN:,} to {RESAMPLES_MAX:,}")
    _check(type(seed) is int, "seed", seed, "a whole number")
    filled = [cluster for cluster in clusters if cluster[1]]
    successes, trials = total(filled)
    if len(filled) < (2 if successes in (0, trials) else 4):
        return UNKNOWN
    if successes in (0, trials):
        return wilson(len(filled) if successes else 0, len(filled), confidence=confidence)
    generator = Random(seed)
    drawn = (total(generator.choices(filled, k=len(filled))) for _ in range(resamples))
    rates = [won / tried for won, tried in drawn]
    tail = 50 * (1 - confidence)
    return Interval(percentile(rates, tail), percentile(rates, 100 - tail))


def total(clusters: Sequence[Cluster]) -> Cluster:
    """The successes and trials of all the clusters."""
    return sum(won for won, _ in clusters), sum(tried for _, tried in clusters)


def _deviations(confidence: float) -> float:
    """How many standard deviations, to each side, hold so much of a normal variable."""
    _check_between("confidence", confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _planned(discordant_rate: float, alpha: float, power: float) -> tuple[float, float]:
    """The standard deviations that a plan allows for chance, and for its power."""
    _check(0 <= discordant_rate <= 1, "discordant_rate", discordant_rate, "from 0 to 1")
    _check_between("alpha", alpha)
    # With no more power than alpha, chance alone would do.
    _check_between("power", power, above=alpha)
    return _deviations(1 - alpha), NormalDist().inv_cdf(power)


def _differing_pairs_min(alpha: float) -> int:
    """The fewest differing pairs for which the exact test can reach ``alpha``: 2 * 0.5**n."""
    return math.ceil(1 - math.log2(alpha))


def _check_between(argument: str, value: float, above: float = 0) -> None:
    _check(above < value < 1, argument, value, f"between {above} and 1")


def _check_counts(successes: int, trials: int) -> None:
    _check(trials >= 0, "trials", trials, "at least 0")
    _check(0 <= successes <= trials, "successes", successes, f"from 0 to trials={trials}")


def _check(is_fine: bool, argument: str, value: object, wanted: str) -> None:
    if not is_fine:
        raise UsageError(f"{argument}={value!r} must be {wanted}", argument=argument, value=value)
