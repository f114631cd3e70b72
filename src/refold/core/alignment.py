"""Which entry of one list became which of another: what stayed, what is alike, the rest by place.

Lists are given as two ranges of indexes; the pairs found are in order on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

Pair = tuple[int, int]
Score = Callable[[int, int], float]
"""How much the entries at two indexes belong together; 0 for not at all."""
Align = Callable[[range, range], Iterable[Pair]]


def common_ends(olds: Sequence[int], news: Sequence[int]) -> list[Pair]:
    """Pairs of the equal entries that both lists begin with, then of those they end with."""
    head = _equal_run(zip(olds, news, strict=False))
    tail = _equal_run(zip(reversed(olds[head:]), reversed(news[head:]), strict=False))
    lag = len(news) - len(olds)
    ends = ((index, index + lag) for index in range(len(olds) - tail, len(olds)))
    return [*((index, index) for index in range(head)), *ends]


def refined(pairs: Iterable[Pair], olds: int, news: int, align: Align) -> list[Pair]:
    """``pairs`` and, in every gap between them, those that ``align`` finds there."""
    found: list[Pair] = []
    old = new = 0
    for old_pair, new_pair in [*pairs, (olds, news)]:
        found += align(range(old, old_pair), range(new, new_pair))
        found.append((old_pair, new_pair))
        old, new = old_pair + 1, new_pair + 1
    return found[:-1]


def place_by_place(olds: range, news: range) -> Iterable[Pair]:
    """First with first, second with second, until one side ends."""
    return zip(olds, news, strict=False)


def heaviest_pairs(olds: range, news: range, score: Score) -> Iterator[Pair]:
    """The common subsequence with the highest total score, by dynamic programming.

    With a score of 1 for equal entries it is the longest common subsequence (Wagner and Fischer
    1974). Time and memory are in proportion to ``len(olds) * len(news)``.
    """
    best = [[0.0] * (len(news) + 1) for _ in range(len(olds) + 1)]
    for i in reversed(range(len(olds))):
        row, below = best[i], best[i + 1]
        for j in reversed(range(len(news))):
            row[j] = max(below[j], row[j + 1], below[j + 1] + score(olds[i], news[j]))
    i = j = 0
    while i < len(olds) and j < len(news):
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            yield olds[i], news[j]
            i, j = i + 1, j + 1


def _equal_run(pairs: Iterable[Pair]) -> int:
    run = 0
    for old, new in pairs:
        if old != new:
            break
        run += 1
    return run
