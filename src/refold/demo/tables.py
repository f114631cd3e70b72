"""The demo's tables: prompts, phrases, patterns and turns are files under ``data``, read here.

Three forms serve everyone who speaks or listens in the demo: a :class:`WordPattern` turns words
into fields, conditions choose a row by the facts (:func:`holds`), and a :class:`Phrase` says
something that :func:`cues_in` knows again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import msgspec

When = dict[str, Any]
"""Conditions by the name of a fact, see :func:`holds`."""
Slot = dict[str, Any]
"""A time at the clinic: ``slot_id``, ``starts_at`` and ``doctor``."""

_NUMBERS: Final = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_NEGATION: Final = r"(?i)\b(do not|don't|never|no need to|not necessary to|stop|skip)\b"


def text(name: str) -> str:
    """What a file under ``data`` holds."""
    return resources.files(__package__).joinpath("data", name).read_text(encoding="utf-8")


class WordPattern(msgspec.Struct, frozen=True):
    """What words that match mean, as fields: see the tables that consist of these.

    Unless the pattern is ``exact``, case does not matter: the words of a group are lower-cased, and
    what is a number becomes one. ``name`` and ``examples`` are for the reader and the tests.
    """

    pattern: str
    also: str = ""
    exact: bool = False
    set: dict[str, Any] = {}
    off: dict[str, Any] = {}
    name: str = ""
    examples: tuple[str, ...] = ()

    def read(self, words: str) -> dict[str, Any]:
        """The fields that the words set; none when they do not match."""
        flags = 0 if self.exact else re.IGNORECASE
        match = re.search(self.pattern, words, flags)
        if match is None or not re.search(self.also, words, flags):
            return {}
        clause = words[words.rfind(",", 0, match.start()) + 1 : match.end()]
        if self.off and re.search(_NEGATION, clause):
            return self.off
        said = {name: part for name, part in match.groupdict().items() if part}
        return self.set | (said if self.exact else {k: _plain(v.lower()) for k, v in said.items()})


def _plain(words: str) -> str | int:
    return int(words) if words.isdecimal() else _NUMBERS.get(words, words)


def read(patterns: Iterable[WordPattern], words: str) -> dict[str, Any]:
    """The fields that the words set by any of the patterns; later ones win."""
    return {name: value for pattern in patterns for name, value in pattern.read(words).items()}


def holds(when: When, facts: Mapping[str, Any]) -> bool:
    """Whether all conditions hold.

    ``true`` and ``false`` ask whether a fact is something at all, a list whether it is one of
    these; any other value whether it is, or has among its own, this one.
    """
    return all(_holds(facts[name], wanted) for name, wanted in when.items())


def _holds(fact: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return bool(fact) is wanted
    if isinstance(wanted, list):
        return any(_holds(fact, one) for one in wanted)
    return wanted in fact if isinstance(fact, frozenset) else bool(fact == wanted)


# -- saying something, and knowing it again --------------------------------------------------------


class Phrase(msgspec.Struct, frozen=True):
    """The full wordings of one cue, a brief one, and the pattern that they are known by."""

    pattern: str
    wordings: tuple[str, ...]
    brief: str


class Extra(msgspec.Struct, frozen=True):
    """What stands for its mark in a wording when its conditions hold."""

    when: When
    say: str


class _Phrases(msgspec.Struct, frozen=True):
    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    extras: dict[str, Extra]
    phrases: dict[str, Phrase]


_SAID: Final = msgspec.toml.decode(text("phrases.toml"), type=_Phrases)
PHRASES: Final = _SAID.phrases
MONTHS: Final = _SAID.months
RECORDED: Final = text("recorded.txt")
"""The prompt that the calls are recorded under."""
CHANGED: Final = text("changed.txt")
"""Shorter, quicker to an appointment, more choice: and what else it changes, the report shows."""


def phrase(cue: str, facts: Mapping[str, Any], *, variety: int = 0) -> str:
    """One wording of a cue, brief where the rules ask for it, filled in from the facts."""
    known = PHRASES[cue]
    full = known.wordings[variety % len(known.wordings)]
    extras = {
        mark: extra.say.format_map(facts) if holds(extra.when, facts) else ""
        for mark, extra in _SAID.extras.items()
    }
    said = (known.brief if facts["is_brief"] else full).format_map({**facts, **extras})
    return said[:1].upper() + said[1:]


@lru_cache(maxsize=4_096)
def cues_in(words: str) -> frozenset[str]:
    """What a sentence of the agent does: the cues whose pattern it matches."""
    return frozenset(c for c, p in PHRASES.items() if re.search(p.pattern, words, re.IGNORECASE))


def slot_label(slot: Slot) -> str:
    """A slot or appointment as it is said: ``Tuesday 3 March at 9:30 with Dr Hale``."""
    at = datetime.fromisoformat(slot["starts_at"])
    day = f"{_SAID.weekdays[at.weekday()]} {at.day} {MONTHS[at.month - 1]}"
    return f"{day} at {at.hour}:{at:%M} with {slot['doctor']}"


def listed(items: Sequence[str], word: str = "or") -> str:
    """``a``, ``a or b``, ``a, b or c``; nothing of nothing."""
    return f" {word} ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
