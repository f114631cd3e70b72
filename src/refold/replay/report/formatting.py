"""Figures as text: percentages, money, milliseconds, times."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from refold.replay.figures import Rate

NOTHING: Final = "–"
"""What stands where nothing is known."""

MEANINGS: Final = {
    "same": "the same words and the same tool calls",
    "words": "other words, the same action",
    "arguments": "the same tools with other arguments",
    "tools": "other tools, or words instead of a tool",
    "failed": "the endpoint gave no answer",
    "missing": "was not asked",
}
"""What the levels mean, in a few words."""


def percent(share: float | None) -> str:
    """``72.4 %``."""
    return NOTHING if share is None else f"{share * 100:.1f} %"


def interval(rate: Rate) -> str:
    """``95 % sure to lie between 68.6 % and 76.2 %``, or that nothing is known."""
    if not rate.trials:
        return "nothing was answered"
    return f"between {percent(rate.low)} and {percent(rate.high)}"


def money(amount: Decimal | None) -> str:
    """US dollars: cents from a dollar on, else three significant digits."""
    if amount is None:
        return NOTHING
    if amount == 0 or abs(amount) >= 1:
        return f"${amount:,.2f}".replace("$-", "−$")
    digits = min(12, 2 - amount.adjusted())
    return f"${amount:.{digits}f}".replace("$-", "−$")


def signed(text: str) -> str:
    """A difference with its sign: what has none and is something gets a plus."""
    return text if text.startswith("−") or text == NOTHING else f"+{text}"


def milliseconds(value: float | None) -> str:
    """``640 ms``, ``2.1 ms``, ``12.4 s``."""
    if value is None:
        return NOTHING
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 10_000:
        return f"{sign}{size / 1000:.1f} s"
    return f"{sign}{size:.0f} ms" if size >= 10 else f"{sign}{size:.1f} ms"


def change(before: Decimal | float | None, after: Decimal | float | None) -> str:
    """By how much something grew: ``−16 %``; empty where that means nothing."""
    if before is None or after is None or not before:
        return ""
    share = (float(after) - float(before)) / float(before) * 100
    return f"{share:+.0f} %".replace("-", "−")


def offset(us: int) -> str:
    """Time since the start of a conversation: ``0:42``, ``1:02:09``."""
    seconds = max(0, us) // 1_000_000
    hours, minutes = divmod(seconds // 60, 60)
    clock = f"{minutes}:{seconds % 60:02}"
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else clock


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 decision``, ``2,000 decisions``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
