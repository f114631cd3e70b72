"""What the figures of a comparison still ask for."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

from refold.errors import UsageError

ALPHA: Final = 0.05
POWER: Final = 0.8


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


def _check(is_fine: bool, argument: str, value: object, wanted: str) -> None:
    if not is_fine:
        raise UsageError(f"{argument}={value!r} must be {wanted}", argument=argument, value=value)
