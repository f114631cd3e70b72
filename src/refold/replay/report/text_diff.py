"""Two texts, word by word: what one has that the other does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from refold.replay.report.markup import Child, Html, el, join

WORDS_MAX: Final = 1_200
"""Longer texts are not aligned: it takes time in proportion to the product of their lengths."""
ALIKE_MIN: Final = 0.4
"""Texts that share fewer of their words are marked whole: marks on every other word say nothing."""
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")


class Run(NamedTuple):
    """A stretch of one text; ``is_own``: the other text does not have it."""

    text: str
    is_own: bool


def compare_words(before: str, after: str) -> tuple[list[Run], list[Run]]:
    """Both texts as runs, in order; each side's texts joined give that side back."""
    if before == after:
        return _whole(before, is_own=False), _whole(after, is_own=False)
    olds, news = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(olds), len(news)) > WORDS_MAX:
        return _whole(before, is_own=True), _whole(after, is_own=True)
    matcher = SequenceMatcher(None, olds, news, autojunk=False)
    if _likeness(olds, news, matcher) < ALIKE_MIN:
        return _whole(before, is_own=True), _whole(after, is_own=True)
    changes = _changes(olds, matcher)
    return _runs(olds, [(i, j) for i, j, _, _ in changes]), _runs(
        news, [(k, m) for _, _, k, m in changes]
    )


def marked(runs: Sequence[Run], tag: str) -> Html:
    """Runs as markup, what is this side's own in ``tag`` (``ins`` or ``del``).

    A text that is this side's own as a whole has the class ``whole``.
    """
    whole = "whole" if len(runs) == 1 else None
    return join(_marked(run, tag, whole) for run in runs)


def _marked(run: Run, tag: str, cls: str | None) -> Child:
    if not run.is_own or not (text := run.text.strip()):
        return run.text
    before, _, after = run.text.partition(text)
    return join([before, el(tag, text, cls=cls), after])


def _whole(text: str, *, is_own: bool) -> list[Run]:
    return [Run(text, is_own)] if text else []


def _likeness(olds: Sequence[str], news: Sequence[str], matcher: SequenceMatcher[str]) -> float:
    """The share of words that stayed, white space not counted: it is alike everywhere."""
    total = sum(not word.isspace() for word in (*olds, *news))
    kept = (
        word for block in matcher.get_matching_blocks() for word in olds[block.a :][: block.size]
    )
    return 2 * sum(not word.isspace() for word in kept) / total if total else 1.0


def _changes(olds: Sequence[str], matcher: SequenceMatcher[str]) -> list[tuple[int, int, int, int]]:
    """Where the two differ; changes with nothing but white space between them are one."""
    changes: list[tuple[int, int, int, int]] = []
    for operation, i1, i2, j1, j2 in matcher.get_opcodes():
        if operation == "equal":
            continue
        if changes and not "".join(olds[changes[-1][1] : i1]).strip():
            first_i, _, first_j, _ = changes.pop()
            changes.append((first_i, i2, first_j, j2))
        else:
            changes.append((i1, i2, j1, j2))
    return changes


def _runs(words: Sequence[str], own: Sequence[tuple[int, int]]) -> list[Run]:
    return [run for run in _all_runs(words, own) if run.text]


def _all_runs(words: Sequence[str], own: Sequence[tuple[int, int]]) -> Iterator[Run]:
    done = 0
    for start, end in own:
        yield Run("".join(words[done:start]), False)
        yield Run("".join(words[start:end]), True)
        done = end
    yield Run("".join(words[done:]), False)
