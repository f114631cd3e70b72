"""The tokens that an answer took, as each API and tracer counts them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from refold.conversation.chat_shapes import Path, Unread, as_said
from refold.conversation.events import Usage
from refold.core.jsonvalue import pointer

CHAT_TOKENS: Final = {
    "input_tokens": "prompt_tokens input_tokens",
    "output_tokens": "completion_tokens output_tokens",
    "cached_tokens": "prompt_tokens_details.cached_tokens input_tokens_details.cached_tokens",
    "cache_write_tokens": (
        "prompt_tokens_details.cache_write_tokens input_tokens_details.cache_write_tokens"
    ),
    "reasoning_tokens": (
        "completion_tokens_details.reasoning_tokens output_tokens_details.reasoning_tokens"
    ),
}
"""Where a usage has what it counts, by the names of chat completions and of OpenAI's later APIs:
for each field the places that it may have, of which the first holds that is there."""


def read_usage(
    usage: object, path: Path, unread: list[Unread], places: Mapping[str, str] = CHAT_TOKENS
) -> Usage | None:
    """The tokens of an answer; None where nobody counted them.

    ``places`` is as :data:`CHAT_TOKENS`; what stands with a + between is added up, and ``a.b`` is
    a key, or one inside the object ``a``. Unknown is not zero: where a count of the input or the
    output is there and is none, nothing is told of the others.
    """
    counts: dict[str, int] = {}
    is_unknown = False
    given = usage if isinstance(usage, Mapping) else {}
    for field, alternatives in places.items():
        known = len(unread)
        for place in _apart(alternatives):
            found = [_count(given, one, path, unread) for one in place.split("+")]
            if told := [count for count in found if count is not None]:
                counts.setdefault(field, sum(told))
        if len(unread) > known:
            is_unknown |= field in ("input_tokens", "output_tokens")
            counts.pop(field, None)
    if not isinstance(usage, Mapping | None):
        unread.append(Unread("usage", pointer(path), "usage must be an object"))
    return Usage(**counts) if counts and not is_unknown else None


_apart: Final = lru_cache(maxsize=64)(str.split)


def _count(given: Mapping[str, Any], place: str, path: Path, unread: list[Unread]) -> int | None:
    """The number of tokens at a place in a usage; None where there is none."""
    holder, _, key = place.partition(".")
    inner = given.get(holder) if key else None
    inside = [place]
    if inner is not None and place not in given and isinstance(inner, Mapping):
        given, inside = inner, [holder, key]
    count = given.get(inside[-1])
    if count is None or (type(count) is int and count >= 0):
        return count
    reason = f"{as_said(count)} is not a number of tokens"
    unread.append(Unread("usage", pointer([*path, *inside]), reason))
    return None
