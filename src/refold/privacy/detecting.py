"""What is looked for in a payload before it is stored, and what is done about it. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from refold import jsontext
from refold.core import jsonvalue
from refold.errors import refuse_unless
from refold.privacy.detection import Confidence, Detected, Detector, find_personal

_LEVELS: Final = ("low", "medium", "high")
_CONTEXT_CHARS_MAX: Final = 64
"""A longer text says what its numbers are; a shorter one is read behind its member's name."""
_TOKEN: Final = re.compile(
    rb'("(?:[^"\\]++|\\.)*+")([ \t\r\n]*+:)?|(?<![0-9.eE+-])([0-9]{9,19})(?![0-9.eE])', re.DOTALL
)
"""A string, with the colon behind it where it is a member's name; or a long whole number."""
_PLAIN: Final = re.compile(rb"[^@\\0-9]*+")
"""A string in which what is built in finds nothing."""
_SOME: Final = re.compile(
    rb"@|\\u|[0-9][0-9 ().,/\xc2\xa0\xe2\x80\x90\x91-]{6,}[0-9]"
    rb"|[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]"
)
"""Without one of these in a payload, what is built in finds nothing in any text of it."""
_CARD_NAME: Final = re.compile("card|credit|debit|account|payment|pan$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Detect:
    """What is looked for in what is recorded, and what is done about it.

    ``do``: with ``"mark"`` the metadata of the event says how many of which kind were found
    (``detected``); with ``"protect"`` it does too, and each value that holds one is stored as one
    that was declared personal is; with ``"redact"`` each is replaced before it is stored, by its
    kind in brackets, and the metadata says how many (``redacted``). ``find`` is what looks into a
    text; ``kinds`` are those that count (None: all), ``least`` the confidence that is enough.
    """

    do: Literal["mark", "protect", "redact"] = "mark"
    find: Detector = find_personal
    kinds: Collection[str] | None = None
    least: Confidence = "low"

    def __post_init__(self) -> None:
        known = ("mark", "protect", "redact")
        refuse_unless(self.do in known, "one of mark, protect, redact", do=self.do)
        refuse_unless(self.least in _LEVELS, "one of low, medium, high", least=self.least)
        refuse_unless(callable(self.find), "a function of a text", find=self.find)

    def found(self, text: str, *, name: str = "", is_number: bool = False) -> list[Detected]:
        """What counts in a text, or a number, that a member has as its value or in its list."""
        is_short = len(text) <= _CONTEXT_CHARS_MAX
        context = f"{_in_words(name)}: " if name and is_short else ""
        least, before = _LEVELS.index(self.least), len(context)
        return [
            one._replace(start=one.start - before, end=one.end - before)
            for one in self.find(context + text)
            if one.start >= before
            and (self.kinds is None or one.kind in self.kinds)
            and _LEVELS.index(one.confidence) >= least
            and not (is_number and one.kind == "card" and not _CARD_NAME.search(name))
        ]


class Looked(NamedTuple):
    """A payload as it is to be stored, and how many of which kind were found.

    ``pointers`` lead to the values that are to be protected (JSON Pointers, RFC 6901).
    """

    payload: bytes
    counts: Mapping[str, int]
    pointers: tuple[str, ...] = ()


def looked_into(payload: bytes, detect: Detect) -> Looked:
    """Look for personal values in the JSON text of a payload; see :class:`Detect`.

    Looked into are strings, names of members, and long whole numbers of members that are named as
    what they could be. What is not replaced stays to the byte as it was. A member's name has no
    room for protection: where values are protected, names are redacted.
    """
    counts: Counter[str] = Counter()
    labels = _Labels()
    name = b'""'
    is_built_in = detect.find is find_personal
    if is_built_in and _SOME.search(payload) is None:
        return Looked(payload, counts)

    def token(match: re.Match[bytes]) -> bytes:
        nonlocal name
        quoted, colon, number = match.groups()
        before, name = name, quoted if colon else name
        if is_built_in and quoted and _PLAIN.fullmatch(quoted):
            return match[0]
        text = _text_of(quoted) if quoted else number.decode()
        member = "" if colon else _text_of(before)
        found = detect.found(text, name=member, is_number=not quoted)
        counts.update(one.kind for one in found)
        if not found or not (detect.do == "redact" or (colon and detect.do == "protect")):
            return match[0]
        return msgspec.json.encode(_redacted(text, found, labels)) + (colon or b"")

    written = _TOKEN.sub(token, payload)
    if not counts or detect.do != "protect":
        return Looked(written, counts)
    return Looked(written, counts, tuple(_pointers(jsontext.read(written), detect)))


class _Labels(dict[tuple[str, str], str]):
    """What stands for each value of a payload: ``[card]``, another card is ``[card 2]``."""

    def __missing__(self, value: tuple[str, str]) -> str:
        number = 1 + sum(kind == value[0] for kind, _ in self)
        label = self[value] = f"[{value[0]}]" if number == 1 else f"[{value[0]} {number}]"
        return label


def _redacted(text: str, found: list[Detected], labels: _Labels) -> str:
    """A text with labels in the place of what was found; JSON stays JSON.

    In JSON text a number is replaced by a string: the arguments of tools are such text.
    """
    plain = _relabelled(text, found, labels, are_quoted=False)
    if text.lstrip()[:1] not in ("{", "[") or not _is_json(text) or _is_json(plain):
        return plain
    quoted = _relabelled(text, found, labels, are_quoted=True)
    return quoted if _is_json(quoted) else plain


def _relabelled(text: str, found: list[Detected], labels: _Labels, *, are_quoted: bool) -> str:
    pieces, done = [], 0
    for one in found:
        label = labels[one.kind, text[one.start : one.end]]
        is_bare = re.search(r"[:,\[]\s*\Z", text[done : one.start]) is not None
        pieces += [text[done : one.start], f'"{label}"' if are_quoted and is_bare else label]
        done = one.end
    return "".join([*pieces, text[done:]])


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


_text_of: Final = msgspec.json.Decoder(str).decode


def _pointers(payload: Any, detect: Detect) -> Iterator[str]:
    """The places of the values in which something is found."""
    pending: list[tuple[Any, str, tuple[str | int, ...]]] = [(payload, "", ())]
    while pending:
        value, name, place = pending.pop()
        if isinstance(value, dict):
            pending += [(one, key, (*place, key)) for key, one in value.items()]
        elif isinstance(value, list):
            pending += [(one, name, (*place, index)) for index, one in enumerate(value)]
        elif isinstance(value, str) or type(value) is int:
            is_number = not isinstance(value, str)
            if detect.found(str(value), name=name, is_number=is_number):
                yield jsonvalue.pointer(place)


@lru_cache(maxsize=1_024)
def _in_words(name: str) -> str:
    """A member's name as words: ``phone number`` for ``phoneNumber`` and ``phone_number``."""
    return re.sub(r"[\W_]+|(?<=[a-z])(?=[A-Z])", " ", name)
