"""A file or the standard input, read piece by piece within bounds: its lines, or its elements."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Final, Literal, Self, cast

from refold.conversation.importers.json_array import CHUNK_BYTES, VALUE_BYTES_MAX, Value, elements

STDIN: Final = "-"
START_BYTES: Final = 1024 * 1024
"""How far it is looked ahead to see what an input is."""
_SUFFIX: Final = re.compile(r"\.(json|jsonl|ndjson)$", re.IGNORECASE)
_BOM: Final = b"\xef\xbb\xbf"
_COMPRESSED: Final = re.compile(
    rb"(?P<gzip>\x1f\x8b)|(?P<zstd>\x28\xb5\x2f\xfd)|(?P<bzip2>BZh)|(?P<xz>\xfd7zXZ\x00)|(?P<zip>PK\x03\x04)"
)


class Unreadable(Exception):
    """An input of which nothing can be read."""


class Source:
    """An input with a name, the ``stem`` of which serves to name streams.

    ``layout`` is what it seems to hold: a value on each of its ``lines``, an ``array``, or
    ``one`` value. ``head`` is its start. Raises :class:`Unreadable` for what is empty, compressed
    or no text.
    """

    def __init__(self, name: str, reader: BufferedReader) -> None:
        path = Path(name).resolve()
        self.name = name
        self.stem = "stdin" if name == STDIN else named(_SUFFIX.sub("", path.name))
        self.read_bytes = 0
        self._reader = reader
        start = reader.peek(START_BYTES)[:START_BYTES]
        if not start:
            raise Unreadable("the file is empty")
        if found := _COMPRESSED.match(start):
            raise Unreadable(f"the file is compressed ({found.lastgroup}): unpack it first")
        if b"\x00" in start[:4096]:
            raise Unreadable("the file is not UTF-8 text")
        if start.startswith(_BOM):
            self._read(len(_BOM))
        self.head = start.removeprefix(_BOM).lstrip()
        self.layout = _layout(self.head, path.suffix.lower())

    @classmethod
    @contextmanager
    def opened(cls, name: str) -> Iterator[Self]:
        """A file by its path, or ``-`` for the standard input; :class:`Unreadable` says why not."""
        try:
            with _stdin() if name == STDIN else Path(name).open("rb", START_BYTES) as reader:
                yield cls(name, cast("BufferedReader", reader))
        except FileNotFoundError as error:
            raise Unreadable("there is no such file") from error
        except IsADirectoryError as error:
            raise Unreadable("this is a directory: name the files in it") from error
        except OSError as error:
            raise Unreadable(f"the file cannot be read: {error.strerror or error}") from error

    def start(self) -> Self:
        """The head of it, as a source of its own."""
        return type(self)(self.name, _buffered(self.head))

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
            elif raw := raw.strip():
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


def _stdin() -> AbstractContextManager[BufferedReader]:
    """The standard input, left open; what stands in for it without a buffer is in memory."""
    stdin = sys.stdin.buffer
    return nullcontext(stdin) if isinstance(stdin, BufferedReader) else _buffered(stdin.read())


def _buffered(content: bytes) -> BufferedReader:
    return BufferedReader(cast("RawIOBase", BytesIO(content)))


def size_bytes(names: list[str]) -> int | None:
    """How many bytes these inputs hold together; None where one has no known size."""
    with suppress(OSError):  # It is told when it is opened.
        if all(name != STDIN and Path(name).is_file() for name in names):
            return sum(Path(name).stat().st_size for name in names)
    return None


def named(text: str) -> str:
    """Text from a path as part of a stream's name: without spaces, ``~`` and the like."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "unnamed"


def _layout(head: bytes, suffix: str) -> Literal["lines", "array", "one"]:
    """How a source is laid out, by its first two lines, and by its name where they do not say."""
    first, line_break, rest = head.partition(b"\n")
    first, second = first.strip(), rest.lstrip().partition(b"\n")[0].strip()
    if suffix == ".json":
        is_document = not (second and _is_whole(first))
    else:
        # The first line of a document leaves it open, and the second is but a part of it.
        is_open = first[:1] in (b"[", b"{") and first[-1:] in (b"[", b"{", b",")
        is_document = bool(line_break) and is_open and (first == b"[" or not _is_whole(second))
    if not is_document or suffix in (".jsonl", ".ndjson"):
        return "lines"
    return "array" if first.startswith(b"[") else "one"


def _is_whole(line: bytes) -> bool:
    return line[:1] + line[-1:] in (b"{}", b"[]")
