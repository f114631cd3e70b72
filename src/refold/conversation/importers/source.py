"""A file or the standard input, read piece by piece within bounds."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Final, NamedTuple, Self, cast

from refold.conversation.importers.json_array import Element, Unreadable, elements

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""The longest line, and the largest document or element, that is read."""
STDIN: Final = "-"
_SKIP_BYTES: Final = 1024 * 1024
_START_BYTES: Final = 1024 * 1024
_SUFFIX: Final = re.compile(r"\.(json|jsonl|ndjson)$", re.IGNORECASE)
_BOM: Final = b"\xef\xbb\xbf"
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
}


class Line(NamedTuple):
    """A line that is not blank, its number from 1; ``raw`` is None for one over the limit."""

    number: int
    raw: bytes | None


class Source:
    """An input with a name; ``stem`` and ``folder`` of its path serve to name streams."""

    def __init__(self, name: str, reader: BufferedReader) -> None:
        path = Path(name).resolve()
        self.name = name
        self.stem = "stdin" if name == STDIN else named(_SUFFIX.sub("", path.name))
        self.folder = "" if name == STDIN else named(path.parent.name)
        self.is_document = path.suffix.lower() == ".json"
        self.read_bytes = 0
        self._start = b""
        self._reader = reader

    def lines(self) -> Iterator[Line]:
        """The lines that are not blank."""
        number = 0
        while raw := self._reader.readline(LINE_BYTES_MAX + 1):
            number += 1
            self.read_bytes += len(raw)
            if len(raw) > LINE_BYTES_MAX:
                self._skip_line(raw)
                yield Line(number, None)
            elif raw := raw.strip():
                yield Line(number, raw)

    def elements(self) -> Iterator[Element]:
        """The elements of one JSON array; :class:`Unreadable` when that is not what it holds."""
        return elements(self._read)

    def start(self) -> Self:
        """The first bytes of it, as a source of their own."""
        return type(self)(self.name, BufferedReader(cast("RawIOBase", BytesIO(self._start))))

    def document(self) -> bytes:
        """The whole, as one piece."""
        raw = self._read(LINE_BYTES_MAX + 1)
        if len(raw) > LINE_BYTES_MAX:
            raise Unreadable(f"the document is over {LINE_BYTES_MAX} bytes: use JSON lines")
        return raw

    def check(self) -> None:
        """Refuse what is empty, compressed or not text; pass over a byte order mark."""
        self._start = self._reader.peek(_START_BYTES)[:_START_BYTES]
        head = self._start[:4096]
        if not head:
            raise Unreadable("the file is empty")
        for magic, kind in _COMPRESSED.items():
            if head.startswith(magic):
                raise Unreadable(f"the file is compressed ({kind}): unpack it first")
        if b"\x00" in head:
            raise Unreadable("the file is not UTF-8 text")
        if head.startswith(_BOM):
            self.read_bytes += len(self._reader.read(len(_BOM)))

    def _read(self, size_bytes: int) -> bytes:
        raw = self._reader.read(size_bytes)
        self.read_bytes += len(raw)
        return raw

    def _skip_line(self, raw: bytes) -> None:
        while raw and not raw.endswith(b"\n"):
            raw = self._reader.readline(_SKIP_BYTES)
            self.read_bytes += len(raw)


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A source by its path, or ``-`` for the standard input; :class:`Unreadable` says why not."""
    try:
        if name == STDIN:
            with _stdin() as reader:
                yield _checked(name, reader)
            return
        with Path(name).open("rb", _START_BYTES) as reader:
            yield _checked(name, cast("BufferedReader", reader))
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
    total = 0
    for name in names:
        try:
            if name == STDIN or not Path(name).is_file():
                return None
            total += Path(name).stat().st_size
        except OSError:
            return None
    return total


def named(text: str) -> str:
    """Text from a path as part of a stream's name: without spaces, ``~`` and the like."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "unnamed"


def _checked(name: str, reader: BufferedReader) -> Source:
    source = Source(name, reader)
    source.check()
    return source
