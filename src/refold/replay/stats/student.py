"""Student's t from the standard library: its tail, its quantile, and means over its spread.

A mean of ``degrees + 1`` measurements has a spread that is itself estimated; t allows for that.
Degrees of freedom need not be whole: those of clusters of unlike size are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

FRACTION_STEPS_MAX: Final = 20_000
"""Steps of the continued fraction, which takes about the root of the degrees of freedom."""
GRID: Final = 400
"""Pieces of an integral over the spread; twice as many change the tenth digit."""
_TINY: Final = 1e-300


def t_tail(deviations: float, degrees: float) -> float:
    """The chance that t with so many degrees of freedom is above ``deviations``."""
    if math.isinf(deviations):
        return 0.0 if deviations > 0 else 1.0
    share = degrees / (degrees + deviations**2)
    tail = _incomplete_beta(degrees / 2, 0.5, share, 1 - share) / 2
    return tail if deviations >= 0 else 1 - tail


@lru_cache(maxsize=4_096)
def t_deviations(confidence: float, degrees: float) -> float:
    """How many standard errors, to each side, hold so much of t: the half width of an interval."""
    low, high, tail = 0.0, 1.0, (1 - confidence) / 2
    while t_tail(high, degrees) > tail:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_tail(middle, degrees) > tail else (low, middle)
    return high


def over_spread(value_at: Callable[[float], float], degrees: float) -> float:
    """The mean of a function of an estimated spread, in units of the true one.

    That spread is the root of a chi-square over its degrees of freedom. Simpson's rule over all
    but 1e-12 of it.
    """
    reach = 7.5 / math.sqrt(2 * degrees)
    first, last = max(0.0, 1 - reach), 1 + reach * 1.6
    step = (last - first) / GRID
    total = 0.0
    for n in range(GRID + 1):
        weight = 1 if n in (0, GRID) else 2 + 2 * (n % 2)
        spread = first + n * step
        total += weight * _spread_density(spread, degrees) * value_at(spread)
    return total * step / 3


def _spread_density(spread: float, degrees: float) -> float:
    if spread == 0:
        return 2 / math.sqrt(2 * math.pi) if degrees == 1 else 0.0
    half = degrees / 2
    log = math.log(2) + half * math.log(half) - math.lgamma(half)
    return math.exp(log + (degrees - 1) * math.log(spread) - half * spread**2)


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularised incomplete beta function at ``x``, given ``rest = 1 - x`` too.

    Source: NIST Digital Library of Mathematical Functions, 8.17.22, by Lentz's method.
    """
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # There the fraction of the other end converges.
        return 1 - _incomplete_beta(b, a, rest, x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log + a * math.log(x) + b * math.log(rest)) / a
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, FRACTION_STEPS_MAX):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = fraction
        for term in (even, odd):
            d, c = 1 / _away_from_zero(1 + term * d), _away_from_zero(1 + term / c)
            fraction *= c * d
        if abs(fraction - before) <= 1e-15 * abs(fraction):
            break
    return front * fraction


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
