"""Snapshots in the same file: a cache, kept when nobody else is writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import apsw

from refold.backends.sqlite.errors import BUSY_WAIT_MS
from refold.backends.sqlite.file import mark_of, rows_of, shaped
from refold.backends.transaction import transacted
from refold.core.snapshot import Snapshot

WAIT_MS: Final = 100
"""How long a fold waits for the write lock to leave a snapshot: its state is not held up by it."""
_LATEST: Final = """
SELECT version, position, occurred_to, in_order, state, digest FROM snapshots
WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND fold = ?2 AND fingerprint = ?3
    AND version <= ?4 ORDER BY version DESC LIMIT 1"""
_SAVE: Final = """
INSERT OR REPLACE INTO snapshots (
    stream, fold, fingerprint, version, position, occurred_to, in_order, state, digest
) SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM streams WHERE name = ?1"""
_DROP_STALE: Final = """
DELETE FROM snapshots WHERE stream = (SELECT id FROM streams WHERE name = ?1)
    AND fold = ?2 AND fingerprint != ?3"""


def latest(
    connection: apsw.Connection, stream: str, *, fold: str, fingerprint: str, last: int
) -> Snapshot | None:
    """The newest snapshot of a fold at or before a version."""
    found = rows_of(connection, _LATEST, stream, fold, fingerprint, last)
    found = shaped(found, int, int, int, int, bytes, bytes)
    return Snapshot(stream, fold, fingerprint, *found[0]) if found else None


def save(connection: apsw.Connection, snapshots: Sequence[Snapshot], mark: int | None) -> None:
    """Keep snapshots, and drop those that an older fold of the same name left.

    Not where events were replaced since the fold began, when the file had a ``mark``: they may
    hold what these said.
    """
    connection.set_busy_timeout(WAIT_MS)
    try:
        transacted(connection, _save, connection, snapshots, mark)
    finally:
        connection.set_busy_timeout(BUSY_WAIT_MS)


def _save(connection: apsw.Connection, snapshots: Sequence[Snapshot], mark: int | None) -> None:
    if mark not in (None, mark_of(connection)):
        return
    first = snapshots[0]
    connection.execute(_DROP_STALE, (first.stream, first.fold, first.fingerprint))
    connection.executemany(_SAVE, snapshots)
