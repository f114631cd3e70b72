"""Text from anywhere, made fit for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from refold.secrecy import without_password

CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""Characters that move a cursor, break a line or turn the direction of text."""
NAMES_MAX: Final = 12
"""So many names can be read where one of them was meant."""


def clean(text: str) -> str:
    """Text whose control characters are spelled out.

    What a caller said may hold escape sequences; a terminal must show them, not obey them.
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def address(url: str) -> str:
    """The address of a store as it may be shown: without a password."""
    return clean(without_password(url))


def one_line(text: str, width: int) -> str:
    """Clean text without line breaks, cut to ``width`` characters with an ellipsis."""
    flat = clean(" ".join(text.split()))
    return flat if len(flat) <= width else f"{flat[: max(width - 1, 0)]}…"


def counted(count: int, one: str) -> str:
    """``1 problem``, ``2,000 problems``."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def suggestion(name: str, known: Iterable[str]) -> str:
    """``: did you mean …?`` with the names nearest to a wrong one.

    Where none is near, the names that there are; nothing where these are too many to be read.
    """
    from difflib import get_close_matches

    names = sorted(known)
    if near := get_close_matches(name, names, n=3):
        return f": did you mean {' or '.join(near)}?"
    few = names if len(names) <= NAMES_MAX else []
    return f": there {'are' if len(few) > 1 else 'is'} {', '.join(few)}" if few else ""
