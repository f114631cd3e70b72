"""What the demo agent reads from its prompt: rules, each recognised by one documented pattern.

The prompt is cut into sentences (at line ends, full stops and semicolons). A sentence that matches
a rule's pattern turns the rule on; ``do not``, ``never`` or ``no need to`` earlier in the same
clause turns it off. Later sentences win. What no sentence says keeps its default, and text that
matches nothing is ignored: this is a stand-in for a model, not one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

Verify = Literal["never", "before_booking", "first"]
Handover = Literal["never", "after_trying", "at_once"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent behaves; the defaults are those of an empty prompt."""

    clinic: str = "the clinic"
    says_recorded: bool = False
    verify: Verify = "never"
    verify_by_phone: bool = False
    slots_offered: int = 2
    part_of_day: str = ""
    confirms: bool = False
    notice_hours: int = 0
    gives_advice: bool = True
    offers_nurse: bool = False
    hands_urgent_over: bool = False
    handover: Handover = "never"
    warns_abusive: bool = False
    asks_for_more: bool = False
    is_brief: bool = False


Fields = dict[str, Any]


class Rule(NamedTuple):
    """One line of the rule book.

    ``read`` turns a match into fields of :class:`Rules`; ``off`` is what a negation gives (None:
    the pattern holds the negation itself). ``examples`` are sentences that turn the rule on.
    """

    name: str
    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], Fields]
    off: Fields | None
    examples: tuple[str, ...]


NUMBERS: Final = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_NUMBER: Final = "one|two|three|four|five|[1-5]"
_NEGATION: Final = re.compile(r"\b(do not|don't|never|no need to|not necessary to|stop|skip)\b")


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


def _always(**fields: Any) -> Callable[[re.Match[str]], Fields]:
    return lambda _match: fields


def _verify(match: re.Match[str]) -> Fields:
    late = re.search(r"before (a |the )?(booking|you book|anything is booked)", match.string, re.I)
    by_phone = re.search(r"phone number", match.string, re.I)
    return {"verify": "before_booking" if late else "first", "verify_by_phone": bool(by_phone)}


def _slots(match: re.Match[str]) -> Fields:
    said = match["count"]
    return {"slots_offered": NUMBERS.get(said.lower()) or int(said) if said else 1}


def _handover(match: re.Match[str]) -> Fields:
    after = re.search(r"try to help|after trying|help first", match.string, re.I)
    return {"handover": "after_trying" if after else "at_once"}


BOOK: Final = (
    Rule(
        "clinic",
        re.compile(r"\b(?i:receptionist|reception|front desk) (?:of|at|for) ((?:[A-Z][\w'-]* ?)+)"),
        lambda match: {"clinic": match[1].strip()},
        None,
        ("You are the receptionist of Larkspur Clinic.",),
    ),
    Rule(
        "recorded",
        _pattern(r"\b(say|tell|mention|state)\b.*\bcall (is|may be|is being) recorded"),
        _always(says_recorded=True),
        {"says_recorded": False},
        ("Say that the call is recorded.", "Tell callers that the call may be recorded."),
    ),
    Rule(
        "verify",
        _pattern(
            r"\b(verify|check|confirm|establish)\b.{0,30}\b(identity|who (is calling|they are))"
        ),
        _verify,
        {"verify": "never"},
        (
            "Verify identity (name and date of birth) before any appointment is discussed.",
            "Check the caller's identity before booking.",
            "First establish who they are: name, date of birth and phone number.",
        ),
    ),
    Rule(
        "slots",
        _pattern(
            rf"\boffer\b(?:.*?\b(?P<count>{_NUMBER}))?.*?\b(earliest|soonest|next|first)\b"
            r".{0,20}\b(slots?|times?|appointments?|openings?)\b"
        ),
        _slots,
        None,
        (
            "Offer the earliest slot first.",
            "Offer the three earliest slots.",
            "Always offer callers 4 of the soonest times.",
        ),
    ),
    Rule(
        "part of day",
        _pattern(r"\b(prefer|offer|suggest|favour)\b.*\b(?P<part>morning|afternoon)s?\b"),
        lambda match: {"part_of_day": match["part"].lower()},
        {"part_of_day": ""},
        ("Prefer mornings.", "Offer afternoon times only."),
    ),
    Rule(
        "confirm",
        _pattern(
            r"\b(confirm|read back|repeat)\b.*\b(before|and wait).*\b(book|chang|cancel|agree|yes)"
            r"|\bbefore (you )?book(ing)?\b.*\b(confirm|read back|repeat)"
        ),
        lambda match: {} if "identity" in match.string.lower() else {"confirms": True},
        {"confirms": False},
        (
            "Confirm before booking.",
            "Read back the day and time before you book it.",
            "Before booking, repeat the details to the caller.",
        ),
    ),
    Rule(
        "policy",
        _pattern(
            r"\b(mention|state|explain|remind)\b.*\bcancellation\b(?:.*?\b(?P<hours>\d{1,3}) ?h)?"
        ),
        lambda match: {"notice_hours": int(match["hours"] or 24)},
        {"notice_hours": 0},
        (
            "Mention the cancellation policy: 24 hours' notice.",
            "Remind callers that a cancellation needs 48 hours.",
        ),
    ),
    Rule(
        "advice",
        _pattern(
            r"\b(never|do not|don't|no|refuse to give)\b.*\bmedical advice|\bmedical advice is not"
        ),
        _always(gives_advice=False),
        None,
        ("Never give medical advice.", "Do not offer medical advice of any kind."),
    ),
    Rule(
        "nurse",
        _pattern(
            r"\bnurse\b.*\bcall\w*[ -]?(them |the caller )?back\b|\bcall[ -]?back\b.*\bnurse\b"
        ),
        _always(offers_nurse=True),
        {"offers_nurse": False},
        ("Offer a nurse call back.", "Arrange for a nurse to call them back."),
    ),
    Rule(
        "urgent",
        _pattern(r"\b(urgent|emergency|emergencies|serious)\b.*\b(transfer|put .*through|connect)"),
        _always(hands_urgent_over=True),
        {"hands_urgent_over": False},
        ("If symptoms sound urgent, transfer to the nurse line at once.",),
    ),
    Rule(
        "person",
        _pattern(
            r"\b(a person|a human|someone|a colleague|real person)\b.*\b(transfer|put|connect|hand)"
        ),
        _handover,
        {"handover": "never"},
        (
            "If the caller asks for a person, transfer the call.",
            "When they want a human, try to help first, then transfer the call.",
        ),
    ),
    Rule(
        "abuse",
        _pattern(r"\b(abus|rude|insult|swear)\w*\b.*\bwarn"),
        _always(warns_abusive=True),
        {"warns_abusive": False},
        ("If a caller is abusive, warn once, then transfer to the duty manager.",),
    ),
    Rule(
        "more",
        _pattern(r"\bask\b.*\banything else\b"),
        _always(asks_for_more=True),
        {"asks_for_more": False},
        ("At the end ask whether there is anything else.",),
    ),
    Rule(
        "brief",
        _pattern(r"\b(one short sentence|be (very )?(brief|short|concise)|(briefly|in few words))"),
        _always(is_brief=True),
        {"is_brief": False},
        ("Answer in one short sentence.", "Be brief."),
    ),
)
"""Every rule the demo agent knows, in the order they are tried."""


@lru_cache(maxsize=256)
def read_rules(prompt: str) -> Rules:
    """The rules that a prompt states."""
    fields: Fields = {}
    for sentence in _sentences(prompt):
        for rule in BOOK:
            fields.update(_said(rule, sentence))
    return msgspec.structs.replace(Rules(), **fields)


def _sentences(prompt: str) -> list[str]:
    return [part.strip() for part in re.split(r"[\n;]|\.(?=\s|$)", prompt) if part.strip()]


def _said(rule: Rule, sentence: str) -> Fields:
    match = rule.pattern.search(sentence)
    if match is None:
        return {}
    clause_start = sentence.rfind(",", 0, match.start()) + 1
    if rule.off is not None and _NEGATION.search(sentence[clause_start : match.end()].lower()):
        return rule.off
    return rule.read(match)
