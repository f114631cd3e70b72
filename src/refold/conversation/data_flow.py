"""What the arguments of a call are known from: the words, results and prompts that hold them.

Where nobody recorded why a call was made with a value, the value itself tells: it was in something
that the agent had been told. A value that stands nowhere was made up, or is too short to tell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.recorded import Recorded

ANSWERS: Final = ("agent.utterance", "tool.call", "model.response")
"""What the agent itself says: it tells it nothing that it did not know."""
CHARS_MIN: Final = 3
"""A shorter value, such as ``2`` or ``no``, is found anywhere."""
PHRASE_CHARS_MIN: Final = 5
"""Shorter words of a result stand in any text that the agent writes."""
_NUMBER: Final = re.compile(
    r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d{1,3})?(?!\w|\.\d)"
)
_JSON: Final = msgspec.json.Decoder(float_hook=Decimal)
_EXACT: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\w(?:[\w.-]*\w)?")
"""Words of a text that may say something exactly: those with a digit do, and addresses."""


class _Told(NamedTuple):
    """What an event told, and the values in it, as they are looked for."""

    source: Recorded
    words: str
    values: list[str]
    numbers: set[Decimal]

    def holds(self, value: str) -> bool:
        """Whether it tells a value: a number by what it is worth, a text between its edges."""
        if (number := _number(value)) is not None:
            return number in self.numbers
        return value in self.words and _edged(value).search(self.words) is not None


class KnownFrom:
    """What an agent has been told so far, by whom."""

    def __init__(self) -> None:
        self._gone: list[_Told] = []
        self._left: list[_Told] = []

    def hear(self, recorded: Recorded, *, is_gone: bool) -> None:
        """Go on by an event, which may be one that is gone."""
        if recorded.type in ANSWERS:
            return
        values = [text for _, text in _leaves(recorded.data, with_names=True)]
        words = "\n".join(values)
        numbers = {Decimal(one.replace(",", "")) for one in _NUMBER.findall(words)}
        (self._gone if is_gone else self._left).append(_Told(recorded, words, values, numbers))

    def known_from_what_is_gone(self, recorded: Recorded) -> str | None:
        """Why the arguments of a call cannot be known any more; None of what is no call."""
        if recorded.type != "tool.call" or not self._gone:
            return None
        for pointer, value in _leaves(_arguments(recorded.data)):
            for part in self._parts(value):
                source = next((one.source for one in self._gone if one.holds(part)), None)
                if source is not None and not self._is_left(part):
                    known = f"{source.id} ({source.type})"
                    return f"its argument {pointer} is known from {known} alone"
        return None

    def _is_left(self, value: str) -> bool:
        return any(one.holds(value) for one in self._left)

    def _parts(self, value: str) -> Iterator[str]:
        """A value, and where all of it stands nowhere, what in it was told."""
        if len(value) < CHARS_MIN:
            return
        yield value
        if self._is_left(value):
            return
        yield from (one for one in _EXACT.findall(value) if _is_exact(one))
        for told in self._gone:
            for one in told.values:
                if len(one) >= PHRASE_CHARS_MIN and one in value and _edged(one).search(value):
                    yield one


def _is_exact(word: str) -> bool:
    return len(word) >= CHARS_MIN and ("@" in word or any(char.isdigit() for char in word))


def _edged(value: str) -> re.Pattern[str]:
    """A value that is no piece of a longer number or word."""
    return re.compile(f"{_edge(value[0], '<')}{re.escape(value)}{_edge(value[-1], '')}")


def _edge(char: str, behind: str) -> str:
    if char.isdigit():
        return rf"(?{behind}!\d)"
    return rf"(?{behind}![^\W\d_])" if char.isalpha() else ""


def _number(text: str) -> Decimal | None:
    """What a text is worth that is a number, however it is written."""
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def _arguments(data: Any) -> Any:
    return data.get("arguments") if isinstance(data, dict) else None


def _leaves(
    value: Any, pointer: str = "", *, with_names: bool = False
) -> Iterator[tuple[str, str]]:
    """Each text and number in a value, without regard to case, with its JSON Pointer.

    What is written as JSON within a text is looked into. The names of members are told too where
    they are what somebody was told.
    """
    match value:
        case dict():
            for name, own in value.items():
                if with_names:
                    yield pointer, _folded(name)
                yield from _leaves(own, f"{pointer}/{_escaped(str(name))}", with_names=with_names)
        case list():
            for number, own in enumerate(value):
                yield from _leaves(own, f"{pointer}/{number}", with_names=with_names)
        case None | bool():
            return
        case str() if value.lstrip()[:1] in ("{", "["):
            try:
                inner = _JSON.decode(value)
            except (msgspec.DecodeError, ArithmeticError, RecursionError):
                yield pointer or "/", _folded(value)
            else:
                yield from _leaves(inner, pointer, with_names=with_names)
        case _:
            yield pointer or "/", _folded(value)


def _folded(value: Any) -> str:
    return unicodedata.normalize("NFC", str(value)).casefold()


def _escaped(name: str) -> str:
    """A name within a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
