"""Figures as text: percentages, money, milliseconds, times; and texts that are cut to fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from refold.replay.accounting import Accounting
from refold.replay.actions import LEVELS, NOT_COMPARED, SAME_ACTION, known
from refold.replay.figures import Proportion
from refold.replay.wording import NOTHING, percent

TEXT_CHARS_MAX: Final = 4_000
"""Longer text of a turn is cut, and the page says by how much."""
VALUE_CHARS_MAX: Final = 60
VALUES_SHOWN: Final = 3

# HTML has no place for these, written out or as references.
_NO_CHARACTER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


S = TypeVar("S", str, list[Any])


class Cut(NamedTuple, Generic[S]):
    """The beginning of a text or a list, and how much was left off."""

    shown: S
    left_off: int


def clean(text: str) -> str:
    """Text that a page can hold: what is no character there stands as a replacement character."""
    return _NO_CHARACTER.sub("\ufffd", text)


def cut(whole: S, length_max: int = TEXT_CHARS_MAX) -> Cut[S]:
    """A text or a list, cut where it is longer than this."""
    return Cut(whole[:length_max], max(0, len(whole) - length_max))


def json_text(value: Any) -> str:
    """A JSON value as text; a string stands for itself."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def text_at(data: Mapping[str, Any], key: str) -> str:
    """The text under a key; "" where there is none, or something else."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def value_text(value: Any, chars_max: int = VALUE_CHARS_MAX) -> str:
    """A JSON value in one line, cut where it is long."""
    shown, left_off = cut(json_text(value), chars_max)
    return f"{shown}…" if left_off else shown


def some_values(values: Iterable[str]) -> str:
    """The first few of some values; an empty one: the argument was not there."""
    shown, left_off = cut([value or "absent" for value in values], VALUES_SHOWN)
    return ", ".join([*shown, "…"] if left_off else shown)


def side(name: str) -> str:
    """The name of a side as the head of a column: ``Candidate``, but ``a``."""
    return name.capitalize() if len(name) > 1 else name


def unanswered(of: Accounting) -> str:
    """``5 of 20 have no answer: 2 failed, 3 missing``; "" where every decision has one."""
    left = {"failed": of.failed, "missing": of.missing, "never begun": of.never_begun}
    left["came after the plan"] = of.later
    parts = ", ".join(f"{count:,} {what}" for what, count in left.items() if count)
    return f"{sum(left.values()):,} of {of.decisions:,} have no answer: {parts}" if parts else ""


_REASONS: Final[dict[str, str]] = {
    "other_calls": "other calls",
    "tool_missed": "a tool that nothing stands in for",
    "stale_read": "read after another change",
    "broken_answer": "a broken answer",
    "no_end": "called on and on",
    "other_state": "the same calls, another state",
    "no_recorded_result": "no result on record",
    "withheld": "redacted, erased or withheld on record",
    "prompt_too_long": "grown longer than the candidate takes",
    "invents_facts": "invents facts",
    "forgets_goal": "forgets its goal",
    "ends_early": "ends early",
    "answers_for_agent": "answers for the agent",
}


def reason(why: str) -> str:
    """Why a course left its record, or what is at fault with a simulated user, in words."""
    return _REASONS.get(why, why)


def by_reason(counts: Mapping[str, int]) -> str:
    """`` (other calls 3, a broken answer 1)``; "" for nothing."""
    return f" ({', '.join(f'{reason(why)} {n:,}' for why, n in counts.items())})" if counts else ""


def total_of(counts: Mapping[str, int]) -> int:
    """All of them."""
    return sum(counts.values())


def different(counts: Mapping[str, int]) -> int:
    """How many decisions were another action."""
    return sum(counts[level] for level in LEVELS if level not in SAME_ACTION | NOT_COMPARED)


def total(amounts: Iterable[Any]) -> Any:
    """The sum of those that are known; None when none is."""
    return sum(given) if (given := known(amounts)) else None


def number(value: int) -> str:
    """``2,000``."""
    return f"{value:,}"


def interval(rate: Proportion) -> str:
    """``between 68.6 % and 76.2 %``, or that there is too little to say so."""
    ends = f"between {percent(rate.low)} and {percent(rate.high)}"
    return ends if rate.high - rate.low < 1 else "too few conversations to say how far off that is"


def at_least(text: str, known: int, asked: int) -> str:
    """An amount, as the least that it can be where not all that add up to it are known."""
    return text if known >= asked or text == NOTHING else f"at least {text}"


def signed(text: str) -> str:
    """A difference with its sign: what has none and is something gets a plus."""
    return text if text.startswith("−") or text == NOTHING else f"+{text}"


def change(before: Decimal | float | None, after: Decimal | float | None) -> str:
    """By how much something grew: ``−16 %``; empty where that means nothing."""
    if before is None or after is None or not before:
        return ""
    grown = (float(after) - float(before)) / float(before) * 100
    return f"{grown:+.0f} %".replace("-", "−")


def offset(us: int) -> str:
    """Time since the start of a conversation: ``0:42``, ``1:02:09``."""
    seconds = max(0, us) // 1_000_000
    hours, minutes = divmod(seconds // 60, 60)
    clock = f"{minutes}:{seconds % 60:02}"
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else clock


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 decision``, ``2,000 decisions``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
