"""Making certain that a failed commit is undone, so that its callers can be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from refold.backends.sqlite.errors import DRIVER_ERRORS
from refold.backends.sqlite.file import rows_of, synced
from refold.backends.sqlite.queries import LAST_ROW
from refold.backends.transaction import transacted
from refold.ports import Batch

_AT: Final = """
SELECT name, metadata, body FROM log JOIN streams ON streams.id = stream WHERE position = ?"""


def is_undone(connection: apsw.Connection, batches: Sequence[Batch], *, position: int) -> bool:
    """Whether nothing of a commit that failed is stored, and nothing of it can come back.

    SQLite has rolled it back. But its frames may stand whole in the WAL, after the last ones that
    count, where a recovery would take them for a commit (https://www.sqlite.org/walformat.html):
    so a synced commit is put in their place, of the first page of the file as it is. False where
    that fails, or where the batches may stand in the log from ``position`` on after all: what is
    read there need not be on the disk.
    """
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with synced(connection):
            return transacted(connection, _is_overwritten, connection, batches, position)
    except DRIVER_ERRORS:
        return False


def _is_overwritten(connection: apsw.Connection, batches: Sequence[Batch], position: int) -> bool:
    if _may_be_there(connection, batches, position):
        return False
    connection.pragma("user_version", connection.pragma("user_version"))
    return True


def _may_be_there(connection: apsw.Connection, batches: Sequence[Batch], position: int) -> bool:
    """Whether the first place of a commit holds what it was to hold."""
    last = rows_of(connection, LAST_ROW)
    if not last or sum(last[0][:2]) <= position:
        return False
    tried = {(w.stream, w.metadata, w.body) for batch in batches for w in batch.writes[:1]}
    there = rows_of(connection, _AT, position)
    return not there or there[0] in tried
