"""The elements of a JSON array, one at a time, from a file of any size.

An element that is broken costs itself alone: the next is found by its *signature*, how elements
of this array begin (``{"task_id":``), for a bracket or quote that is lost must not cost the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from refold import jsontext
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
_INK: Final = re.compile(r"[^ \t\r\n]")
_SIGNATURE: Final = re.compile(r'[\[{][\[{\s]*"[^"\\\r\n]*"')
_TOKEN: Final = re.compile(r'[\[{]|".*"')
_SAID_OF: Final = {
    "Invalid control character at": "a text in it does not end on its line",
    "Unterminated string starting at": "a text in it does not end",
    "]": "there is text after the end of the array",
    "": "the array does not end",
}
_is_value: Final = msgspec.json.Decoder(msgspec.Raw).decode
# Numbers stay text: one of any length is a value.
_SCAN: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


class Value(NamedTuple):
    """A JSON value's bytes, the line it begins on, and its number in the source, both from 1.

    ``error`` says why there are none; empty where there are. Whether the bytes are JSON to the
    last, who decodes them finds out. The number of a line is that of the line. ``place`` begins
    what is told of an element: a line may hold several. ``column`` is where it begins, from 1.
    """

    line: int
    number: int
    raw: bytes
    error: str = ""
    place: str = ""
    column: int = 1

    def read(self) -> Any:
        """What it says, to the last digit.

        An object in which a key stands twice is :class:`Doubled` in it: a document may hold many
        conversations, and only the one that it is of is refused. Raises ValueError for what is no
        JSON.
        """
        return self._read(_marked)

    def read_whole(self) -> Any:
        """As :meth:`read`; UsageError where a key stands twice in any object of it."""
        return self._read(None)

    def _read(self, as_object: Callable[[Any], Any] | None) -> Any:
        if self.error:
            raise ValueError(self.error)
        try:
            return jsontext.read(self.raw, as_object)
        except UnicodeDecodeError as error:
            at = self._place(error.start)
            raise ValueError(f"no UTF-8 text: {at}: save the file as UTF-8") from error
        except json.JSONDecodeError as error:
            # Its position is that of a character.
            at = self._place(len(self.raw.decode()[: error.pos].encode()))
            raise ValueError(f"not JSON: {at}: {error.msg}") from error

    def _place(self, size_bytes: int) -> str:
        return _place((self.line, self.column), self.raw[:size_bytes].decode(_BYTES))


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
    begins, signature = "", None
    is_more = text.next() != "]"
    while is_more:
        text.next()
        if signature is None and (found := _SIGNATURE.match(text.ahead)):
            begins, signature = found[0], _signature_of(found[0])
        number, line, column = number + 1, text.line, text.column
        size, error = text.value_size(begins)
        at = text.place(size) if error else ""
        value = text.drop(1 if error else size)
        if not error:
            follows = text.next()
            if follows in (",", "]", ""):
                yield _element(line, number, value.encode(_BYTES))._replace(column=column)
                text.drop(1)
                if follows == ",":
                    continue
                if follows == "]" and not text.next():
                    return
                number, line = number + 1, text.line
            error, at = _SAID_OF.get(follows, "there is no comma after it"), text.place(0)
        broken += 1
        is_more = broken < BROKEN_MAX and text.has_next(signature)
        rest = "" if is_more else "; nothing after it is read"
        yield _element(line, number, b"", f"not JSON: {at}: {error}{rest}")


def _element(line: int, number: int, raw: bytes, error: str = "") -> Value:
    return Value(line, number, raw, error, f"element {number}: ")


def _place(begins: tuple[int, int], text: str) -> str:
    """Where a text ends that begins at a line and a column, told as both."""
    line, column = _moved(*begins, text)
    return f"line {line}, column {column}"


def _moved(line: int, column: int, text: str) -> tuple[int, int]:
    """A line and a column behind a text, which has a character for each of its bytes."""
    if breaks := text.count("\n"):
        line, column, text = line + breaks, 1, text[text.rindex("\n") + 1 :]
    return line, column + len(text.encode(_BYTES).decode(errors="replace"))


def _signature_of(begins: str) -> re.Pattern[str]:
    """How an element begins: its brackets and its first key, whatever space is between them."""
    return re.compile(r"\s*".join(re.escape(one) for one in _TOKEN.findall(begins)))


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return jsonvalue.members(pairs)
    except UsageError as error:
        return Doubled(error, pairs)


class _Text:
    """The text of a file that is still ``ahead``, as far as it is in sight, from ``line`` on."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.ahead = ""
        self.line = self.column = 1
        self._read = read

    def drop(self, size: int) -> str:
        """Leave so much behind."""
        left, self.ahead = self.ahead[:size], self.ahead[size:]
        self.line, self.column = _moved(self.line, self.column, left)
        return left

    def place(self, size: int) -> str:
        """Where so much of what is ahead ends."""
        return _place((self.line, self.column), self.ahead[:size])

    def next(self) -> str:
        """The next character, white space left behind; "" at the end."""
        while True:
            found = _INK.search(self.ahead)
            if at := found.start() if found else len(self.ahead):
                self.drop(at)
            if found or not self._grow():
                return self.ahead[:1]

    def value_size(self, begins: str) -> tuple[int, str]:
        """How long the value ahead is, or where it is none and why.

        What stands before the next text that ``begins`` so mostly is the value: it is quickly seen.
        """
        end = self.ahead.find(begins, 1) if begins else -1
        if begins and end < 0 and self._grow():
            end = self.ahead.find(begins, 1)
        if end > 0:
            value = self.ahead[:end].rstrip(_SPACE + ",")
            with suppress(ValueError, RecursionError):
                _is_value(value.encode(_BYTES))
                return len(value), ""
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
