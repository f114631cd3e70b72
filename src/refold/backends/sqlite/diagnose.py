"""What `refold doctor` looks at in a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from refold.backends.sqlite.file import SCHEMA_VERSION, rows_of
from refold.backends.sqlite.frames import Frames
from refold.backends.sqlite.queries import LOG_HEAD
from refold.errors import Corrupt
from refold.ports import Check

_BAD_FROM: Final = (3, 7, 0)
_BAD_TO: Final = (3, 51, 2)
"""SQLite versions that can corrupt a WAL database when its log is reset (fixed in 3.51.3)."""

_GAP_IN_STREAM: Final = """
SELECT name, version FROM (
    SELECT stream, version, lag(version + count) OVER (PARTITION BY stream ORDER BY version) AS due
    FROM (
        SELECT stream, version, count FROM log UNION ALL
        SELECT stream, version, count FROM segments
    )
) JOIN streams ON streams.id = stream
WHERE version != ifnull(due, ifnull(fork_version + 1, 0)) LIMIT 1"""
_SEGMENTS: Final = """
SELECT name, position, version, count, recorded_at, occurred_from, occurred_to, frame,
    dictionary, body_bytes
FROM segments JOIN streams ON streams.id = stream"""
_COUNTS: Final = """
SELECT ifnull(sum(count), 0) FROM log UNION ALL SELECT ifnull(sum(count), 0) FROM segments"""
_WRONG_COUNT: Final = """
SELECT position FROM log WHERE NOT json_valid(body) OR json_array_length(body) != count LIMIT 1"""
_CLOCK_BACK: Final = """
SELECT position FROM (
    SELECT position, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before FROM log
) WHERE recorded_at < before LIMIT 1"""


def checks(connection: apsw.Connection, path: Path, frames: Frames) -> Iterator[Check]:
    """One line a thing looked at; reads the whole file."""
    yield _sqlite_version()
    yield _integrity(connection)
    version = connection.pragma("user_version")
    yield Check("schema", version == SCHEMA_VERSION, f"{version}, this refold: {SCHEMA_VERSION}")
    journal = connection.pragma("journal_mode")
    yield Check("journal mode", journal == "wal", str(journal))
    yield _positions(connection, frames)
    yield _none(connection, "versions without gaps", _GAP_IN_STREAM, "a gap before")
    yield _none(connection, "bodies", _WRONG_COUNT, "not the events that it says, at position")
    yield _none(connection, "clock", _CLOCK_BACK, "recorded_at goes back at position")
    (hot,), (packed,) = rows_of(connection, _COUNTS)
    yield Check(
        "size", True, f"{hot + packed} events, {packed} of them packed, {_size_bytes(path)} bytes"
    )


def _sqlite_version() -> Check:
    text = apsw.sqlite_lib_version()
    version = tuple(int(part) for part in text.split("."))
    good = not _BAD_FROM <= version <= _BAD_TO
    return Check("SQLite", good, text if good else f"{text} can corrupt WAL files: upgrade apsw")


def _integrity(connection: apsw.Connection) -> Check:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    return Check("integrity", found == ["ok"], "; ".join(found))


def _positions(connection: apsw.Connection, frames: Frames) -> Check:
    """Every position from 1 to the head stands once, in the log or in a segment."""
    name = "positions without gaps"
    head = sum(last for (last,) in rows_of(connection, LOG_HEAD))
    seen = bytearray(head + 1)
    try:
        for start, count in _places(connection, frames):
            if any(seen[start : start + count]) or start + count - 1 > head:
                return Check(name, False, f"position {start} stands twice or after the head")
            seen[start : start + count] = b"\1" * count
    except Corrupt as error:
        return Check(name, False, error.message)
    gap = seen.find(0, 1)
    return Check(name, gap < 0, "checked" if gap < 0 else f"position {gap} is missing")


def _places(connection: apsw.Connection, frames: Frames) -> Iterator[tuple[int, int]]:
    hot: Any = connection.execute("SELECT position, count FROM log")
    yield from hot
    packed: Any = connection.execute(_SEGMENTS)
    for stream, *values in packed:
        for part in frames.unpacked(stream, *values).parts():
            yield part.position, part.event_count


def _none(connection: apsw.Connection, name: str, sql: str, wrong: str) -> Check:
    found = rows_of(connection, sql)
    detail = f"{wrong} {'@'.join(str(part) for part in found[0])}" if found else "checked"
    return Check(name, not found, detail)


def _size_bytes(path: Path) -> int:
    wal = path.with_name(path.name + "-wal")
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
