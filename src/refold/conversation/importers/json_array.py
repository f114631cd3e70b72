"""The elements of a JSON array, one at a time, from a file of any size.

An element that is broken costs itself alone: the next is found by its *signature*, how elements
of this array begin (``{"task_id":``), for a bracket or quote that is lost must not cost the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

from refold.core import jsonvalue
from refold.errors import UsageError

T = TypeVar("T")

VALUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest line, element or document that is read."""
CHUNK_BYTES: Final = 64 * 1024
BROKEN_MAX: Final = 1_000
"""After so many broken elements it is not worth reading on."""
# As bytes, one a character: only where a value ends is asked, and all that says so is ASCII.
_BYTES: Final = "latin-1"
_SPACE: Final = " \t\r\n"
_SIGNATURE: Final = re.compile(r'[\[{][\[{\s]*"[^"\\\r\n]*"')
_TOKEN: Final = re.compile(r'[\[{]|".*"')
_SAID_OF: Final = {
    "Invalid control character at": "a text in it does not end on its line",
    "Unterminated string starting at": "a text in it does not end",
    "]": "there is text after the end of the array",
    "": "the array does not end",
}
# Numbers stay text: one of any length is a value.
_SCAN: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


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

    def read(self) -> Any:
        """What it says, to the last digit.

        An object in which a key stands twice is :class:`Doubled` in it: a document may hold many
        conversations, and only the one that it is of is refused. Raises ValueError for what is no
        JSON.
        """
        if self.error:
            raise ValueError(self.error)
        return jsonvalue.read(self.raw, _marked)


class Doubled(dict[str, Any]):
    """An object in which a key stands twice, with the last that was said: not to be trusted."""

    def __init__(self, error: UsageError, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.error = error


def checked(value: T) -> T:
    """A value in which no object is :class:`Doubled`; UsageError says which key is."""
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Doubled):
            raise item.error
        held = item.values() if isinstance(item, dict) else item
        pending += held if isinstance(item, dict | list | tuple) else ()
    return value


def elements(read: Callable[[int], bytes]) -> Iterator[Value]:
    """The elements of the array that ``read(size_bytes)`` gives piece by piece.

    Broken ones come with their ``error``, at most 1,000 of them; so does text that is no array.
    """
    text = _Text(read)
    if text.next() != "[":
        yield Value(text.line, 1, b"", "a JSON array was expected")
        return
    text.drop(1)
    number = broken = 0
    signature = None
    is_more = text.next() != "]"
    while is_more:
        text.next()
        signature = signature or _signature_of(text.ahead)
        number, line = number + 1, text.line
        size, error = text.value_size()
        value = text.drop(1 if error else size)
        if not error:
            follows = text.next()
            if follows in (",", "]", ""):
                yield _element(line, number, value.encode(_BYTES))
                text.drop(1)
                if follows == ",":
                    continue
                if follows == "]" and not text.next():
                    return
                number, line = number + 1, text.line
            error = _SAID_OF.get(follows, "there is no comma after it")
        broken += 1
        is_more = broken < BROKEN_MAX and text.has_next(signature)
        rest = "" if is_more else "; nothing after it is read"
        yield _element(line, number, b"", error + rest)


def _element(line: int, number: int, raw: bytes, error: str = "") -> Value:
    return Value(line, number, raw, error, f"element {number}: ")


def _signature_of(element: str) -> re.Pattern[str] | None:
    """How an element begins: its brackets and its first key."""
    found = _SIGNATURE.match(element)
    if found is None:
        return None
    return re.compile(r"\s*".join(re.escape(one) for one in _TOKEN.findall(found[0])))


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return jsonvalue.members(pairs)
    except UsageError as error:
        return Doubled(error, pairs)


class _Text:
    """The text of a file that is still ``ahead``, as far as it is in sight, from ``line`` on."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.ahead = ""
        self.line = 1
        self._read = read

    def drop(self, size: int) -> str:
        """Leave so much behind."""
        left, self.ahead = self.ahead[:size], self.ahead[size:]
        self.line += left.count("\n")
        return left

    def next(self) -> str:
        """The next character, white space left behind; "" at the end."""
        while True:
            self.drop(len(self.ahead) - len(self.ahead.lstrip(_SPACE)))
            if self.ahead or not self._grow():
                return self.ahead[:1]

    def value_size(self) -> tuple[int, str]:
        """How long the value ahead is, or why it is none."""
        while True:
            try:
                size, error = _SCAN(self.ahead)[1], ""
                sure = size < len(self.ahead)
            except json.JSONDecodeError as broken:
                size, error = broken.pos, _SAID_OF.get(broken.msg, broken.msg)
                # Where the text goes on behind it, more text changes nothing.
                sure = size + 16 < len(self.ahead) and not broken.msg.startswith("Unterminated")
            except RecursionError as deep:
                return 0, str(deep)
            if not sure and len(self.ahead) > VALUE_BYTES_MAX:
                return size, f"it is over {VALUE_BYTES_MAX} bytes"
            if sure or not self._grow():
                return size, error

    def has_next(self, signature: re.Pattern[str] | None) -> bool:
        """Leave all behind that comes before the next element that begins like this."""
        while signature is not None:
            if found := signature.search(self.ahead):
                self.drop(found.start())
                return True
            # A signature may lie across the edge of what is in sight.
            self.drop(max(0, len(self.ahead) - CHUNK_BYTES))
            if not self._grow():
                break
        return False

    def _grow(self) -> bool:
        more = self._read(max(CHUNK_BYTES, len(self.ahead)))
        self.ahead += more.decode(_BYTES)
        return bool(more)
