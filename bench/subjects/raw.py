"""The raw limit: apsw and nothing around it, on rows prepared beforehand; and the bare disk."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import Any, Final

import apsw

from bench.measuring import called
from bench.subject import Subject, serve
from bench.workload import TYPES

_SCHEMA: Final = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    type INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_version ON events (stream, version);
"""
_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
_ROWS_MAX: Final = 300_000
_BLOCK_BYTES: Final = 4_096
_BLOCKS: Final = 1_024


class Raw(Subject):
    """apsw on prepared rows, an event each, interned ids, one index, the same pragmas."""

    def prepare(self) -> None:
        columns = [
            (TYPES.index(e.type), 1_700_000_000_000_000, _json(e.metadata), _json(e.data))
            for e in self.events
        ]
        size = len(columns)
        self._rows = [(n + 1, 1, n, *columns[n % size]) for n in range(_ROWS_MAX)]

    def append(
        self, *, size: int, seconds: float, callers: int = 1, busy: int = 0
    ) -> dict[str, float]:
        """Commits of ``size`` prepared rows by one caller."""
        assert callers == 1 and busy == 0
        path = self._path("raw")
        connection = _connected(path)
        rows, numbers = self._rows, count()

        def one(*_: int) -> None:
            connection.execute(_INSERT, rows[next(numbers)])

        def many(*_: int) -> None:
            first = next(numbers) * size
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, rows[first : first + size])
            connection.execute("COMMIT")

        figures = called(one if size == 1 else many, callers=1, seconds=seconds)
        connection.close()
        self._remove(path)
        return self._events(figures, size)

    def sync(self, *, seconds: float, call: str) -> dict[str, float]:
        """Writes of 4 KiB a second, each followed by ``fsync`` or ``fdatasync``, to a made file."""
        path = self._path("sync")
        block = os.urandom(_BLOCK_BYTES)
        flush = {"fsync": os.fsync, "fdatasync": getattr(os, "fdatasync", os.fsync)}[call]
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.write(descriptor, bytes(_BLOCK_BYTES * _BLOCKS))
        os.fsync(descriptor)

        def work(_: int, n: int) -> None:
            os.pwrite(descriptor, block, n % _BLOCKS * _BLOCK_BYTES)
            flush(descriptor)

        figures = called(work, callers=1, seconds=seconds)
        os.close(descriptor)
        self._remove(path)
        return self._events(figures, 1)


def _connected(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute(_SCHEMA)
    return connection


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    serve(Raw)
