"""Personal values in text: cards, bank accounts, social security and phone numbers, e-mail.

Pure. What it finds has a form that can be told, by check digits where there are any; names,
addresses of houses and what is spelled out in words it does not find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from refold.privacy.identifiers import (
    COUNTRY_CODE,
    IBAN_LENGTHS,
    card_issuer,
    is_iban,
    is_luhn,
    is_ssn,
)

Confidence = Literal["low", "medium", "high"]


class Detected(NamedTuple):
    """A personal value in a text: characters ``start`` to ``end`` (not included).

    ``kind`` is "card", "iban", "us_ssn", "email", "phone", or what another detector calls it.
    ``confidence`` says how often such text is something else ("low": not rarely; "high": hardly
    ever), ``why`` what speaks for it, in plain words.
    """

    kind: str
    start: int
    end: int
    confidence: Confidence
    why: str


Detector = Callable[[str], list[Detected]]
"""What is found in a text, in order, nothing of it twice."""

_GAP: Final = "[ \u00a0\u2010\u2011-]"
_GROUP: Final = r"[0-9]++(?![\w]|\.[0-9])"
_RUN: Final = re.compile(rf"(?<!\w)(?<![0-9]\.){_GROUP}(?:{_GAP}{_GROUP})*+")
"""Groups of digits with a gap between; none of them part of a word or of a decimal number."""
_SHAPES: Final = {
    4: ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)),
    **{length: ((length,),) for length in range(12, 20)},
}
"""How cards are printed, by the digits of the first group."""
_IBAN_BEGINS: Final = re.compile(r"(?<![^\W_])[A-Za-z]{2}[0-9]{2}")
_SSN: Final = re.compile(
    rf"(?<!\w)(?<![0-9][ .-])([0-9]{{3}})({_GAP})([0-9]{{2}})\2([0-9]{{4}})"
    r"(?!\w|[ .-][0-9])"
)
_SSN_SAID: Final = re.compile(
    r"\b(?:ssn|social(?: security)?)\b[^0-9]{0,30}([0-9]{9})(?![\w-])", re.IGNORECASE
)
_ABROAD: Final = re.compile(r"(?<![\w+])\+[1-9](?:[ .()/-]{0,2}[0-9]){6,18}(?!\w)")
_NORTH_AMERICA: Final = re.compile(
    r"(?<![\w+])(?<![0-9][ .-])(?:\+?1[ .-]?)?"
    r"(?:\([2-9](?!11)[0-9]{2}\)[ -]?|[2-9](?!11)[0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
    r"(?!\w|[ .-][0-9])"
)
_TRUNK: Final = re.compile(  # What is dialled with a 0 before it, as it is written there.
    r"(?<![\w+])(?<![0-9][ .,/-])(?:"
    r"020 [0-9]{4} [0-9]{4}|01[0-9]1 [0-9]{3} [0-9]{4}|011[0-9] [0-9]{3} [0-9]{4}"  # UK
    r"|0[17][0-9]{3} [0-9]{3} ?[0-9]{3}|0[38][0-9]{2} [0-9]{3} [0-9]{4}"
    r"|0[1-9](?:([ .-])[0-9]{2})(?:\1[0-9]{2}){3}"  # France
    r"|0[23478] [0-9]{4} [0-9]{4}|04[0-9]{2} [0-9]{3} [0-9]{3}"  # Australia
    r"|0[1-9][0-9]{1,3}[ /][0-9]{5,8}|0[1-9][0-9]{1,3}/[0-9]{2,4} [0-9]{2,5}"  # Germany
    r"|0[1-9]-[0-9]{4}-[0-9]{4}|0[5789]0-[0-9]{4}-[0-9]{4}"  # Japan
    r")(?!\w|[ .,/-][0-9])"
)
_PHONE_SAID: Final = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|call(?: me| back)*|reach me|number is)\b[^0-9]{0,20}"
    r"([0-9]{10})(?![\w-])",
    re.IGNORECASE,
)
_LOCAL: Final = re.compile(r"[\w%+'][\w.%+'-]{0,63}\Z")
_DOMAIN: Final = re.compile(
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+([^\W\d_]{2,63}|xn--[a-z0-9-]+)(?!\w)"
)
_FILE_ENDINGS: Final = frozenset(["css", "gif", "jpeg", "jpg", "js", "png", "svg", "webp"])
_NO_NUMBER: Final = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"  # UUID
    r"|\b[0-9]{4}-[01][0-9]-[0-3][0-9](?:[T ][0-2][0-9]:[0-5][0-9])?"  # a date, a time
)
_SOME: Final = re.compile(r"@|[0-9][0-9 \u00a0\u2010\u2011().,/-]{4,}[0-9]|[A-Za-z]{2}[0-9]{2}")
"""Without one of these there is nothing."""


def find_personal(text: str) -> list[Detected]:
    """The personal values in a text, in order; of two that overlap, the surer one.

    Time is linear in the length of the text.
    """
    if _SOME.search(text) is None:
        return []
    found = [*_ibans(text), *_cards(text), *_ssns(text), *_phones(text), *_emails(text)]
    others = [one.span() for one in _NO_NUMBER.finditer(text)] if found else []
    free = [
        one
        for one in found
        if one.kind == "email" or not any(s < one.end and one.start < e for s, e in others)
    ]
    return apart(free)


def apart(found: Iterable[Detected]) -> list[Detected]:
    """In the order of the text; of those that overlap, the one that was given first."""
    kept: list[Detected] = []
    for one in found:
        if not any(other.start < one.end and one.start < other.end for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.start)


def _cards(text: str) -> Iterator[Detected]:
    for run in _RUN.finditer(text):
        if len(run[0]) >= 12:
            yield from _cards_of(run[0], run.start())


def _cards_of(run: str, offset: int) -> Iterator[Detected]:
    """The cards among groups of digits: all of them together, or some as cards are printed."""
    groups = [one.span() for one in re.finditer("[0-9]+", run)]
    first = 0
    whole = tuple(end - start for start, end in groups)
    while first < len(groups):
        shapes = _SHAPES.get(whole[first], ())
        for shape in shapes if first else (whole, *shapes):
            span = groups[first : first + len(shape)]
            if whole[first : first + len(shape)] != shape:
                continue
            digits = "".join(run[start:end] for start, end in span)
            issuer = card_issuer(digits)
            if issuer is not None and is_luhn(digits):
                start, end = offset + span[0][0], offset + span[-1][1]
                why = f"as {issuer} issues them, and the check digit fits"
                yield Detected("card", start, end, "high", why)
                first += len(shape) - 1
                break
        first += 1


def _ibans(text: str) -> Iterator[Detected]:
    for begins in _IBAN_BEGINS.finditer(text):
        length = IBAN_LENGTHS.get(begins[0][:2].upper())
        if length is None:
            continue
        # As many characters as the country says, with at most one space after each.
        found = re.compile(
            rf"[A-Za-z0-9](?:[ -]?[A-Za-z0-9]){{{length - 1}}}(?![A-Za-z0-9])"
        ).match(text, begins.start())
        if found is not None and is_iban(re.sub("[ -]", "", found[0])):
            why = "the length is that of its country, and the check digits fit"
            yield Detected("iban", *found.span(), "high", why)


def _ssns(text: str) -> Iterator[Detected]:
    for one in _SSN.finditer(text):
        if is_ssn(one[1] + one[3] + one[4]):
            confidence: Confidence = "low" if one[2] in " \u00a0" else "medium"
            yield Detected("us_ssn", *one.span(), confidence, "written as one, in issued ranges")
    for one in _SSN_SAID.finditer(text):
        if is_ssn(one[1]):
            yield Detected("us_ssn", *one.span(1), "medium", "said to be one, in issued ranges")


def _phones(text: str) -> Iterator[Detected]:
    for one in _ABROAD.finditer(text):
        if end := _abroad_end(one[0]):
            why = "begins with + and a country's code"
            yield Detected("phone", one.start(), one.start() + end, "high", why)
    for one in _NORTH_AMERICA.finditer(text):
        confidence: Confidence = "medium" if re.search("[(.-]", one[0]) else "low"
        yield Detected("phone", *one.span(), confidence, "written as in the USA and Canada")
    for one in _TRUNK.finditer(text):
        yield Detected("phone", *one.span(), "low", "written as in the UK, France, Germany, …")
    for one in _PHONE_SAID.finditer(text):
        yield Detected("phone", *one.span(1), "medium", "said to be one")


def _abroad_end(text: str) -> int:
    """Where a number with + ends: after at most 15 digits (E.164), behind a group.

    0 where it is none.
    """
    groups = list(re.finditer("[0-9]+", text))
    counts = list(accumulate(len(one[0]) for one in groups))
    digits = "".join(one[0] for one in groups)
    if COUNTRY_CODE.match(digits) is None:
        return 0
    if digits[0] == "1":
        wanted = [n for n in counts if n == 11 and re.match("1[2-9]..[2-9]", digits)]
    else:
        wanted = [n for n in counts if 8 <= n <= 15]
    return groups[counts.index(wanted[-1])].end() if wanted else 0


def _emails(text: str) -> Iterator[Detected]:
    at = text.find("@")
    while at >= 0:
        before = _LOCAL.search(text, max(at - 64, 0), at)
        after = _DOMAIN.match(text, at + 1)
        if before and after and after[1].lower() not in _FILE_ENDINGS:
            start = at - len(before[0].lstrip("'"))
            if start < at:
                yield Detected("email", start, after.end(), "high", "an address and a domain")
        at = text.find("@", at + 1)
