"""The file of an archived month: an SQLite database of compressed blocks, with where what is.

A block holds appends that stood side by side in the log, of all streams, as a zstd frame over
MessagePack. The index says which positions it holds, and which versions of which stream. Where the
blocks themselves are kept otherwise, such as in Parquet, only the index is here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import apsw
import msgspec

from refold.archive.manifest import damaged
from refold.archive.month import ArchivedAppend, ArchivedRun
from refold.core.event import category_of

BLOCK_BYTES: Final = 1024 * 1024
"""A block ends with the append with which its text has come to so much."""
BLOCK_BYTES_MAX: Final = 1 << 30
LEVEL: Final = 9
BLOCKS_KEPT_MAX: Final = 4
"""In memory, some MiB each: who reads streams one after the other finds many in one."""
_SCHEMA: Final = """
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, frame BLOB
) STRICT;
CREATE INDEX blocks_last ON blocks (tenant, last);
CREATE TABLE streams (
    tenant INTEGER NOT NULL, name TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    block INTEGER NOT NULL, PRIMARY KEY (tenant, name, first)
) STRICT, WITHOUT ROWID;
"""
_OF_STREAM: Final = """
SELECT block FROM streams
WHERE tenant = ? AND name = ? AND first <= ? AND last >= ? ORDER BY first"""
_OF_LOG: Final = """
SELECT number FROM blocks WHERE tenant = ? AND last > ? AND first <= ? ORDER BY last"""
Block = Sequence[ArchivedAppend]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[ArchivedAppend]).decode


def blocks_of(appends: Iterable[ArchivedAppend]) -> Iterator[list[ArchivedAppend]]:
    """Appends by tenant and position, so many at a time."""
    block: list[ArchivedAppend] = []
    size_bytes = 0
    for one in appends:
        if block and (size_bytes >= BLOCK_BYTES or one.tenant != block[0].tenant):
            yield block
            block, size_bytes = [], 0
        block.append(one)
        size_bytes += len(one.body) + len(one.metadata or "")
    if block:
        yield block


def framed(block: Block) -> bytes:
    """A block as a zstd frame, with a checksum of what is in it."""
    parameter = zstd().CompressionParameter
    options = {parameter.compression_level: LEVEL, parameter.checksum_flag: 1}
    return bytes(zstd().compress(_encode(block), options=options))


def write_index(
    path: Path, appends: Iterable[ArchivedAppend], kept: Callable[[Block], bytes | None]
) -> list[ArchivedRun]:
    """Write the index of appends; ``kept`` says what of a block stands in it. Their runs."""
    runs: list[ArchivedRun] = []
    connection = apsw.Connection(str(path))
    try:
        # What counts is synced as a whole, and what does not is made again.
        connection.pragma("journal_mode", "off")
        connection.pragma("synchronous", "off")
        connection.execute(_SCHEMA)
        with connection:
            for number, block in enumerate(blocks_of(appends)):
                tenant, first, last = block[0].tenant, block[0].position, block[-1].last
                row = number, tenant, first, last, kept(block)
                connection.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", row)
                spans = [(tenant, name, *span, number) for name, span in _spans(block)]
                connection.executemany("INSERT INTO streams VALUES (?, ?, ?, ?, ?)", spans)
                _lengthened(runs, block)
    finally:
        connection.close()
    return runs


def _spans(block: Block) -> Iterable[tuple[str, tuple[int, int]]]:
    """Which versions of which stream a block holds."""
    spans: dict[str, tuple[int, int]] = {}
    for one in block:
        first, _ = spans.get(one.stream, (one.version, 0))
        spans[one.stream] = first, one.version + one.count - 1
    return spans.items()


def _lengthened(runs: list[ArchivedRun], block: Block) -> None:
    """Add appends to runs, of which none begins where the one before it ends."""
    for one in block:
        before = runs[-1] if runs else None
        if before and (before.tenant, before.last + 1) == (one.tenant, one.position):
            runs[-1] = ArchivedRun(one.tenant, before.first, one.last, before.appends + 1)
        else:
            runs.append(ArchivedRun(one.tenant, one.position, one.last, 1))


class MonthIndex:
    """The appends of an archived month, by position and by stream. For any thread."""

    def __init__(self, path: Path, block_at: Callable[[int], Block] | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        # It is never written again: no lock is taken, and nothing is made beside it.
        place = f"file:{quote(str(path.absolute()))}?immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        self._connection = apsw.Connection(place, flags=flags)
        self._block = lru_cache(BLOCKS_KEPT_MAX)(block_at or self._unpacked)

    def appends(self) -> Iterator[ArchivedAppend]:
        """All of them, by tenant and position."""
        for number in self._asked("SELECT number FROM blocks ORDER BY number"):
            yield from self._block(number)

    def of_stream(
        self, tenant: int, stream: str, *, first: int, last: int
    ) -> Iterator[ArchivedAppend]:
        """The appends of a stream that overlap two versions, in order."""
        for number in self._asked(_OF_STREAM, tenant, stream, last, first):
            for one in self._block(number):
                if one.stream == stream and one.version <= last and one.version + one.count > first:
                    yield one

    def log(
        self,
        tenant: int,
        *,
        after: int,
        last: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
    ) -> Iterator[ArchivedAppend]:
        """The appends that hold positions over one and begin by another, narrowed, in order."""
        of_types = None if types is None else set(types)
        for number in self._asked(_OF_LOG, tenant, after, last):
            for one in self._block(number):
                is_meant = categories is None or category_of(one.stream) in categories
                if of_types is not None:
                    is_meant = is_meant and not of_types.isdisjoint(one.types)
                if is_meant and after < one.last and one.position <= last:
                    yield one

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _asked(self, sql: str, *values: Any) -> list[int]:
        try:
            with self._lock:
                return [number for (number,) in self._connection.execute(sql, values)]
        except apsw.Error as error:
            raise damaged(self.path, str(error)) from error

    def _unpacked(self, number: int) -> Block:
        try:
            with self._lock:
                found = self._connection.execute(
                    "SELECT frame FROM blocks WHERE number = ?", (number,)
                ).get
            size = zstd().get_frame_info(found).decompressed_size
            if size is None or size > BLOCK_BYTES_MAX:
                raise ValueError(f"a block that says {size} bytes")
            return _decode(zstd().decompress(found))
        except (apsw.Error, zstd().ZstdError, msgspec.DecodeError, ValueError, TypeError) as error:
            raise damaged(self.path, str(error)) from error


@cache
def zstd() -> Any:
    """The standard library's zstd where Python has it, else its backport; imported when needed."""
    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")
