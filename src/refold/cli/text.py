"""Text from anywhere, made fit for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""Characters that move a cursor, break a line or turn the direction of text."""


def clean(text: str) -> str:
    """Text whose control characters are spelled out.

    What a caller said may hold escape sequences; a terminal must show them, not obey them.
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str, width: int) -> str:
    """Clean text without line breaks, cut to ``width`` characters with an ellipsis."""
    flat = clean(" ".join(text.split()))
    return flat if len(flat) <= width else f"{flat[: max(width - 1, 0)]}…"


def counted(count: int, one: str) -> str:
    """``1 problem``, ``2,000 problems``."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def suggestion(name: str, known: Iterable[str]) -> str:
    """``: did you mean …?`` with the names nearest to a wrong one, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=3)
    return f": did you mean {' or '.join(near)}?" if near else ""
