"""Two texts, word by word or line by line: what one has that the other does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import chain, pairwise
from typing import Final, Literal, NamedTuple

WORDS_MAX: Final = 1_200
"""Longer texts are not aligned: it takes time in proportion to the product of their lengths."""
ALIKE_MIN: Final = 0.4
"""Texts that share fewer of their words are marked whole: marks on every other word say nothing."""
CONTEXT_LINES: Final = 3
LINES_ALIKE_MIN: Final = 0.5
PAIRS_TRIED_MAX: Final = 2_500
"""Beyond this many pairs, lines are not compared for likeness: each is out, or in."""
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")


class WordRun(NamedTuple):
    """A stretch of one text; ``is_own``: the other text does not have it."""

    text: str
    is_own: bool

    @property
    def marked(self) -> tuple[str, str, str]:
        """The text as what stands before a mark, in it, and after it: it holds no outer space."""
        own = self.text.strip() if self.is_own else ""
        return self.text.partition(own) if own else (self.text, "", "")


class DiffLine(NamedTuple):
    """A line of two texts laid over each other.

    ``mark`` is the element around what it has of its own: ``del`` where it is taken out, ``ins``
    where it is put in, "" where both have it. ``runs`` is None where it is its own as a whole,
    without a version of it beside it. ``left_out`` counts the lines of both that it stands for.
    """

    mark: Literal["", "del", "ins"]
    text: str
    runs: list[WordRun] | None = None
    left_out: int = 0


def compare_words(before: str, after: str) -> tuple[list[WordRun], list[WordRun]]:
    """Both texts as runs, in order; each side's texts joined give that side back."""
    olds, news = _WORDS.findall(before), _WORDS.findall(after)
    changes = _changes(olds, news)
    return _runs(olds, [one[:2] for one in changes]), _runs(news, [one[2:] for one in changes])


def compare_lines(before: str, after: str) -> Iterator[DiffLine]:
    """Two texts as one: lines kept, taken out, put in; changed ones word by word."""
    olds, news = before.splitlines(), after.splitlines()
    matcher = SequenceMatcher(None, olds, news, autojunk=False)
    for operation, i1, i2, j1, j2 in matcher.get_opcodes():
        if operation == "equal":
            yield from _kept(olds[i1:i2], is_first=i1 == 0, is_last=i2 == len(olds))
            continue
        for old, new in _versions(olds[i1:i2], news[j1:j2]):
            own_old, own_new = compare_words(old, new) if old and new else (None, None)
            if old is not None:
                yield DiffLine("del", old, own_old)
            if new is not None:
                yield DiffLine("ins", new, own_new)


def _changes(olds: list[str], news: list[str]) -> list[tuple[int, int, int, int]]:
    """Where the two differ; changes with nothing but white space between them are one."""
    whole = [(0, len(olds), 0, len(news))]
    if olds == news or max(len(olds), len(news)) > WORDS_MAX:
        return whole if olds != news else []
    matcher = SequenceMatcher(None, olds, news, autojunk=False)
    if _share_kept(olds, news, matcher) < ALIKE_MIN:
        return whole
    changes: list[tuple[int, int, int, int]] = []
    for operation, i1, i2, j1, j2 in matcher.get_opcodes():
        if operation == "equal":
            continue
        if changes and not "".join(olds[changes[-1][1] : i1]).strip():
            i1, _, j1, _ = changes.pop()
        changes.append((i1, i2, j1, j2))
    return changes


def _share_kept(olds: list[str], news: list[str], matcher: SequenceMatcher[str]) -> float:
    """The share of words that stayed, white space not counted: it is alike everywhere."""
    total = sum(not word.isspace() for word in (*olds, *news))
    kept = (word for at, _, size in matcher.get_matching_blocks() for word in olds[at : at + size])
    return 2 * sum(not word.isspace() for word in kept) / total if total else 1.0


def _runs(words: Sequence[str], own: Iterable[tuple[int, int]]) -> list[WordRun]:
    edges = pairwise([0, *chain.from_iterable(own), len(words)])
    runs = [WordRun("".join(words[i:j]), bool(n % 2)) for n, (i, j) in enumerate(edges)]
    return [run for run in runs if run.text]


def _versions(olds: Sequence[str], news: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Lines that are versions of each other side by side, the others alone; in order."""
    start = 0
    for old in olds:
        tried = news[start:] if len(olds) * len(news) <= PAIRS_TRIED_MAX else []
        alike = [_likeness(old, new) for new in tried]
        best = max(alike, default=0.0)
        if best < LINES_ALIKE_MIN:
            yield old, None
            continue
        place = start + alike.index(best)
        yield from ((None, new) for new in news[start:place])
        yield old, news[place]
        start = place + 1
    yield from ((None, new) for new in news[start:])


def _likeness(first: str, second: str) -> float:
    return SequenceMatcher(None, first.split(), second.split(), autojunk=False).ratio()


def _kept(lines: Sequence[str], *, is_first: bool, is_last: bool) -> list[DiffLine]:
    head = 0 if is_first else CONTEXT_LINES
    tail = 0 if is_last else CONTEXT_LINES
    kept = [DiffLine("", line) for line in lines]
    if (left_out := len(lines) - head - tail) <= 1:
        return kept
    return [*kept[:head], DiffLine("", "", left_out=left_out), *kept[len(kept) - tail :]]
