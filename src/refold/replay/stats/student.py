"""Student's t from the standard library: its tail, its quantile, and means over a spread.

A mean of ``degrees + 1`` measurements has a spread that is itself estimated; t allows for that. In
units of the true one it is the root of a chi-square over its degrees of freedom, so t is a bell
curve averaged over it. Degrees of freedom need not be whole: those of unlike clusters are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Final

PIECES: Final = 400
"""Of an integral over the spread; twice as many change the tenth digit."""
_BELL: Final = NormalDist()


def over_spread(value_at: Callable[[float], float], degrees: float) -> float:
    """The mean of a function of the spread, over all but 1e-12 of what it can be.

    The trapezoid rule over its logarithm, where the density falls off on both sides so fast that
    the rule is exact to the last digits.
    """
    half = degrees / 2
    log = math.log(2) + half * math.log(half) - math.lgamma(half)
    side = 7.5 / math.sqrt(2 * degrees)
    first, last = -side - 30 / degrees, side
    step, total = (last - first) / PIECES, 0.0
    for n in range(PIECES + 1):
        at = first + n * step
        spread = math.exp(at)
        total += math.exp(log + degrees * at - half * spread**2) * value_at(spread)
    return total * step


def t_tail(deviations: float, degrees: float) -> float:
    """The chance that t with so many degrees of freedom is above ``deviations``."""
    return over_spread(lambda spread: _BELL.cdf(-deviations * spread), degrees)


@lru_cache(maxsize=4_096)
def t_deviations(confidence: float, degrees: float) -> float:
    """How many standard errors, to each side, hold so much of t: the half width of an interval."""
    tail = (1 - confidence) / 2
    found, step = _BELL.inv_cdf(1 - tail), 1.0
    # Newton's method from below, where the tail is convex: it never oversteps.
    while step > 1e-9 * found:
        step = (t_tail(found, degrees) - tail) / _t_density(found, degrees)
        found += step
    return found


def _t_density(deviations: float, degrees: float) -> float:
    return over_spread(lambda spread: spread * _BELL.pdf(deviations * spread), degrees)
