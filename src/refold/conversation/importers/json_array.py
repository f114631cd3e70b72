"""The elements of a JSON array, one at a time, from a file of any size.

An element that is broken costs itself alone: the next is found by its *signature*, how elements
of this array begin (``{"task_id":``), for a bracket or quote that is lost must not cost the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

VALUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest line, element or document that is read."""
CHUNK_BYTES: Final = 1024 * 1024
BROKEN_MAX: Final = 1_000
"""After so many broken elements it is not worth reading on."""
# As bytes, one a character: only where a value ends is asked, and all that says so is ASCII.
_BYTES: Final = "latin-1"
_SPACE: Final = re.compile(r"\s*", re.ASCII)
_SAID_OF: Final = {
    "Invalid control character at": "a text in it does not end on its line",
    "Unterminated string starting at": "a text in it does not end",
}
_SIGNATURE: Final = re.compile(r'[\[{][\[{\s]*"[^"\\\r\n]*"')
_TOKEN: Final = re.compile(r'[\[{]|".*"')
# Numbers stay text: one of any length is a value.
_SCAN: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


class Unreadable(Exception):
    """An input from which nothing more can be read; ``line`` is where, 0 for the whole."""

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class Value(NamedTuple):
    """A JSON value's bytes, the line it begins on, and its number in the source, both from 1.

    ``error`` says why there are none; empty where there are. Whether the bytes are JSON to the
    last, who decodes them finds out. The number of a line is that of the line. ``place`` begins
    what is told of an element: a line may hold several.
    """

    line: int
    number: int
    raw: bytes
    error: str = ""
    place: str = ""


class _Window:
    """The part of a file in sight: it grows at its end, and shrinks at its start."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.text = ""
        self._read = read
        self._line = 1
        self._counted = 0

    def grow(self) -> bool:
        """More text, at least as much again; False at the end of the file."""
        more = self._read(max(CHUNK_BYTES, len(self.text)))
        self.text += more.decode(_BYTES)
        return bool(more)

    def line_of(self, place: int) -> int:
        """The line of a place; places are asked for in their order."""
        self._line += self.text.count("\n", self._counted, place)
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

    def value_end(self, start: int) -> tuple[int, str]:
        """Where the value that starts here ends, or why it does not."""
        while True:
            try:
                end = _SCAN(self.text, start)[1]
                error = ""
            except json.JSONDecodeError as broken:
                end = broken.pos
                line = self._line + self.text.count("\n", start, end)
                error = f"{_SAID_OF.get(broken.msg, broken.msg)} (line {line})"
                # Where the text goes on behind it, more text changes nothing.
                if end + 16 < len(self.text) and not broken.msg.startswith("Unterminated"):
                    return end, error
            except RecursionError as deep:
                return start, str(deep)
            if end < len(self.text) and not error:
                return end, ""
            if len(self.text) - start > VALUE_BYTES_MAX:
                return end, f"it is over {VALUE_BYTES_MAX} bytes"
            if not self.grow():
                return end, error

    def next_like(self, signature: re.Pattern[str] | None, place: int) -> int:
        """Where the next element seems to begin; -1 where none does."""
        while signature is not None:
            if found := signature.search(self.text, place):
                return found.start()
            # A signature may lie across the edge of what is in sight.
            place = max(place, len(self.text) - CHUNK_BYTES)
            if len(self.text) > 2 * VALUE_BYTES_MAX or not self.grow():
                break
        return -1


def elements(read: Callable[[int], bytes]) -> Iterator[Value]:
    """The elements of the array that ``read(size_bytes)`` gives piece by piece.

    Broken ones come with their ``error``, at most 1,000 of them. Raises :class:`Unreadable` for
    text that does not begin with ``[``.
    """
    window = _Window(read)
    place = window.after_space(0)
    if not window.text.startswith("[", place):
        raise Unreadable("a JSON array was expected", line=window.line_of(place))
    place = window.after_space(place + 1)
    if not window.text.startswith("]", place):
        yield from _elements(window, place)


def _elements(window: _Window, place: int) -> Iterator[Value]:
    signature: re.Pattern[str] | None = None
    number = broken = 0
    while place >= 0:
        start = window.after_space(window.shrunk(place))
        signature = signature or _signature_at(window.text, start)
        number, element = number + 1, _element(window, number + 1, start)
        end, error = window.value_end(start)
        place = start + 1
        if not error:
            after = window.after_space(end)
            follows = window.text[after : after + 1]
            if follows in (",", "]", ""):
                yield element._replace(raw=window.text[start:end].encode(_BYTES))
                place = after + 1
            if follows == ",":
                continue
            error = "there is no comma after it" if follows else "the array does not end"
            if follows == "]":
                place = window.after_space(place)
                if place == len(window.text):
                    return
                error = "there is text after the end of the array"
            if follows in ("]", ""):
                number, element = number + 1, _element(window, number + 1, place)
        broken += 1
        place = window.next_like(signature, place) if broken < BROKEN_MAX else -1
        rest = "" if place >= 0 else "; nothing after it is read"
        yield element._replace(error=error + rest)


def _element(window: _Window, number: int, place: int) -> Value:
    return Value(window.line_of(place), number, b"", place=f"element {number}: ")


def _signature_at(text: str, start: int) -> re.Pattern[str] | None:
    """How an element begins: its brackets and its first key."""
    found = _SIGNATURE.match(text, start)
    if found is None:
        return None
    return re.compile(r"\s*".join(re.escape(one) for one in _TOKEN.findall(found[0])))
