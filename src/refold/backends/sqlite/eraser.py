"""Other bytes in the place of what was stored; and the old ones out of all that may hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import apsw

from refold.backends.copied import tags_in
from refold.backends.sqlite.compression import Frames, dictionary_bytes
from refold.backends.sqlite.file import rows_of, synced
from refold.backends.sqlite.tags import mask_of
from refold.backends.transaction import transacted
from refold.core.canonical import OF_REPLACED
from refold.core.replacing import Replacement, replaced
from refold.core.stored import Row, decode_body, joined
from refold.errors import NotFound
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
_DROP_SNAPSHOTS: Final = """
WITH RECURSIVE made_of (id, name) AS (
    SELECT id, name FROM streams WHERE id IN (SELECT value FROM json_each(?))
    UNION
    SELECT streams.id, streams.name FROM streams JOIN made_of ON streams.parent = made_of.name
) DELETE FROM snapshots WHERE stream IN (SELECT id FROM made_of)"""


def replace(connection: apsw.Connection, new: Replacement) -> None:
    """Store other texts for events; see :class:`~refold.ports.Eraser`."""
    new.check()
    with _wiping(connection), synced(connection):
        transacted(connection, _Replacing(connection, new).all)


def scrub(connection: apsw.Connection, progress: Callable[[int, int], None]) -> Iterator[Check]:
    """Take what was replaced or deleted out of the file; see :class:`~refold.ports.Eraser`."""
    progress(0, 0)
    with _wiping(connection), synced(connection):
        connection.execute("DELETE FROM snapshots")
        yield Check("snapshots", True, f"{connection.changes()} dropped; folds make them again")
        yield _pages(connection)
        yield _log_ahead(connection)


def _pages(connection: apsw.Connection) -> Check:
    """Write every page anew: a page that was written before may hold what it held then."""
    free = connection.pragma("freelist_count")
    try:
        connection.execute("VACUUM")
    except apsw.Error as error:
        why = f"they were not written anew ({error}), and what was deleted may stand in them"
        return Check("pages", False, f"{why}: make room, or wait until nobody writes; run it again")
    return Check("pages", True, f"written anew; {free} free ones are gone")


def _log_ahead(connection: apsw.Connection) -> Check:
    """Move the write-ahead log into the file and cut it off: it holds pages as they were."""
    busy, *_ = rows_of(connection, "PRAGMA wal_checkpoint(TRUNCATE)")[0]
    if busy:
        why = "others read what stood there before, so it still holds it, and so may the file"
        return Check("write-ahead log", False, f"{why}: let them end, and run it again")
    return Check("write-ahead log", True, "moved into the file, and cut off")


@contextmanager
def _wiping(connection: apsw.Connection) -> Iterator[None]:
    """Overwrite with zeros what is deleted within."""
    before = connection.pragma("secure_delete")
    connection.pragma("secure_delete", 1)
    try:
        yield
    finally:
        connection.pragma("secure_delete", before)


class _Replacing:
    """One replacement, within its transaction."""

    def __init__(self, connection: apsw.Connection, new: Replacement) -> None:
        self._connection, self._new = connection, new
        self._frames = Frames(partial(dictionary_bytes, connection))
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
        self._connection.execute(_DROP_SNAPSHOTS, (json.dumps([*self._streams]),))

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
        for tag in _tags(old):
            self._connection.execute(
                "DELETE FROM tags WHERE (tag, last_position) = (?, ?)", (tag, last)
            )
        kinds = dict(rows_of(self._connection, "SELECT tag, id FROM types"))
        types = mask_of(sorted({kinds[one.tag] for one in decode_body(new.body)}))
        for tag in _tags(new):
            place = (tag, last, old.version, old.event_count, types, stream)
            self._connection.execute(_TAG, place)


def _tags(row: Row) -> tuple[str, ...]:
    text = row.metadata
    return tags_in(text.decode() if isinstance(text, bytes) else text)
