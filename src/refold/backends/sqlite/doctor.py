"""What `refold doctor` looks at in a SQLite file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from importlib import resources
from itertools import groupby
from operator import or_
from pathlib import Path
from typing import Any, Final

import apsw

from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.file import SCHEMA_VERSION, close_quietly, connect, rows_of
from refold.backends.sqlite.place import FilePlace
from refold.backends.sqlite.schema import differences
from refold.backends.sqlite.tags import OTHER_TYPES_BIT
from refold.backends.sqlite.unpacked import shown
from refold.backends.sqlite.writer import Writer
from refold.core.canonical import digest_of, tells_of_events
from refold.core.expected import ANY
from refold.core.recorded import decode_row
from refold.core.registry import Registry
from refold.core.stored import Row, corrupt
from refold.errors import Corrupt, RefoldError
from refold.ports import Batch, Check, TableTransaction, Write

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
_QUERIES: Final = resources.files("refold.backends.sqlite") / "checks.sql"

_APPENDS: Final = """
SELECT types, position, name, version, count, recorded_at, metadata, body, occurred_from,
    occurred_to, clock_at
FROM log JOIN streams ON streams.id = stream"""
_SEGMENTS: Final = """
SELECT types, last_position, iif(version + count - 1 = packed_version, packed_at, NULL), name,
    position, version, count, recorded_at, occurred_from, occurred_to, frame, dictionary, body_bytes
FROM segments JOIN streams ON streams.id = stream"""
_PART: Final = "\x1f"
"""Stands between the key of an append and the number of its part, from the second part on."""

_LAST_STREAM: Final = """
SELECT name FROM streams WHERE id = (SELECT stream FROM log ORDER BY position DESC LIMIT 1)"""
_LAST_APPEND: Final = "SELECT position + count - 1, body FROM log ORDER BY position DESC LIMIT 1"
_APPENDED: Final = '[["refold.doctor",{}]]'
_KEYED: Final = """
SELECT key, digest, position, name, body, metadata FROM refold_appends
LEFT JOIN streams ON streams.id = stream WHERE key IS NOT NULL ORDER BY key"""
_COUNTS: Final = """
SELECT ifnull(sum(count), 0) FROM log UNION ALL SELECT ifnull(sum(count), 0) FROM segments"""


def checks(connection: apsw.Connection, path: Path, frames: Frames) -> Iterator[Check]:
    """One line a thing looked at; reads the whole file, as it is at one moment."""
    try:
        shown(connection, frames)
    except CUT_SHORT as error:
        yield Check("events in SQL", False, f"the views cannot be made: {error}")
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
        "bodies": lambda: _bodies(connection, frames),
        "digests": lambda: _digests(connection),
        **{name: partial(_asked, connection, asked) for name, asked in _queries().items()},
        "appending": lambda: _appending(connection, path),
        "size": lambda: _size(connection, path),
    }
    for name, look in looks.items():
        try:
            found = look()
        except CUT_SHORT as error:
            found = str(error) or type(error).__name__
        # A look that has nothing to tell but what is wrong tells that, or nothing.
        yield Check(name, *(found if isinstance(found, tuple) else (not found, found or "checked")))


def _queries() -> dict[str, list[tuple[str, str]]]:
    """The queries of ``checks.sql`` by the names of their checks, each with what a row tells."""
    found: dict[str, list[tuple[str, str]]] = {}
    for block in _QUERIES.read_text(encoding="utf-8").split("\n\n-- ")[1:]:
        heading, _, sql = block.partition("\n")
        name, _, wrong = heading.partition(": ")
        found.setdefault(name, []).append((wrong, sql))
    return found


def _asked(connection: apsw.Connection, asked: list[tuple[str, str]]) -> str | None:
    """What the first of some queries tells that finds a row."""
    for wrong, sql in asked:
        row = connection.execute(sql).fetchone()
        if row is not None:
            return f"{wrong} {row[0]}"
    return None


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
    wrong = "; ".join(what for what, _ in differences(connection))
    is_good = version == SCHEMA_VERSION and not wrong
    return (is_good, wrong or f"{version}, this refold: {SCHEMA_VERSION}")


def _journal_mode(connection: apsw.Connection) -> tuple[bool, str]:
    # The header says what the file is; the pragma says "delete" of it where no WAL can be made.
    _, versions = connection.read("main", 0, 18, 2)
    return (versions == b"\2\2", "wal" if versions == b"\2\2" else "rollback journal")


def _size(connection: apsw.Connection, path: Path) -> tuple[bool, str]:
    (hot,), (packed,) = rows_of(connection, _COUNTS)
    return (True, f"{hot + packed} events, {packed} of them packed, {_size_bytes(path)} bytes")


def _digests(connection: apsw.Connection) -> str | None:
    """Keyed appends are the bytes that their digests were made of, which they are known by.

    An append without a key that is not packed has no checksum.
    """
    for _, parts in _keyed(connection):
        said = {digest for _, digest, *_ in parts}
        made = digest_of((name or "", body, metadata) for *_, name, body, metadata in parts)
        if said != {made} and all(map(tells_of_events, said)):
            return f"other bytes than were appended at {parts[0][2]}"
    return None


def _keyed(connection: apsw.Connection) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Each key with the rows of its append, in the order of its parts."""
    rows: Any = connection.execute(_KEYED)
    for key, group in groupby(rows, lambda row: str(row[0]).partition(_PART)[0]):
        yield key, sorted(group, key=lambda row: int(str(row[0]).partition(_PART)[2] or 0))


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
    for types, last_position, packed_at, stream, *values in packed:
        row = frames.unpacked(stream, *values)
        first, *_, last = [*row.parts(), *row.parts()]
        said = (row.position, row.recorded_at, last_position, packed_at or last.recorded_at)
        end = last.position + last.event_count - 1
        if said != (first.position, first.recorded_at, end, last.recorded_at):
            raise corrupt(row, "it holds other positions or times than are said of it")
        yield types, row


def _appending(connection: apsw.Connection, path: Path) -> tuple[bool, str]:
    """An append to a new stream and to the last one, with all that it may have, is only undone."""
    if connection.readonly("main") and not os.access(path, os.W_OK):
        return (True, "not tried: this process may only read the file")
    writing = connect(path, mode="write", vfs=connection.open_vfs)
    try:
        streams = [("refold-doctor",), *rows_of(writing, _LAST_STREAM)]
        kinds, tags = ("refold.doctor",), '{"tags":["refold-doctor"]}'
        writes = [Write(name, ANY, kinds, tags, _APPENDED) for (name,) in streams]
        Writer(writing, FilePlace(path)).commit(
            [Batch(writes, "refold-doctor")], now=0, beside=_Undone()
        )
    except _Undone:
        return (True, "checked")
    finally:
        close_quietly(writing)
    return (False, "an append is refused")


class _Undone(Exception):
    """Undoes what it is stored beside, at its end."""

    def begin(self, transaction: TableTransaction, *, after: int) -> None:
        """Let appends come."""

    def add(self, transaction: TableTransaction, rows: Sequence[Row]) -> None:
        """Let each be stored."""

    def end(self, transaction: TableTransaction, *, position: int) -> None:
        """Undo all of them; refuse where they do not stand as they were given."""
        if transaction.execute(_LAST_APPEND) != [(position, _APPENDED)]:
            raise Corrupt("a trigger changes or deletes what is appended: DROP it")
        raise self


def _size_bytes(path: Path) -> int:
    wal = path.with_name(path.name + "-wal")
    return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
