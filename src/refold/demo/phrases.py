"""What the demo agent says, and how such a sentence is recognised again.

Each cue has full wordings, a brief one, and the pattern that both the agent (reading the history)
and the demo's callers know it by. Every wording of a cue matches its pattern; a test holds it.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from refold.demo.rules import Rules
from refold.demo.tables import text


class Phrase(msgspec.Struct, frozen=True):
    """The full wordings of one cue, a brief one, and the pattern that they are known by."""

    pattern: str
    wordings: tuple[str, ...]
    brief: str


PHRASES: Final = msgspec.toml.decode(text("phrases.toml"), type=dict[str, Phrase])

WEEKDAYS: Final = tuple(calendar.day_name)
MONTHS: Final = tuple(calendar.month_name)[1:]

_PATTERNS: Final = {cue: re.compile(p.pattern, re.IGNORECASE) for cue, p in PHRASES.items()}

Variety = int
"""Which wording: 0 the first, any other number a choice among the full ones."""


@lru_cache(maxsize=4_096)
def cues_in(text: str) -> frozenset[str]:
    """What a sentence of the agent does: the cues whose pattern it matches."""
    return frozenset(cue for cue, pattern in _PATTERNS.items() if pattern.search(text))


def phrase(cue: str, rules: Rules, *, variety: Variety = 0, **parts: Any) -> str:
    """One wording of a cue, brief where the rules ask for it."""
    known = PHRASES[cue]
    full = known.wordings[variety % len(known.wordings)]
    said = (known.brief if rules.is_brief else full).format(
        clinic=rules.clinic,
        recorded=_recorded(rules),
        policy=_policy(rules),
        more=_more(rules),
        **parts,
    )
    return said[:1].upper() + said[1:]


def slot_label(slot: Mapping[str, Any]) -> str:
    """A slot or appointment as it is said: ``Tuesday 3 March at 9:30 with Dr Hale``."""
    starts_at = datetime.fromisoformat(slot["starts_at"])
    day = f"{WEEKDAYS[starts_at.weekday()]} {starts_at.day} {MONTHS[starts_at.month - 1]}"
    return f"{day} at {starts_at.hour}:{starts_at:%M} with {slot['doctor']}"


def listed(items: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"


def _recorded(rules: Rules) -> str:
    return " This call is recorded." if rules.says_recorded else ""


def _policy(rules: Rules) -> str:
    if not rules.notice_hours:
        return ""
    return f" If you cannot come, please tell us {rules.notice_hours} hours ahead."


def _more(rules: Rules) -> str:
    return " Is there anything else?" if rules.asks_for_more else ""
