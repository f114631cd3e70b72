"""Exact tests and intervals by flipping signs, for few clusters.

If neither arm is better, each cluster's difference could as well have had the other sign. Going
through all ``2 ** G`` ways of signing them needs no bell curve and no large number. Source: Fisher
1935, *The Design of Experiments*, chapter 3; the interval that the test comes to: Hartigan 1969,
"Using subsample values as typical values", JASA 64.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

from refold.replay.stats.clusters import Cluster

K = TypeVar("K", bound=Hashable)

FEW_CLUSTERS: Final = 16
"""Up to so many clusters the exact test and interval are used.

Below, a bell curve is a guess; above, the t interval keeps what it promises (the table of
``docs/explanation/replay.md``), and going through all signs doubles with each cluster: 16 take a
tenth of a second, 24 would take half a minute.
"""
COINS_MAX: Final = 100_000
"""``mcnemar_exact`` adds up the binomial tail up to this many differing pairs."""
_ROUNDING: Final = 1e-9
"""Sums that are closer than this, of the sum of all sizes, are one sum that was rounded twice."""


def fewest_clusters(alpha: float) -> int:
    """The fewest differing clusters for which an exact two-sided test can reach ``alpha``: 6."""
    return 1 + math.ceil(-math.log2(alpha) - 1e-12)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p that these differences, one a cluster, are as likely to be their opposites.

    None of them is 0, which says nothing. Where all have one size the test is that of McNemar; else
    they are few (see :func:`can_be_exact`).
    """
    if _is_one_size(differences):
        positive = sum(difference > 0 for difference in differences)
        return mcnemar_exact(positive, len(differences) - positive)
    sizes = [abs(difference) for difference in differences]
    found = abs(math.fsum(differences)) - _ROUNDING * math.fsum(sizes)
    sums = _signed_sums(sizes)
    return sum(abs(one) >= found for one in sums) / len(sums)


def can_be_exact(differences: Sequence[float]) -> bool:
    """Whether :func:`sign_flip_p` can go through all signs: they are few, or all of one size."""
    return len(differences) <= FEW_CLUSTERS or _is_one_size(differences)


def sign_flip_interval(clusters: Sequence[Cluster], confidence: float) -> tuple[float, float]:
    """The means that the exact test does not reject: infinite ends where it can reject none.

    The test at a mean ``m`` flips each ``total - m * count``; it passes between two of the ordered
    means over every set of clusters, so these are all that is needed.
    """
    totals, counts = [0.0], [0]
    for total, count in clusters:
        totals += [before + total for before in totals]
        counts += [before + count for before in counts]
    means = sorted(t / c for t, c in zip(totals[1:], counts[1:], strict=True))
    rank = math.floor((1 - confidence) / 2 * 2 ** len(clusters) + 1e-9)
    return (means[rank - 1], means[-rank]) if rank else (-math.inf, math.inf)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p that the two arms of paired yes/no outcomes are equally good.

    ``only_first`` and ``only_second`` count the pairs in which just that arm succeeded; pairs in
    which both or neither did say nothing. Exact binomial, conditional on those that differ, in
    whole numbers; above 100,000 differing pairs, where that takes seconds and changes nothing a
    reader would see, the normal approximation with Edwards' continuity correction. Source:
    McNemar 1947, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12.
    """
    differing, fewer = only_first + only_second, min(only_first, only_second)
    if differing > COINS_MAX:
        return math.erfc(max(0, differing - 2 * fewer - 1) / math.sqrt(2 * differing))
    term = tail = math.comb(differing, fewer)
    for k in range(fewer, 0, -1):
        term = term * k // (differing - k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << differing))


def apart(first: Mapping[K, int], second: Mapping[K, int]) -> float:
    """How far two samples of kinds of things, counted, are apart: 0 to 1, the total variation.

    It is the share of one that would have to be another kind for it to be like the other.
    """
    return _distance(first, second) / (2 * sum(first.values()) * sum(second.values()))


def apart_p(first: Mapping[K, int], second: Mapping[K, int]) -> float:
    """The p that two samples of kinds of things, counted, are of one distribution.

    The share of all ways of dealing them out anew, to samples of these sizes, that are
    :func:`apart` as much or more. They are gone through kind by kind, in whole numbers. Source:
    Fisher 1935, chapter 3; the distance is the total variation.
    """
    sizes = sum(first.values()), sum(second.values())
    # With the first sample's share of each kind dealt: (how many, how far apart so far) -> ways.
    ways = {(0, 0): 1}
    for kind in {**first, **second}:
        count, dealt = first.get(kind, 0) + second.get(kind, 0), dict[tuple[int, int], int]()
        for (taken, far), so_many in ways.items():
            for own in range(min(count, sizes[0] - taken) + 1):
                place = taken + own, far + abs(own * sizes[1] - (count - own) * sizes[0])
                dealt[place] = dealt.get(place, 0) + so_many * math.comb(count, own)
        ways = dealt
    found = _distance(first, second)
    whole = {far: so_many for (taken, far), so_many in ways.items() if taken == sizes[0]}
    return sum(so_many for far, so_many in whole.items() if far >= found) / sum(whole.values())


def _distance(first: Mapping[K, int], second: Mapping[K, int]) -> int:
    sizes, kinds = (sum(first.values()), sum(second.values())), {**first, **second}
    return sum(
        abs(first.get(kind, 0) * sizes[1] - second.get(kind, 0) * sizes[0]) for kind in kinds
    )


def fewest_samples(alpha: float) -> int:
    """The fewest samples of each of two sides with which :func:`apart_p` can reach ``alpha``: 4."""
    each = 1
    while 2 / math.comb(2 * each, each) > alpha:
        each += 1
    return each


def _signed_sums(sizes: Sequence[float]) -> list[float]:
    """The sums with the first one positive: the other half are their opposites."""
    sums = [sizes[0]]
    for size in sizes[1:]:
        sums = [one + size for one in sums] + [one - size for one in sums]
    return sums


def _is_one_size(differences: Sequence[float]) -> bool:
    sizes = [abs(difference) for difference in differences]
    return not sizes or max(sizes) - min(sizes) <= _ROUNDING * max(sizes)
