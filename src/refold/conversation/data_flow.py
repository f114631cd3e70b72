"""What the arguments of a call are known from: the words, results and prompts that hold them.

Where nobody recorded why a call was made with a value, the value itself tells: it was in something
that the agent had been told. A value that stands nowhere was made up, or is too short to tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from refold.core.recorded import Recorded

ANSWERS: Final = ("agent.utterance", "tool.call", "model.response")
"""What the agent itself says: it tells it nothing that it did not know."""
CHARS_MIN: Final = 3
"""A shorter value, such as ``2`` or ``no``, is found anywhere."""


class KnownFrom:
    """What an agent has been told so far, by whom."""

    def __init__(self) -> None:
        self._gone: list[tuple[Recorded, str]] = []
        self._left: list[str] = []

    def hear(self, recorded: Recorded, *, is_gone: bool) -> None:
        """Go on by an event, which may be one that is gone."""
        if recorded.type in ANSWERS:
            return
        words = "\n".join(text for _, text in _leaves(recorded.data))
        if is_gone:
            self._gone.append((recorded, words))
        else:
            self._left.append(words)

    def known_from_what_is_gone(self, recorded: Recorded) -> str | None:
        """Why the arguments of a call cannot be known any more; None of what is no call."""
        if recorded.type != "tool.call" or not self._gone:
            return None
        for pointer, value in _leaves(_arguments(recorded.data)):
            holding = (one for one, words in self._gone if value in words)
            if len(value) < CHARS_MIN or not (source := next(holding, None)):
                continue
            if not any(value in words for words in self._left):
                known = f"{source.id} ({source.type})"
                return f"its argument {pointer} is known from {known} alone"
        return None


def _arguments(data: Any) -> Any:
    arguments = data.get("arguments") if isinstance(data, dict) else None
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments


def _leaves(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Each text and number in a value, without regard to case, with its JSON Pointer."""
    match value:
        case dict():
            for name, own in value.items():
                yield from _leaves(own, f"{pointer}/{_escaped(str(name))}")
        case list():
            for number, own in enumerate(value):
                yield from _leaves(own, f"{pointer}/{number}")
        case None | bool():
            return
        case _:
            yield pointer or "/", str(value).casefold()


def _escaped(name: str) -> str:
    """A name within a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
