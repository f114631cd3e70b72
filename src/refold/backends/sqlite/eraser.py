"""Other bytes in the place of what was stored; and the old ones out of all that may hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Final

import apsw

from refold.backends.copied import tags_in
from refold.backends.sqlite.compaction import Packer
from refold.backends.sqlite.compression import frames_of
from refold.backends.sqlite.file import mark_of, rows_of, synced
from refold.backends.sqlite.tags import mask_of
from refold.backends.transaction import transacted
from refold.core.canonical import OF_REPLACED
from refold.core.replacing import Replacement, replaced
from refold.core.stored import Row, decode_body, joined
from refold.errors import NotFound, Unavailable
from refold.ports import Check

_HOT: Final = """
SELECT position, name, version, count, recorded_at, metadata, body, NULL, NULL, NULL, key, stream
FROM log JOIN streams ON streams.id = stream
WHERE position = (SELECT max(position) FROM log WHERE position <= ?1) AND position + count > ?1"""
_PACKED: Final = """
SELECT name, position, version, count, recorded_at, occurred_from, occurred_to, frame, dictionary,
    body_bytes, stream
FROM segments JOIN streams ON streams.id = stream WHERE last_position >= ? AND position <= ?"""
_PACK: Final = """
UPDATE segments SET dictionary = NULL, body_bytes = ?, frame = ? WHERE position = ?"""
_KEY_OF: Final = "SELECT key FROM keys WHERE stream = ? AND version = ?"
_PUT: Final = "UPDATE log SET body = ?, metadata = ? WHERE position = ?"
_FORGET: Final = """
UPDATE {table} SET digest = ?2
WHERE key = ?1 OR key > ?1 || char(31) AND key < ?1 || char(32)"""
_TAG: Final = """
INSERT OR IGNORE INTO tags SELECT ?1, ?2, id, ?3, ?4, ?5 FROM streams
WHERE id = ?6 AND category NOT LIKE '%~'"""
_GIVE_UP: Final = """
UPDATE dictionaries SET category = char(31) || id WHERE category IN (
    SELECT category FROM streams WHERE id IN (SELECT value FROM json_each(?))
)"""
"""Dictionaries hold what was often said; nothing is packed with one whose category is none."""
_DROP_SNAPSHOTS: Final = """
WITH RECURSIVE made_of (id, name) AS (
    SELECT id, name FROM streams WHERE id IN (SELECT value FROM json_each(?))
    UNION
    SELECT streams.id, streams.name FROM streams JOIN made_of ON streams.parent = made_of.name
) DELETE FROM snapshots WHERE stream IN (SELECT id FROM made_of)"""


def replace(connection: apsw.Connection, new: Replacement) -> None:
    """Store other texts for events; see :class:`~refold.ports.Eraser`."""
    new.check()
    connection.pragma("secure_delete", 1)  # Zeros stand where something was deleted.
    with synced(connection):
        transacted(connection, _Replacing(connection, new).all)


def scrub(connection: apsw.Connection, progress: Callable[[int, int], None]) -> Iterator[Check]:
    """Take what was replaced or deleted out of the file; see :class:`~refold.ports.Eraser`."""
    parts: dict[str, Callable[[], str]] = {
        "snapshots": lambda: _snapshots(connection),
        "dictionaries": lambda: _dictionaries(connection, progress),
        "pages": lambda: _pages(connection),
        "write-ahead log": lambda: _log_ahead(connection),
    }
    connection.pragma("secure_delete", 1)
    with synced(connection):
        for part, work in parts.items():
            try:
                done = work()
            except (apsw.Error, Unavailable) as error:
                advice = "make room, let others end, and run it again"
                yield Check(part, False, f"may hold what was replaced ({error}): {advice}")
                continue
            yield Check(part, True, done)


def _snapshots(connection: apsw.Connection) -> str:
    connection.execute("DELETE FROM snapshots")
    return f"{connection.changes()} dropped; folds make them again"


def _dictionaries(connection: apsw.Connection, progress: Callable[[int, int], None]) -> str:
    """Pack again whatever was packed by dictionaries that may hold what was replaced."""
    Packer(connection, frames_of(connection)).pack_again(progress)
    return "none is left that was made of what was replaced"


def _pages(connection: apsw.Connection) -> str:
    """Write every page anew: a page that was written before may hold what it held then."""
    free = connection.pragma("freelist_count")
    connection.execute("VACUUM")
    return f"written anew; {free} free ones are gone"


def _log_ahead(connection: apsw.Connection) -> str:
    """Move the write-ahead log into the file and cut it off: it holds pages as they were."""
    busy, *_ = rows_of(connection, "PRAGMA wal_checkpoint(TRUNCATE)")[0]
    if busy:
        raise Unavailable("others read what stood there before, and so may the file")
    return "moved into the file, and cut off"


class _Replacing:
    """One replacement, within its transaction."""

    def __init__(self, connection: apsw.Connection, new: Replacement) -> None:
        self._connection, self._new = connection, new
        self._frames = frames_of(connection)
        self._streams = set[int]()
        self._left = new.positions()

    def all(self) -> None:
        """Every append that holds one of the events, and what was made of it."""
        for position in self._new.positions():
            for *values, key, stream in rows_of(self._connection, _HOT, position):
                append = Row(*values)
                new = self._replaced(append, stream, key)
                self._connection.execute(_PUT, (new.body, new.metadata, append.position))
        if self._left:
            packed = rows_of(self._connection, _PACKED, self._left[0], self._left[-1])
            for *values, stream in packed:
                self._pack(self._frames.unpacked(*values), stream)
        if self._left:
            position = self._left[0]
            raise NotFound(f"no event stands at position {position}", position=position)
        for sql in (_DROP_SNAPSHOTS, _GIVE_UP):
            self._connection.execute(sql, (json.dumps([*self._streams]),))
        # Whoever has read what stood there must not store what he makes of it.
        self._connection.pragma("schema_version", mark_of(self._connection) + 1)

    def _pack(self, segment: Row, stream: int) -> None:
        """Replace what is new of the appends of a segment, and pack them again."""
        before = len(self._left)
        appends = [self._replaced(append, stream) for append in segment.appends()]
        if len(self._left) < before:
            again = joined(appends)
            # Nothing of a dictionary is in it, for that may hold what is replaced.
            frame = self._frames.packed(again, None)
            self._connection.execute(_PACK, (again.body_bytes, frame, segment.position))

    def _replaced(self, append: Row, stream: int, key: str | None = None) -> Row:
        """An append as it is to be; what else tells of it is so at once."""
        end = append.position + append.event_count
        left = [one for one in self._left if not append.position <= one < end]
        if len(left) == len(self._left):
            return append
        self._left = left
        self._streams.add(stream)
        new = replaced(append, self._new)
        self._tag(append, new, stream)
        packed = rows_of(self._connection, _KEY_OF, stream, append.version)
        for one in [key] if key else [str(found) for (found,) in packed]:
            for table in ("log", "keys"):
                values = (one.partition("\x1f")[0], OF_REPLACED)
                self._connection.execute(_FORGET.format(table=table), values)
        return new

    def _tag(self, old: Row, new: Row, stream: int) -> None:
        """Let an append be found by its tags as they are now."""
        if old.metadata == new.metadata:
            return
        last = old.position + old.event_count - 1
        for tag in tags_in(old.metadata):
            self._connection.execute(
                "DELETE FROM tags WHERE (tag, last_position) = (?, ?)", (tag, last)
            )
        kinds = dict(rows_of(self._connection, "SELECT tag, id FROM types"))
        types = mask_of(sorted({kinds[one.tag] for one in decode_body(new.body)}))
        for tag in tags_in(new.metadata):
            place = (tag, last, old.version, old.event_count, types, stream)
            self._connection.execute(_TAG, place)
