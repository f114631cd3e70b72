"""Tokens as tracers count them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refold.conversation import events
from refold.conversation.chat_shapes import Unread

_COUNTS: Final = {
    "input_tokens": "input_tokens prompt_tokens input prompt",
    "output_tokens": "output_tokens completion_tokens output completion",
    "cached_tokens": (
        "cache_read.input_tokens cache_read_input_tokens input_tokens_cache_read"
        " input_token_details.cache_read prompt_details.cache_read input_cache_read"
        " input_cached_tokens prompt_details.cache_read"
    ),
    "cache_write_tokens": (
        "cache_creation.input_tokens cache_creation_input_tokens input_tokens_cache_write"
        " input_token_details.cache_creation"
    ),
    "reasoning_tokens": (
        "reasoning.output_tokens reasoning_tokens output_token_details.reasoning"
        " completion_details.reasoning output_reasoning"
    ),
}
"""For each field the names that it has: OpenTelemetry's, Langfuse's, LangChain's, Inspect's."""


def usage_in(said: Any, at: str, unread: list[Unread]) -> events.Usage | None:
    """The tokens of an answer; None where nobody counted them, what is odd told by its place."""
    given: dict[str, Any] = {}
    for key, value in said.items() if isinstance(said, Mapping) else ():
        inner = value.items() if isinstance(value, Mapping) else ()
        given |= {key: value, **{f"{key}.{name}": one for name, one in inner}}
    counts: dict[str, int] = {}
    for field, names in _COUNTS.items():
        for name in names.split():
            count = given.get(name)
            if type(count) is int and count >= 0:
                counts.setdefault(field, count)
            elif count is not None:
                unread.append(
                    Unread("usage", at, f"{name}: {count!r:.50} is not a number of tokens")
                )
    return events.Usage(**counts) if counts else None
