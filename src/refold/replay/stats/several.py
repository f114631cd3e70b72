"""Several comparisons at once, looking more than once, and several tries at one task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from refold.errors import refuse_unless


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted so that, of all of them, the chance of any false alarm is kept.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6.
    """
    order = sorted(range(len(ps)), key=ps.__getitem__)
    each = (min(1.0, (len(ps) - rank) * ps[place]) for rank, place in enumerate(order))
    return [p for _, p in sorted(zip(order, accumulate(each, max), strict=True))]


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """Each p adjusted so that, of the differences found, the share of false ones is kept.

    Source: Benjamini and Hochberg 1995, "Controlling the false discovery rate", Journal of the
    Royal Statistical Society B 57.
    """
    order = sorted(range(len(ps)), key=ps.__getitem__, reverse=True)
    each = (min(1.0, ps[place] * len(ps) / (len(ps) - rank)) for rank, place in enumerate(order))
    return [p for _, p in sorted(zip(order, accumulate(each, min), strict=True))]


def always_valid(
    deviations: float, clusters: int, confidence: float, *, planned: float = 100
) -> tuple[float, float]:
    """An interval that may be looked at after any cluster: its half width, and the p of a mean.

    Half widths and ``deviations``, how far the mean is from 0, are in standard errors. The chance
    that the interval ever leaves out the truth is kept over all looks together; it is narrowest
    about ``planned`` clusters, there 1.5 times as wide as one that is looked at once. Source:
    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and
    asymptotic confidence sequences", Annals of Statistics 52, theorem 2.2 and its tuning.
    Asymptotic: not for few clusters.
    """
    alpha = 1 - confidence
    log = -2 * math.log(alpha)
    mixed = clusters * (log + math.log(log) + 1) / planned
    half = math.sqrt(2 * (mixed + 1) / mixed * math.log(math.sqrt(mixed + 1) / alpha))
    e_value = math.exp(min(700.0, deviations**2 * mixed / (2 * (mixed + 1)))) / math.sqrt(mixed + 1)
    return half, min(1.0, 1 / e_value)


def pass_hat_k(tasks: Iterable[tuple[int, int]], k: int) -> float:
    """``pass^k`` as in tau-bench: the chance that *all* of ``k`` tries at a task succeed.

    ``tasks`` are the successes and tries of each. The unbiased estimate: over the sets of ``k`` of
    a task's tries, the share in which all succeeded; averaged over tasks. Source: Yao et al. 2024,
    "tau-bench", arXiv:2406.12045. Raises :class:`~refold.errors.UsageError` for no tasks, or for
    one with fewer tries than ``k``.
    """
    return _averaged([(won, tried) for won, tried in tasks], k)


def pass_at_k(tasks: Iterable[tuple[int, int]], k: int) -> float:
    """``pass@k``: the chance that *any* of ``k`` tries at a task succeeds, estimated as above.

    Source: Chen et al. 2021, "Evaluating large language models trained on code", arXiv:2107.03374.
    """
    return 1 - _averaged([(tried - won, tried) for won, tried in tasks], k)


def _averaged(tasks: Sequence[tuple[int, int]], k: int) -> float:
    fewest = min((tried for _, tried in tasks), default=0)
    refuse_unless(1 <= k <= fewest, f"from 1 to the fewest tries of a task, {fewest}", k=k)
    shares = [math.comb(hits, k) / math.comb(tried, k) for hits, tried in tasks]
    return math.fsum(shares) / len(shares)
