"""A file or the standard input, read piece by piece within bounds: its lines, or its elements."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Final, Literal, Self, cast

import msgspec

from refold.conversation.importers.json_array import (
    CHUNK_BYTES,
    VALUE_BYTES_MAX,
    Unreadable,
    Value,
    elements,
)

STDIN: Final = "-"
_SUFFIX: Final = re.compile(r"\.(json|jsonl|ndjson)$", re.IGNORECASE)
_BOM: Final = b"\xef\xbb\xbf"
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
}


class Source:
    """An input with a name; ``stem`` and ``folder`` of its path serve to name streams.

    ``layout`` is what it seems to hold: a value a ``line``, an ``array``, or ``one`` value.
    """

    def __init__(self, name: str, reader: BufferedReader) -> None:
        path = Path(name).resolve()
        self.name = name
        self.stem = "stdin" if name == STDIN else _named(_SUFFIX.sub("", path.name))
        self.folder = "" if name == STDIN else _named(path.parent.name)
        self.read_bytes = 0
        self._reader = reader
        self._start = reader.peek(CHUNK_BYTES)[:CHUNK_BYTES].removeprefix(_BOM)
        self.layout = _layout(self._start.lstrip(), path.suffix.lower())

    def start(self) -> Self:
        """The first bytes of it, as a source of their own."""
        return type(self)(self.name, BufferedReader(cast("RawIOBase", BytesIO(self._start))))

    def check(self) -> None:
        """Refuse what is empty, compressed or not text; pass over a byte order mark."""
        head = self._reader.peek(CHUNK_BYTES)
        if not head:
            raise Unreadable("the file is empty")
        for magic, kind in _COMPRESSED.items():
            if head.startswith(magic):
                raise Unreadable(f"the file is compressed ({kind}): unpack it first")
        if b"\x00" in head[:4096]:
            raise Unreadable("the file is not UTF-8 text")
        if head.startswith(_BOM):
            self._read(len(_BOM))

    def values(self) -> Iterator[Value]:
        """The lines, the elements, or the one value, as the source is laid out."""
        match self.layout:
            case "lines":
                return self.lines()
            case "array":
                return self.elements()
        return self._whole()

    def lines(self) -> Iterator[Value]:
        """The lines that are not blank."""
        number = 0
        while raw := self._reader.readline(VALUE_BYTES_MAX + 1):
            number += 1
            self.read_bytes += len(raw)
            if len(raw) > VALUE_BYTES_MAX:
                self._skip_line(raw)
                yield Value(number, number, b"", f"the line is over {VALUE_BYTES_MAX} bytes")
            elif raw := raw.strip():
                yield Value(number, number, raw)

    def elements(self) -> Iterator[Value]:
        """The elements of a JSON array; :class:`Unreadable` when that is not what it holds."""
        return elements(self._read)

    def _whole(self) -> Iterator[Value]:
        raw = self._read(VALUE_BYTES_MAX + 1)
        if len(raw) > VALUE_BYTES_MAX:
            raise Unreadable(f"the document is over {VALUE_BYTES_MAX} bytes: use JSON lines")
        if raw.strip():
            yield Value(1, 1, raw)

    def _read(self, size_bytes: int) -> bytes:
        raw = self._reader.read(size_bytes)
        self.read_bytes += len(raw)
        return raw

    def _skip_line(self, raw: bytes) -> None:
        while raw and not raw.endswith(b"\n"):
            raw = self._reader.readline(CHUNK_BYTES)
            self.read_bytes += len(raw)


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A source by its path, or ``-`` for the standard input; :class:`Unreadable` says why not."""
    try:
        with _stdin() if name == STDIN else Path(name).open("rb", CHUNK_BYTES) as reader:
            source = Source(name, cast("BufferedReader", reader))
            source.check()
            yield source
    except FileNotFoundError as error:
        raise Unreadable("there is no such file") from error
    except IsADirectoryError as error:
        raise Unreadable("this is a directory: name the files in it") from error
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror or error}") from error


@contextmanager
def _stdin() -> Iterator[BufferedReader]:
    """The standard input, left open; what stands in for it may have no buffer to look ahead in."""
    if isinstance(sys.stdin.buffer, BufferedReader):
        yield sys.stdin.buffer
        return
    reader: BufferedReader = BufferedReader(cast("RawIOBase", sys.stdin.buffer))
    try:
        yield reader
    finally:
        reader.detach()


def size_bytes(names: list[str]) -> int | None:
    """How many bytes these inputs hold together; None where one has no known size."""
    try:
        if all(name != STDIN and Path(name).is_file() for name in names):
            return sum(Path(name).stat().st_size for name in names)
    except OSError:
        pass
    return None


def _named(text: str) -> str:
    """Text from a path as part of a stream's name: without spaces, ``~`` and the like."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "unnamed"


def _layout(head: bytes, suffix: str) -> Literal["lines", "array", "one"]:
    """How a source is laid out, by its first lines, and by its name where they do not say."""
    first, line_break, rest = head.partition(b"\n")
    first, second = first.strip(), rest.lstrip().partition(b"\n")[0].strip()
    if suffix in (".jsonl", ".ndjson"):
        is_document = False
    elif suffix == ".json":
        is_document = not (line_break and second and _is_json(first))
    else:
        # The first of a document's lines leaves it open, and the second is but a part of it.
        is_open = first[:1] in (b"[", b"{") and first[-1:] in (b"[", b"{", b",")
        is_document = bool(line_break) and is_open and (first == b"[" or not _is_json(second))
    if not is_document:
        return "lines"
    return "array" if first.startswith(b"[") else "one"


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True
