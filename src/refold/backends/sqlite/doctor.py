"""What `refold doctor` looks at in a SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import groupby
from operator import or_
from pathlib import Path
from typing import Any, Final

import apsw

from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.file import SCHEMA_VERSION, rows_of
from refold.backends.sqlite.queries import LOG_HEAD
from refold.backends.sqlite.tags import OTHER_TYPES_BIT, first_wrong
from refold.core.canonical import digest_of, is_of_command
from refold.core.event import category_of
from refold.core.recorded import decode_row
from refold.core.registry import Registry
from refold.core.stored import Row
from refold.errors import Corrupt, RefoldError
from refold.ports import Check

_BAD_FROM: Final = (3, 7, 0)
_BAD_TO: Final = (3, 51, 2)
"""SQLite versions that can corrupt a WAL database when its log is reset (fixed in 3.51.3)."""

CUT_SHORT: Final = (
    *(apsw.CorruptError, apsw.SQLError, RefoldError, MemoryError, RecursionError),
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
)
"""What damage can end a look with: a finding like any other."""
_ANY_KIND: Final = Registry()
"""What is stored is looked at as it is, whatever a program makes of it."""

_GAP_IN_STREAM: Final = """
SELECT name, version FROM (
    SELECT stream, version, lag(version + count) OVER (PARTITION BY stream ORDER BY version) AS due
    FROM (
        SELECT stream, version, count FROM log UNION ALL
        SELECT stream, version, count FROM segments
    )
) JOIN streams ON streams.id = stream
WHERE version != ifnull(due, ifnull(fork_version + 1, 0)) LIMIT 1"""
_APPENDS: Final = """
SELECT types, position, name, version, count, recorded_at, metadata, body, occurred_from,
    occurred_to
FROM log JOIN streams ON streams.id = stream"""
_SEGMENTS: Final = """
SELECT types, name, position, version, count, recorded_at, occurred_from, occurred_to, frame,
    dictionary, body_bytes
FROM segments JOIN streams ON streams.id = stream"""
_COUNTS: Final = """
SELECT ifnull(sum(count), 0) FROM log UNION ALL SELECT ifnull(sum(count), 0) FROM segments"""
_CLOCK_BACK: Final = """
SELECT position FROM (
    SELECT position, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before FROM log
) WHERE recorded_at < before LIMIT 1"""

_WITHOUT_EVENTS: Final = """
SELECT name FROM streams WHERE NOT EXISTS (SELECT 1 FROM log WHERE stream = streams.id)
    AND NOT EXISTS (SELECT 1 FROM segments WHERE stream = streams.id)"""
_WITHOUT_STREAM: Final = """
SELECT position FROM log WHERE stream NOT IN (SELECT id FROM streams)
UNION ALL SELECT position FROM segments WHERE stream NOT IN (SELECT id FROM streams)"""
_WRONGLY_PACKED: Final = """
SELECT name FROM streams WHERE packed_version IS NOT (
    SELECT version + count - 1 FROM segments WHERE stream = streams.id ORDER BY version DESC LIMIT 1
)"""
_WITHOUT_PARENT: Final = """
SELECT name FROM streams AS branch WHERE parent IS NOT NULL AND max(fork_version, 0) > ifnull((
    SELECT ifnull((
        SELECT version + count - 1 FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1
    ), packed_version) FROM streams WHERE name = branch.parent
), -1)"""

_PART: Final = "\x1f"
"""Stands between the key of an append and the number of its part, from the second part on."""

_KEYED: Final = """
SELECT key, digest, position, name, body, metadata FROM log
LEFT JOIN streams ON streams.id = stream WHERE key IS NOT NULL ORDER BY key"""
_PACKED_PARTS: Final = "SELECT 1 FROM keys WHERE key = ?1 OR key BETWEEN ?1 || ?2 AND ?1 || ?3"


def checks(connection: apsw.Connection, path: Path, frames: Frames) -> Iterator[Check]:
    """One line a thing looked at; reads the whole file, as it is at one moment."""
    try:
        connection.execute("BEGIN")  # Writers and compactions go on meanwhile.
        yield from _checks(connection, path, frames)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _checks(connection: apsw.Connection, path: Path, frames: Frames) -> Iterator[Check]:
    looks: dict[str, Callable[[], tuple[bool, str] | str | None]] = {
        "SQLite": _sqlite_version,
        "integrity": lambda: _integrity(connection),
        "schema": lambda: _schema(connection),
        "journal mode": lambda: _journal_mode(connection),
        "positions without gaps": lambda: _positions(connection, frames),
        "versions without gaps": lambda: _first(connection, _GAP_IN_STREAM, "a gap before"),
        "bodies": lambda: _bodies(connection, frames),
        "digests": lambda: _digests(connection),
        "streams": lambda: _streams(connection),
        "tags": lambda: _tags(connection, frames),
        "clock": lambda: _first(connection, _CLOCK_BACK, "recorded_at goes back at position"),
        "size": lambda: _size(connection, path),
    }
    for name, look in looks.items():
        try:
            found = look()
        except CUT_SHORT as error:
            found = str(error) or type(error).__name__
        # A look that has nothing to tell but what is wrong tells that, or nothing.
        yield Check(name, *(found if isinstance(found, tuple) else (not found, found or "checked")))


def _sqlite_version() -> tuple[bool, str]:
    text = apsw.sqlite_lib_version()
    version = tuple(int(part) for part in text.split("."))
    good = not _BAD_FROM <= version <= _BAD_TO
    return (good, text if good else f"{text} can corrupt WAL files: upgrade apsw")


def _integrity(connection: apsw.Connection) -> tuple[bool, str]:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    return (found == ["ok"], "; ".join(found))


def _schema(connection: apsw.Connection) -> tuple[bool, str]:
    version = connection.pragma("user_version")
    return (version == SCHEMA_VERSION, f"{version}, this refold: {SCHEMA_VERSION}")


def _journal_mode(connection: apsw.Connection) -> tuple[bool, str]:
    # The header says what the file is; the pragma says "delete" of it where no WAL can be made.
    _, versions = connection.read("main", 0, 18, 2)
    return (versions == b"\2\2", "wal" if versions == b"\2\2" else "rollback journal")


def _size(connection: apsw.Connection, path: Path) -> tuple[bool, str]:
    (hot,), (packed,) = rows_of(connection, _COUNTS)
    detail = f"{hot + packed} events, {packed} of them packed, {_size_bytes(path)} bytes"
    return (True, detail)


def _digests(connection: apsw.Connection) -> str | None:
    """Keyed appends that are not packed are the bytes that their digests were made of.

    A segment has a checksum of its own; an append that is not packed and has no key has neither.
    """
    for key, parts in _keyed(connection):
        said = {digest for _, digest, *_ in parts}
        made = digest_of((name or "", body, metadata) for *_, name, body, metadata in parts)
        # Of a command it says what was asked for, not what came of it.
        as_made = said == {made} or any(map(is_of_command, said))
        if not as_made and not _is_partly_packed(connection, key):
            return f"other bytes than were appended at {parts[0][2]}"
    return None


def _keyed(connection: apsw.Connection) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Each key with the rows of its append, in the order of its parts."""
    rows: Any = connection.execute(_KEYED)
    for key, group in groupby(rows, lambda row: str(row[0]).partition(_PART)[0]):
        yield key, sorted(group, key=lambda row: int(str(row[0]).partition(_PART)[2] or 0))


def _is_partly_packed(connection: apsw.Connection, key: str) -> bool:
    """Parts stand in streams of their own, so that some may be packed and others not."""
    return bool(rows_of(connection, f"{_PACKED_PARTS} LIMIT 1", key, _PART, _PART + "9" * 5))


def _positions(connection: apsw.Connection, frames: Frames) -> str | None:
    """Every position from 1 to the head stands once, in the log or in a segment."""
    head = sum(last for (last,) in rows_of(connection, LOG_HEAD))
    recorded = sum(count for (count,) in rows_of(connection, _COUNTS))
    if head != recorded:
        return f"the last position is {head}, and there are {recorded} events"
    try:
        seen = bytearray(head + 1)
        for start, count in _places(connection, frames):
            if any(seen[start : start + count]) or start + count - 1 > head:
                return f"position {start} stands twice or after the head"
            seen[start : start + count] = b"\1" * count
    except Corrupt as error:
        return error.message
    except (MemoryError, OverflowError):
        return f"{head} positions are more than a log can have"
    gap = seen.find(0, 1)
    return None if gap < 0 else f"position {gap} is missing"


def _places(connection: apsw.Connection, frames: Frames) -> Iterator[tuple[int, int]]:
    hot: Any = connection.execute("SELECT position, count FROM log")
    yield from hot
    packed: Any = connection.execute(_SEGMENTS)
    for _, stream, *values in packed:
        for part in frames.unpacked(stream, *values).parts():
            yield part.position, part.event_count


def _bodies(connection: apsw.Connection, frames: Frames) -> str | None:
    """Every event can be read, and reads by type and by time find it."""
    kinds = rows_of(connection, "SELECT id, tag FROM types")
    bit_of = {tag: 1 << min(number, OTHER_TYPES_BIT) for number, tag in kinds}
    position = 0
    try:
        for types, row in _rows(connection, frames):
            position = row.position
            events = decode_row(row, _ANY_KIND)
            found = [(event.data, event.metadata) for event in events]
            times = [event.occurred_at_us for event in events]
            # A type that is not in the table sets every bit: no row says that of itself.
            tags = (bit_of.get(event.stored_kind.tag, -1) for event in events)
            if len(found) != row.event_count or reduce(or_, tags, 0) != types:
                return f"other types than it says, at position {position}"
            if (min(times), max(times)) != row.span():
                return f"other times than it says, at position {position}"
    except (RefoldError, ValueError, RecursionError) as error:
        return f"after position {position}: {error}"
    return None


def _rows(connection: apsw.Connection, frames: Frames) -> Iterator[tuple[int, Row]]:
    """Every append and every segment, with the types it says that it holds."""
    hot: Any = connection.execute(_APPENDS)
    for types, *values in hot:
        yield types, Row(*values)
    packed: Any = connection.execute(_SEGMENTS)
    for types, stream, *values in packed:
        yield types, frames.unpacked(stream, *values)


def _streams(connection: apsw.Connection) -> str | None:
    """Every stream has events and a parent that it may have, and every event a stream."""
    for sql, wrong in (
        (_WITHOUT_STREAM, "no stream holds position"),
        (_WITHOUT_EVENTS, "no event is in"),
        (_WRONGLY_PACKED, "what is packed is not what the stream says, of"),
        (_WITHOUT_PARENT, "what it branches from is not there, of"),
    ):
        for (name,) in rows_of(connection, f"{sql} LIMIT 1"):
            return f"{wrong} {name}"
    for name, category in connection.execute("SELECT name, category FROM streams"):
        if category != category_of(str(name)):
            return f"the category {category!r} is not that of {name}"
    return None


def _tags(connection: apsw.Connection, frames: Frames) -> str | None:
    """The index of tags says what the metadata of the appends say."""
    wrong = first_wrong(connection, frames)
    return wrong and f"{wrong}; `refold doctor --repair` makes the index anew"


def _first(connection: apsw.Connection, sql: str, wrong: str) -> str | None:
    """What a query finds, where it finds what must not be."""
    found = rows_of(connection, sql)
    return f"{wrong} {'@'.join(str(part) for part in found[0])}" if found else None


def _size_bytes(path: Path) -> int:
    wal = path.with_name(path.name + "-wal")
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
