"""A file or the standard input, read piece by piece within bounds: its lines, or its elements."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from io import BufferedReader, BytesIO, RawIOBase
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import IO, Any, Final, Literal, Self

from refold.conversation.importers.json_array import CHUNK_BYTES, VALUE_BYTES_MAX, Value, elements

VALUES_MAX: Final = 50
"""How many lines or elements are looked at."""

Layout = Literal["lines", "array", "one"]

# A string that does not end goes on to the end of the text.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_CLOSES: Final = {"{": "}", "[": "]"}
# As lenient as can be: what is wrong with a value, its reader says.
_DECODE: Final = json.JSONDecoder(parse_int=float, strict=False).raw_decode

STDIN: Final = "-"
START_BYTES: Final = 1024 * 1024
"""How far it is looked ahead to see what an input is."""
_SUFFIX: Final = re.compile(r"\.(json|jsonl|ndjson)$", re.IGNORECASE)
_NO_NAMES: Final = frozenset({"results", "result", "simulations", "output", "log", "data"})
_BOM: Final = b"\xef\xbb\xbf"
_UNPACK: Final = "unpack it first, as with `{} {{}} | refold import -`"
_NO_TEXT: Final = [
    (kind, re.compile(marks), advice)
    for kind, marks, advice in (
        ("compressed (gzip)", rb"\x1f\x8b", _UNPACK.format("zcat")),
        ("compressed (zstd)", rb"\x28\xb5\x2f\xfd", _UNPACK.format("zstdcat")),
        ("compressed (bzip2)", rb"BZh", _UNPACK.format("bzcat")),
        ("compressed (xz)", rb"\xfd7zXZ\x00", _UNPACK.format("xzcat")),
        ("compressed (zip)", rb"PK\x03\x04", _UNPACK.format("unzip -p")),
        ("a SQLite database", rb"SQLite format 3\x00", "give its table: `refold import sql {}`"),
        ("UTF-16, not UTF-8 text", rb"\xff\xfe|\xfe\xff", "save it as UTF-8"),
        ("bytes, not UTF-8 text", rb"(?s).{,4095}\x00", "give the JSON that it was made from"),
    )
]
"""What is no text: how it is called, how it begins, and what to do with a file of a name."""


class Unreadable(Exception):
    """An input of which nothing can be read."""


class ImportSource:
    """An input with a name, the ``stem`` of which serves to name streams.

    ``layout`` is what it seems to hold: a value on each of its ``lines``, an ``array``, or
    ``one`` value. ``head`` is its start. Raises :class:`Unreadable` for what is empty, compressed
    or no text.
    """

    def __init__(self, name: str, reader: IO[bytes]) -> None:
        path = Path(name).resolve()
        self.name = name
        self.stem = "stdin" if name == STDIN else named(_SUFFIX.sub("", path.name))
        self.read_bytes = 0
        start = reader.read(START_BYTES)
        self._reader = BufferedReader(_Begun(start, reader), CHUNK_BYTES)
        if not start:
            raise Unreadable("the file is empty")
        for kind, marks, advice in _NO_TEXT:
            if marks.match(start):
                raise Unreadable(f"the file is {kind}: {advice.format(quote(name))}")
        if start.startswith(_BOM):
            self._read(len(_BOM))
        self.head = start.removeprefix(_BOM).lstrip()
        is_cut = len(start) == START_BYTES
        self.layout = _layout(self.head, path.suffix.lower(), is_cut=is_cut)

    @classmethod
    @contextmanager
    def opened(cls, name: str) -> Iterator[Self]:
        """A file by its path, or ``-`` for the standard input; :class:`Unreadable` says why not."""
        try:
            stdin = nullcontext(sys.stdin.buffer)  # Left open.
            with stdin if name == STDIN else Path(name).open("rb", START_BYTES) as reader:
                yield cls(name, reader)
        except FileNotFoundError as error:
            raise Unreadable("there is no such file") from error
        except IsADirectoryError as error:
            raise Unreadable("this is a directory: name the files in it") from error
        except OSError as error:
            raise Unreadable(f"the file cannot be read: {error.strerror or error}") from error

    def start(self) -> Self:
        """The head of it, as a source of its own."""
        return type(self)(self.name, BytesIO(self.head))

    @cached_property
    def sample(self) -> list[Any]:
        """The first values, decoded, at most 50, the last as far as it is in sight."""
        return first_values(self.head, self.layout)

    @property
    def broken(self) -> str:
        """Why it is no JSON, as far as it is in sight; "" where it is, or nothing says so."""
        if not self.head:
            return "the file is empty"
        # Of what is cut a first line may be whole.
        count = None if self.is_all_in_sight else int(self.layout == "lines")
        try:
            for value in islice(self.start().values(), count):
                value.read()
        except (ValueError, RecursionError) as error:
            return str(error)
        return ""

    @property
    def run(self) -> str:
        """The run that a file of results is of, by its name, or its folder's where it has none."""
        is_named = self.name == STDIN or self.stem.lower() not in _NO_NAMES
        return self.stem if is_named else named(Path(self.name).resolve().parent.name)

    @property
    def is_all_in_sight(self) -> bool:
        """Whether ``head`` is all that there is."""
        return len(self.head) < START_BYTES - len(_BOM)

    def values(self) -> Iterator[Value]:
        """The lines, the elements, or the one value, as the source is laid out."""
        if self.layout == "array":
            return self.elements()
        return self.lines() if self.layout == "lines" else self.whole()

    def lines(self) -> Iterator[Value]:
        """The lines that are not blank."""
        number = 0
        while raw := self._reader.readline(VALUE_BYTES_MAX + 1):
            number += 1
            self.read_bytes += len(raw)
            if len(raw) > VALUE_BYTES_MAX:
                while raw and not raw.endswith(b"\n"):
                    raw = self._reader.readline(CHUNK_BYTES)
                    self.read_bytes += len(raw)
                yield Value(number, number, b"", f"the line is over {VALUE_BYTES_MAX} bytes")
            elif raw := raw.rstrip():
                yield Value(number, number, raw)

    def elements(self) -> Iterator[Value]:
        """The elements of a JSON array; one that is broken where it holds none."""
        return elements(self._read)

    def whole(self) -> Iterator[Value]:
        """The one value that is all of it; none where all is blank."""
        raw = self._read(VALUE_BYTES_MAX + 1)
        if len(raw) > VALUE_BYTES_MAX:
            over = f"the document is over {VALUE_BYTES_MAX} bytes: use JSON lines"
            yield Value(1, 1, b"", over)
        elif raw.strip():
            yield Value(1, 1, raw)

    def _read(self, size_bytes: int) -> bytes:
        raw = self._reader.read(size_bytes)
        self.read_bytes += len(raw)
        return raw


class _Begun(RawIOBase):
    """A file of which the start has been read already, from that start on."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = BytesIO(start), rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        size = self._start.readinto(buffer)
        if not size:
            more = self._rest.read(len(buffer))
            size = len(more)
            buffer[:size] = more
        return size


def size_bytes(names: list[str]) -> int | None:
    """How many bytes these inputs hold together; None where one has no known size."""
    with suppress(OSError):  # It is told when it is opened.
        if all(name != STDIN and Path(name).is_file() for name in names):
            return sum(Path(name).stat().st_size for name in names)
    return None


def names(text: str) -> frozenset[str]:
    """The words of a text, as the names of fields or kinds."""
    return frozenset(text.split())


def named(text: str) -> str:
    """Text from a path as part of a stream's name: without spaces, ``~`` and the like."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "unnamed"


def _layout(head: bytes, suffix: str, *, is_cut: bool) -> Layout:
    """How a source is laid out, by its first value, and by its first lines where that is cut.

    A file that is called one of lines is no document where it is broken.
    """
    is_lines = suffix in (".jsonl", ".ndjson")
    if span := value_span(head):
        lines, follow_bytes = span
        # One line in a file of lines is a line.
        is_document = lines > 1 or (not follow_bytes and not is_lines)
    else:
        is_document = (is_cut or not is_lines) and _is_left_open(head, suffix)
    if not is_document:
        return "lines"
    return "array" if head.startswith(b"[") else "one"


def _is_left_open(head: bytes, suffix: str) -> bool:
    """Whether a value that does not end in sight, or is broken, goes on after its first line."""
    first, line_break, rest = head.partition(b"\n")
    first, second = first.strip(), rest.lstrip().partition(b"\n")[0].strip()
    if suffix == ".json":
        return not (second and _is_whole(first))
    # The first line of a document leaves it open, and the second is but a part of it.
    is_open = first[:1] in (b"[", b"{") and first[-1:] in (b"[", b"{", b",")
    return bool(line_break) and is_open and (first == b"[" or not _is_whole(second))


def _is_whole(line: bytes) -> bool:
    return line[:1] + line[-1:] in (b"{}", b"[]")


# -- the first values, however early the text is cut ---------------------------------------------


def first_values(head: bytes, layout: Layout) -> list[Any]:
    """The first lines, the first elements, or the one document in the start of an input.

    A list that is all there is gives its elements.

    What is cut or broken is left out, or closed where it stops. Nothing for what is no JSON.
    """
    text = head.decode(errors="replace")
    if layout == "array":
        return _first_elements(text)
    if layout == "lines":
        lines = [line for line in text.split("\n", VALUES_MAX)[:VALUES_MAX] if line.strip()]
        values = [value for line in lines for value in _decoded(line)]
    else:
        values = _decoded(text)
    is_list = len(values) == 1 and isinstance(values[0], list)
    return values[0][:VALUES_MAX] if is_list else values


def _first_elements(array: str) -> list[Any]:
    """The first elements of an array, the last as far as it is in sight."""
    found: list[Any] = []
    at, last = 1, len(array)
    with suppress(ValueError, RecursionError):
        while len(found) < VALUES_MAX:
            at = next((n for n in range(at, last) if array[n] not in " \t\r\n,"), last)
            value, at = _DECODE(array, at)
            found.append(value)
    return found if len(found) == VALUES_MAX else [*found, *_decoded(array[at:])]


def value_span(head: bytes) -> tuple[int, int] | None:
    """How many lines the first value of a text goes over, and the size of what follows it.

    None where the text ends before it, or where it is broken.
    """
    text = head.decode(errors="replace")
    try:
        end = _DECODE(text)[1]
    except (ValueError, RecursionError):
        return None
    return text.count("\n", 0, end) + 1, len(text[end:].strip())


def _decoded(text: str) -> list[Any]:
    """The value that a text begins with, in a list; none where it is no object and no array."""
    for _ in range(2):
        try:
            value, _ = _DECODE(text.lstrip())
        except json.JSONDecodeError as broken:
            text = _closed(text.lstrip()[: broken.pos])
        except (ValueError, RecursionError):
            return []
        else:
            return [value] if isinstance(value, dict | list) else []
    return []


def _closed(text: str) -> str:
    """JSON that is cut, up to its last comma, with what it leaves open closed."""
    is_open: list[str] = []
    cut = ""
    end = 0
    for found in _TOKEN.finditer(text):
        match found[0]:
            case "{" | "[":
                is_open.append(_CLOSES[found[0]])
            case "}" | "]":
                del is_open[-1:]
            case ",":
                end, cut = found.start(), "".join(reversed(is_open))
    return text[:end] + cut
