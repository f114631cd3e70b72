"""Samples of conversations: the same of the same names and seed, on any machine."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping

UNKNOWN = "(unknown)"
"""The stratum of what has no value."""


def sampled(
    streams: Iterable[str],
    count: int,
    *,
    seed: int = 0,
    stratum_of: Callable[[str], str | None] = lambda _: None,
) -> list[str]:
    """So many of the streams by chance, or all where there are fewer, in the order of their names.

    Of each stratum about its share, and one at least where there are as many as strata; the rest
    by Webster's method (Sainte-Laguë). Which of a stratum, and of strata that claim as much, is
    settled by SHA-256 of seed and name: what is new in the log moves few of the others.
    """
    strata: dict[str, list[str]] = {}
    for stream in sorted(set(streams), key=lambda one: _drawn(seed, one)):
        strata.setdefault(stratum_of(stream) or UNKNOWN, []).append(stream)
    shares = _shares({name: len(held) for name, held in strata.items()}, count, seed)
    return sorted(one for name, held in strata.items() for one in held[: shares[name]])


def _drawn(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _shares(sizes: Mapping[str, int], count: int, seed: int) -> dict[str, int]:
    """How many of each stratum, given how many it has."""
    given = dict.fromkeys(sizes, 0)
    claims = [(*_claim(0, size), _drawn(seed, name), name) for name, size in sizes.items()]
    heapq.heapify(claims)
    for _ in range(min(count, sum(sizes.values()))):
        *_, drawn, name = claims[0]
        given[name] += 1
        if given[name] < sizes[name]:
            heapq.heapreplace(claims, (*_claim(given[name], sizes[name]), drawn, name))
        else:
            heapq.heappop(claims)
    return given


def _claim(share: int, size: int) -> tuple[bool, float]:
    """Where a stratum that has this share of its size stands in the row: the first goes before."""
    return share > 0, -size / (2 * share + 1)
