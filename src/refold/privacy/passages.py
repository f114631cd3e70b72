"""Passages of text, found again wherever else they stand in what a log holds; pure.

A turn of a conversation is repeated by every later request: as a value, in JSON inside of JSON
strings (escaped once or more), split over the deltas of a streamed answer or the words of a
transcript, cut short where somebody interrupted. A payload is looked through as the text it is
stored as, level by level of escapes, and all that stands around a passage stays, to the byte.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import msgspec

from refold.privacy.envelope import REDACTED

LONG_CHARS: Final = 12
"""A passage that is shorter may stand somewhere by chance: it must be a word there, or a value."""
DIGITS_MIN: Final = 6
"""A number with fewer digits, or a spoken one, may stand somewhere by chance."""
LEVELS_MAX: Final = 12
"""So deep JSON in strings is looked into: each level doubles the backslashes of the one above."""
How = Literal["anywhere", "word", "value"]

_ESCAPE: Final = re.compile(
    r'\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(["\\/bfnrt]))'
)
_PLAIN: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_MEMBER: Final = re.compile(r'"(\w+)"\s*:\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)
_TERM: Final = re.compile(r"[a-z]+(?:[_.-][a-z]+)*")
"""A bare word in lower case: a role, a state, a name of a tool; it tells nothing of a person."""
_TELLING: Final = re.compile(r"[\s\d@]")
_VALUE: Final = re.compile(r"[-+.\w]+|[\[{].*[\]}]", re.DOTALL)
_encode: Final = msgspec.json.Encoder().encode


class Passage(NamedTuple):
    """A text that is to go, and where it counts as found: anywhere, as a word, as a whole value.

    ``has_parts``: so does a text of several words that is a part of it.
    """

    text: str
    how: How = "anywhere"
    has_parts: bool = False


class Edit(NamedTuple):
    """What of a text goes, from one place up to another, and what stands there then."""

    start: int
    end: int
    text: str = REDACTED


# -- what is to go --------------------------------------------------------------------------------


def of_span(text: str) -> list[Passage]:
    """The passage that a part of a text is: it goes wherever else it stands."""
    text = text.strip()
    return [Passage(text, "anywhere" if len(text) >= LONG_CHARS else "word")] if text else []


def of_value(value: Any) -> list[Passage]:
    """The passages that a whole value says, and its digest.

    A short text says the same by chance elsewhere, and goes where it is a whole value too. Of an
    object or a list they are its JSON text and the texts in it that are no bare terms.
    """
    if isinstance(value, str):
        text = value.strip()
        found = [Passage(text, "anywhere", has_parts=True)]
        if len(text) < LONG_CHARS:
            found = [Passage(text, "value")] if text else []
        inside = _composite(text)
        return [*found, *_leaves(inside), Passage(sha256(value.encode()).hexdigest())]
    if isinstance(value, dict | list):
        return [*_texts(value), *_leaves(value)]
    digits = str(value)
    return [Passage(digits, "word")] if sum(map(str.isdigit, digits)) >= DIGITS_MIN else []


def _composite(text: str) -> Any:
    try:
        return msgspec.json.decode(text) if text[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        return None


def _texts(value: Any) -> Iterator[Passage]:
    """An object or a list as JSON text, without white space and with that of most writers."""
    compact = _encode(value)
    if len(compact) > 2:
        for indent in (-1, 0):
            yield Passage(msgspec.json.format(compact, indent=indent).decode())


def _leaves(value: Any) -> Iterator[Passage]:
    match value:
        case dict():
            for one in value.values():
                yield from _leaves(one)
        case list():
            for one in value:
                yield from _leaves(one)
        case str() if len(value) > 2 and not _TERM.fullmatch(value):
            yield from of_span(value) if _TELLING.search(value) else of_value(value)[:-1]
        case int() | float() if not isinstance(value, bool):
            yield from of_value(value)


# -- where it stands ------------------------------------------------------------------------------


class _Level:
    """A text with one more level of escapes taken away, and where each place of it came from."""

    def __init__(self, text: str, above: _Level | None = None) -> None:
        self.text, self._above = text, above
        self._starts, self._sources = [0], [0]

    def below(self) -> _Level:
        made, pieces, done, length = _Level("", self), list[str](), 0, 0
        for found in _ESCAPE.finditer(self.text):
            pieces += (self.text[done : found.start()], char := _unescaped(found))
            length += found.start() - done
            done = found.end()
            made._starts += (length, length + len(char))
            made._sources += (found.start(), done)
            length += len(char)
        made.text = "".join([*pieces, self.text[done:]])
        return made

    def source(self, at: int) -> int:
        """The place in the text as it was given."""
        index = bisect_right(self._starts, at) - 1
        there = self._sources[index] + at - self._starts[index]
        return there if self._above is None else self._above.source(there)


def _unescaped(found: re.Match[str]) -> str:
    high, low, one, plain = found.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    return chr(int(one, 16)) if one else _PLAIN.get(plain, plain)


def edits(text: str, passages: Sequence[Passage], *, is_json: bool = True) -> list[Edit]:
    """What of a text goes, in order, apart from each other.

    With ``is_json`` the text is JSON and is that afterwards; of a number, an object or a list that
    goes, a string stands in its place.
    """
    level = _Level(text)
    strings = [found.span(1) for found in _STRING.finditer(text)]
    made = [*_as_values(text, passages, strings)] if is_json else []
    for _ in range(LEVELS_MAX):
        below = level.below()
        made += _in_level(below, text, passages, strings if is_json else None)
        if "\\" not in below.text:
            break
        level = below
    made += _in_runs(text, passages)
    made += _parts(text, passages, strings)
    return _apart(made)


def apply(text: str, changes: Iterable[Edit]) -> str:
    """The text with some edits, given in order."""
    pieces, done = list[str](), 0
    for start, end, instead in changes:
        pieces += (text[done:start], instead)
        done = end
    return "".join([*pieces, text[done:]])


def _finds(text: str, passage: Passage) -> Iterator[tuple[int, int]]:
    wanted, at = passage.text, text.find(passage.text)
    while at >= 0:
        end = at + len(wanted)
        before, after = text[at - 1 : at] if at else "", text[end : end + 1]
        match passage.how:
            case "word":
                is_found = not _goes_on(before, wanted[0]) and not _goes_on(after, wanted[-1])
            case "value":
                key = before == after == '"' and text[end + 1 : end + 9].lstrip()[:1] == ":"
                is_found = before == after == '"' and not key
            case _:
                is_found = True
        if is_found:
            yield at, end
        at = text.find(wanted, end if is_found else at + 1)


def _goes_on(beside: str, edge: str) -> bool:
    """Whether a word goes on behind its edge."""
    return beside.isalnum() and edge.isalnum()


def _in_level(
    level: _Level, text: str, passages: Sequence[Passage], strings: Sequence[tuple[int, int]] | None
) -> Iterator[Edit]:
    """What goes inside of strings."""
    for passage in passages:
        for start, end in _finds(level.text, passage):
            first, last = level.source(start), level.source(end)
            if strings is None or _holding(strings, first, last):
                quote = _quote(level, start, end) if passage.text[:1] in ("{", "[") else None
                mark = "" if quote is None else text[level.source(quote) : level.source(quote + 1)]
                yield Edit(first, last, f"{mark}{REDACTED}{mark}")


def _quote(level: _Level, start: int, end: int) -> int | None:
    """Where an object or list has its first quote; None where it is no value of JSON text."""
    before, after = _beside(level.text, start, end)
    at = level.text.find('"', start, end)
    return at if at >= 0 and before in (":", "[", ",") and after in (",", "]", "}") else None


def _beside(text: str, start: int, end: int) -> tuple[str, str]:
    """The characters before and after a stretch that are no white space."""
    return text[max(start - 9, 0) : start].rstrip()[-1:], text[end : end + 9].lstrip()[:1]


def _as_values(
    text: str, passages: Sequence[Passage], strings: Sequence[tuple[int, int]]
) -> Iterator[Edit]:
    """The values that go, but strings."""
    for passage in passages:
        if _VALUE.fullmatch(passage.text):
            for start, end in _finds(text, passage):
                before, after = _beside(text, start, end)
                is_value = before in ("", ":", "[", ",") and after in ("", ",", "]", "}")
                if is_value and not _holding(strings, start, end):
                    yield Edit(start, end, f'"{REDACTED}"')


def _in_runs(text: str, passages: Sequence[Passage]) -> Iterator[Edit]:
    """Pieces of a passage in the members of one name, one after another, white space aside."""
    runs: dict[str, list[tuple[int, int, str]]] = {}
    for found in _MEMBER.finditer(text):
        said = "".join(_Level(found[2]).below().text.split())
        runs.setdefault(found[1], []).append((*found.span(2), said))
    sought = [(one, "".join(one.text.split())) for one in passages]
    for run in runs.values():
        whole, starts = "".join(said for *_, said in run), [0]
        for *_, said in run:
            starts.append(starts[-1] + len(said))
        for passage, wanted in sought if len(run) > 1 else ():
            if len(wanted) < DIGITS_MIN or passage.how == "value":
                at = 0 if wanted and whole == wanted else -1
            else:
                at = whole.find(wanted)
            while at >= 0:
                end = at + len(wanted)
                touched = [
                    place
                    for place, (low, high) in enumerate(pairwise(starts))
                    if low < end and at < high
                ]
                for place in touched if len(touched) > 1 else ():
                    yield Edit(*run[place][:2], REDACTED)
                at = whole.find(wanted, end)


def _parts(
    text: str, passages: Sequence[Passage], strings: Sequence[tuple[int, int]]
) -> Iterator[Edit]:
    """Texts of several words that are a part of a passage, such as what was heard of a turn."""
    wholes = [one.text for one in passages if one.has_parts]
    for start, end in strings if wholes else ():
        said = _Level(text[start:end]).below().text.strip()
        if len(said) >= LONG_CHARS and " " in said and any(said in whole for whole in wholes):
            yield Edit(start, end)


def _holding(strings: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Whether a stretch lies in one of the strings."""
    at = bisect_right(strings, (start, len(strings) and strings[-1][1])) - 1
    return at >= 0 and strings[at][0] <= start and end <= strings[at][1]


def _apart(made: Iterable[Edit]) -> list[Edit]:
    """Edits in order; those that touch are one, with what the larger of them puts there."""
    apart: list[Edit] = []
    for edit in sorted(made, key=lambda one: (one.start, -one.end)):
        if not apart or edit.start >= apart[-1].end:
            apart.append(edit)
        elif edit.end > apart[-1].end:
            apart[-1] = apart[-1]._replace(end=edit.end)
    return apart
