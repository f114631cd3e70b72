"""Sizes by part, a consistent copy, and the repairs that cannot lose anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from refold.backends.sqlite import schema
from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.doctor import CUT_SHORT
from refold.backends.sqlite.file import check_path, rows_of
from refold.backends.sqlite.tags import remade
from refold.errors import UsageError
from refold.ports import PartSize

_PAGES: Final = """
SELECT coalesce(tbl_name, name), name != coalesce(tbl_name, name), sum(pgsize)
FROM dbstat LEFT JOIN sqlite_schema USING (name) GROUP BY 1, 2 ORDER BY 3 DESC"""
_EVENTS: Final = {
    "log": "SELECT ifnull(sum(count), 0) FROM log",
    "segments": "SELECT ifnull(sum(count), 0) FROM segments",
}


def sizes(connection: apsw.Connection, path: Path) -> list[PartSize]:
    """What each part of the file takes, largest first; an index counts apart from its table."""
    found: list[PartSize] = []
    for table, is_index, size_bytes in rows_of(connection, _PAGES):
        events = None
        if table in _EVENTS and not is_index:
            events = int(rows_of(connection, _EVENTS[table])[0][0])
        found.append(PartSize(f"{table} indexes" if is_index else table, size_bytes, events))
    page_size = connection.pragma("page_size")
    free = connection.pragma("freelist_count") * page_size
    counted = free + sum(part.size_bytes for part in found)
    found.append(PartSize("free pages", free, None))
    found.append(PartSize("page map", connection.pragma("page_count") * page_size - counted, None))
    wal = path.with_name(path.name + "-wal")
    found.append(PartSize("write-ahead log", wal.stat().st_size if wal.exists() else 0, None))
    return found


def copy_to(connection: apsw.Connection, target: Path) -> int:
    """A consistent copy of the database as it stands, synced before it gets its name; its bytes."""
    if os.path.lexists(target):
        raise UsageError(f"{target} exists: give a name that is free", path=str(target))
    check_path(target, mode="create")
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        copy = apsw.Connection(str(unfinished))
        copy.execute("PRAGMA journal_mode=WAL").fetchall()
        copy.close()
        _sync(unfinished)
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(target.parent)
    return target.stat().st_size


def repairs(connection: apsw.Connection, frames: Frames) -> Iterator[str]:
    """Do what is always safe, saying what was done; the log itself is never touched."""
    for (name,) in rows_of(connection, "SELECT name FROM sqlite_temp_schema WHERE type = 'view'"):
        connection.execute(f'DROP VIEW temp."{name}"')  # They hide those of the file.
    yield from schema.remade(connection)
    connection.execute("REINDEX")
    yield "made every index again from its table"
    connection.execute("DELETE FROM snapshots")
    yield f"dropped {connection.changes()} snapshots; folds make them again"
    yield _tags_made(connection, frames)
    pages = connection.pragma("freelist_count")
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    yield f"gave {pages} free pages back"
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    yield "moved the write-ahead log into the file"


def _tags_made(connection: apsw.Connection, frames: Frames) -> str:
    try:
        return f"made the index of {remade(connection, frames)} tags again from the log"
    except CUT_SHORT as error:
        return f"left the index of tags as it was, for the log is damaged: {error}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
