"""Lines to read as plain text that is safe to print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

VALUE_CHARS_MAX: Final = 400
"""How much of a tool's arguments, a result or an unknown payload one line shows."""
WHO_CHARS_MAX: Final = 24

# C0 and C1 controls but the line feed and tab, line separators, and what sets the direction.
_HARMFUL: Final = {
    code: f"\\u{code:04x}"
    for code in (
        *(c for c in range(0x20) if chr(c) not in "\n\t"),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F, 0x2028, 0x2029),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}


class Line(msgspec.Struct, frozen=True):
    """One event as text: ``at`` is RFC 3339, ``who`` a word or two, ``type`` the event's type."""

    id: str
    at: str
    who: str
    type: str
    text: str


def rendered(lines: Iterable[Line]) -> list[str]:
    """Lines as plain text in columns: time of day, who, what; a heading for each new day.

    Characters that could move a terminal's cursor or turn its text around are shown as codes.
    """
    shown = [(line.at, _name(line.who), _harmless(line.text)) for line in lines]
    width = max((len(who) for _, who, _ in shown), default=0)
    texts: list[str] = []
    day = ""
    for moment, who, text in shown:
        date, _, time = moment.partition("T")
        if date != day:
            texts.append(day := date)
        head = f"{time[:8]}  {who:<{width}}  "
        first, *more = text.split("\n")
        texts.append((head + first).rstrip())
        texts += [(" " * len(head) + rest).rstrip() for rest in more]
    return texts


def shortened(text: str, *, chars_max: int = VALUE_CHARS_MAX) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"


def _name(who: str) -> str:
    return shortened(" ".join(_harmless(who).split()), chars_max=WHO_CHARS_MAX)


def _harmless(text: str) -> str:
    return text.replace("\r\n", "\n").translate(_HARMFUL)
