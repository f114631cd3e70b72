"""Which piece of a streamed answer says something: until the first such, the user waits."""

from __future__ import annotations

from typing import Any, Final

from refold.conversation.apis.base import data_of, objects_in
from refold.conversation.apis.sse import Frame

_WORDS: Final = ("content", "text", "refusal", "transcript", "data", "code")
_THOUGHTS: Final = ("reasoning", "reasoning_content", "thinking")
_CALLS: Final = ("name", "arguments", "partial_json", "input")
_SAYING: Final = frozenset({*_WORDS, *_THOUGHTS, *_CALLS})
"""The fields of a piece, in whichever API, that hold what is said, thought, drawn or called."""


def has_token(frame: Frame) -> bool:
    """Whether a frame has something of an answer: more than that it begins, or whose it is."""
    data = data_of(frame)
    said: list[Any] = [data.get("delta"), data.get("content_block")]  # Responses and Anthropic
    said += [item.get("name") for item in objects_in([data.get("item")])]  # a call of Responses
    said += [choice.get("delta") for choice in objects_in(data.get("choices"))]
    said += [candidate.get("content") for candidate in objects_in(data.get("candidates"))]
    return any(map(_says, said))


def _says(value: Any, name: str = "text") -> bool:
    if isinstance(value, dict):
        return any(_says(inner, key) for key, inner in value.items())
    if isinstance(value, list):
        return any(_says(inner, name) for inner in value)
    return isinstance(value, str) and value != "" and name in _SAYING
