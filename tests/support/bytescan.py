"""Every byte of whatever keeps a log, looked through for texts that must be gone.

A text is looked for as it stands, and as it stands within JSON strings, and within JSON strings
within those. What is compressed (zstd and gzip frames, members of zip files) is looked into too,
wherever it begins; so are the values of SQLite files, which may be spread over pages.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import apsw

from refold.backends.sqlite.compression import zstd

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
GZIP_MAGIC: Final = b"\x1f\x8b\x08"
PIECE_BYTES: Final = 512
FRAME_BYTES_MAX: Final = 1 << 24


class ByteScan:
    """Looks for texts; ``dictionaries`` are those that frames may be packed with."""

    def __init__(self, texts: Iterable[str], dictionaries: Iterable[bytes] = ()) -> None:
        self._forms = {text: _forms(text) for text in texts}
        self._dictionaries = [None, *map(zstd().ZstdDict, dictionaries)]

    def in_bytes(self, data: bytes) -> set[str]:
        """The texts that some bytes hold, plainly or packed."""
        found = self._plain(data)
        for text in self._unpacked(data):
            found |= self._plain(text)
        return found

    def in_file(self, path: Path) -> set[str]:
        """The texts that a file holds."""
        data = path.read_bytes()
        found = self.in_bytes(data)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as zipped:
                for name in zipped.namelist():
                    found |= self.in_bytes(name.encode()) | self.in_bytes(zipped.read(name))
        if data.startswith(b"SQLite format 3\0"):
            found |= self._in_values(path)
        return found

    def in_folder(self, folder: Path) -> dict[str, set[str]]:
        """The texts of each file of a folder that holds any, by its path there."""
        found: dict[str, set[str]] = {}
        for path in sorted(folder.rglob("*")):
            with suppress(FileNotFoundError):  # A server removes files meanwhile.
                if path.is_file() and (texts := self.in_file(path)):
                    found[str(path.relative_to(folder))] = texts
        return found

    def _plain(self, data: bytes) -> set[str]:
        return {text for text, forms in self._forms.items() if any(one in data for one in forms)}

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        for at in _places(data, ZSTD_MAGIC):
            for dictionary in self._dictionaries:
                yield b"".join(_zstd_pieces(data[at:], dictionary))
        for at in _places(data, GZIP_MAGIC):
            with suppress(zlib.error):
                yield zlib.decompressobj(31).decompress(data[at:], FRAME_BYTES_MAX)

    def _in_values(self, path: Path) -> set[str]:
        """The texts in the values of the tables of a SQLite file."""
        found: set[str] = set()
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            sql = "SELECT name FROM sqlite_schema WHERE type = 'table'"
            names = [str(name) for (name,) in connection.execute(sql)]
            for name in names:
                with suppress(apsw.SQLError):  # A virtual table whose words are in others.
                    rows: Any = connection.execute(f'SELECT * FROM "{name}"')
                    for row in rows:
                        for value in row:
                            if isinstance(value, str | bytes):
                                raw = value.encode() if isinstance(value, str) else value
                                found |= self.in_bytes(raw)
        return found


def dictionaries_of(path: Path) -> list[bytes]:
    """The dictionaries that a log in a SQLite file packs with."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        rows: Any = connection.execute("SELECT bytes FROM dictionaries")
        return [bytes(found) for (found,) in rows]


def _forms(text: str) -> Sequence[bytes]:
    """The bytes of a text, as it is and as it stands in JSON strings, in ASCII or not."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    within = json.dumps(plain, ensure_ascii=False)[1:-1]
    ascii_only = json.dumps(text)[1:-1]
    forms = (text, plain, within, ascii_only, json.dumps(ascii_only)[1:-1])
    return sorted({form.encode() for form in forms} | {text.encode("utf-16-le")})


def _places(data: bytes, magic: bytes) -> Iterator[int]:
    at = data.find(magic)
    while at >= 0:
        yield at
        at = data.find(magic, at + 1)


def _zstd_pieces(data: bytes, dictionary: Any) -> Iterator[bytes]:
    """What can be read of a frame, up to where it is damaged or ends."""
    decompressor = zstd().ZstdDecompressor(zstd_dict=dictionary)
    with suppress(zstd().ZstdError, EOFError):
        for at in range(0, min(len(data), FRAME_BYTES_MAX), PIECE_BYTES):
            if decompressor.eof:
                return
            yield decompressor.decompress(data[at : at + PIECE_BYTES])
