"""The elements of a JSON array, one at a time, from a file of any size.

An element that is broken is told from the next by its *signature*: how elements of this array
begin (``{"task_id":``). So a bracket or quote that is missing costs one element, not the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

CHUNK_BYTES: Final = 1024 * 1024
ELEMENT_BYTES_MAX: Final = 64 * 1024 * 1024
BROKEN_MAX: Final = 1_000
"""After so many broken elements it is not worth reading on."""

# JSON has no line break inside a string, so a quote without its end on the same line is broken.
_TOKEN: Final = re.compile(rb'"[^"\\\r\n]*+(?:\\.[^"\\\r\n]*+)*+"|[\[\]{},"]')
_SIGNATURE: Final = re.compile(rb'\{\s*"[^"\\\r\n]*"\s*:')
_SPACE: Final = re.compile(rb"\s*")
_CLOSES: Final = {0x5D: 0x5B, 0x7D: 0x7B}
_COMMA: Final = 0x2C
_QUOTE: Final = 0x22

_check_syntax = msgspec.json.Decoder(msgspec.Raw).decode


class Element(NamedTuple):
    """An element's bytes, the line it begins on (from 1), and its number in the array (from 1).

    ``error`` says why there are none; empty where they are JSON.
    """

    line: int
    number: int
    raw: bytes
    error: str = ""


class Unreadable(Exception):
    """An input from which nothing more can be read; ``line`` is where, 0 for the whole."""

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Window:
    """The part of a file in sight: it grows at its end, and shrinks at its start."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.text = b""
        self._read = read
        self._line = 1
        self._counted = 0

    def grow(self) -> bool:
        """More text, at least as much again; False at the end of the file."""
        more = self._read(max(CHUNK_BYTES, len(self.text)))
        self.text += more
        return bool(more)

    def line_of(self, place: int) -> int:
        """The line of a place; places are asked for in their order."""
        self._line += self.text.count(b"\n", self._counted, place)
        self._counted = place
        return self._line

    def shrunk(self, place: int) -> int:
        """Forgets what is before a place, when that is much; where the place is now."""
        if place < CHUNK_BYTES:
            return place
        self.line_of(place)
        self.text, self._counted = self.text[place:], 0
        return 0

    def after_space(self, place: int) -> int:
        """The first place from here that is not white space; the end where all is."""
        while True:
            space = _SPACE.match(self.text, place)
            assert space is not None
            if space.end() < len(self.text) or not self.grow():
                return space.end()


def elements(read: Callable[[int], bytes]) -> Iterator[Element]:
    """The elements of the array that ``read(size_bytes)`` gives piece by piece.

    Broken ones come with their ``error``, at most 1,000 of them. Raises :class:`Unreadable` for
    text that does not begin with ``[``.
    """
    window = _Window(read)
    place = window.after_space(0)
    if window.text[place : place + 1] != b"[":
        raise Unreadable("a JSON array was expected", line=window.line_of(place))
    place = window.after_space(place + 1)
    if window.text[place : place + 1] != b"]":
        yield from _elements_from(window, place)


def _elements_from(window: _Window, place: int) -> Iterator[Element]:
    signature: re.Pattern[bytes] | None = None
    number = broken = 0
    while place >= 0 and broken < BROKEN_MAX:
        start = window.after_space(window.shrunk(place))
        signature = signature or _signature_at(window, start)
        number, line = number + 1, window.line_of(start)
        end, error = _end_of_element(window, start)
        if error := error or _syntax_error(window.text[start:end]):
            place = _next_like(window, signature, start + 1)
        else:
            yield Element(line, number, window.text[start:end].rstrip())
            if window.text[end] == _COMMA:
                place = end + 1
                continue
            if (end := window.after_space(end + 1)) == len(window.text):
                return
            number, line = number + 1, window.line_of(end)
            error = "there is text after the end of the array"
            place = _next_like(window, signature, end)
        broken += 1
        goes_on = place >= 0 and broken < BROKEN_MAX
        rest = "" if goes_on else "; nothing after it is read"
        yield Element(line, number, b"", error + rest)


def _end_of_element(window: _Window, start: int) -> tuple[int, str]:
    """Where the element that starts here ends (at its comma or the array's end), or why not."""
    open_brackets: list[int] = []
    place = start
    while True:
        for token in _TOKEN.finditer(window.text, place):
            char = window.text[token.start()]
            if char == _QUOTE:
                if token.end() - token.start() == 1:
                    break
            elif char in _CLOSES:
                if not open_brackets:
                    return _ended(token.start(), char)
                if open_brackets.pop() != _CLOSES[char]:
                    return token.start(), "its brackets do not match"
            elif char != _COMMA:
                open_brackets.append(char)
            elif not open_brackets:
                return token.start(), ""
            place = token.end()
        unclosed = window.text.find(b'"', place)
        if unclosed >= 0 and window.text.find(b"\n", unclosed) >= 0:
            return unclosed, "a text in it does not end on its line"
        place = unclosed if unclosed >= 0 else len(window.text)
        if len(window.text) - start > ELEMENT_BYTES_MAX:
            return place, f"it is over {ELEMENT_BYTES_MAX} bytes"
        if not window.grow():
            return place, "it does not end"


def _ended(place: int, char: int) -> tuple[int, str]:
    return place, "" if _CLOSES[char] == 0x5B else "its brackets do not match"


def _syntax_error(raw: bytes) -> str:
    if not raw.strip():
        return "there is nothing before the comma or the end of the array"
    try:
        _check_syntax(raw)
        return ""
    except (ValueError, RecursionError) as error:
        return str(error)


def _signature_at(window: _Window, start: int) -> re.Pattern[bytes] | None:
    found = _SIGNATURE.match(window.text, start)
    if found is None:
        return None
    key = re.escape(found[0][1:-1].strip())
    return re.compile(rb"\{\s*" + key + rb"\s*:")


def _next_like(window: _Window, signature: re.Pattern[bytes] | None, place: int) -> int:
    """Where the next element seems to begin; -1 where none does."""
    while signature is not None:
        if found := signature.search(window.text, place):
            return found.start()
        # A signature may lie across the edge of what is in sight.
        place = max(place, len(window.text) - CHUNK_BYTES)
        if len(window.text) > 2 * ELEMENT_BYTES_MAX or not window.grow():
            break
    return -1
