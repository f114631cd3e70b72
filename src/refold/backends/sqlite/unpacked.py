"""Packed events in SQL: what a connection needs to show them, beside those that are not packed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

import apsw
import msgspec

from refold.backends.copied import StoredAppend, as_batches
from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.file import rows_of
from refold.ports import Batch

_VIEWS: Final = resources.files("refold.backends.sqlite") / "unpacked.sql"
_HOT: Final = "SELECT sql FROM main.sqlite_schema WHERE (type, name) = ('view', 'events_unpacked')"
_APPENDS: Final = """
SELECT position, name, version, recorded_at, clock_at, metadata, body, key, digest, parent,
    fork_version
FROM refold_appends JOIN main.streams ON streams.id = stream ORDER BY position"""
_EVENTS: Final = "CREATE TEMP VIEW events AS SELECT * FROM main.events_unpacked UNION ALL {packed}"


def shown(connection: apsw.Connection, frames: Frames) -> apsw.Connection:
    """A connection, with the views ``refold_appends`` and ``events``, of all that is stored.

    They stand before what the file has under these names, and end with the connection.
    """

    def unpacked(*segment: Any) -> str:
        rows = frames.unpacked(*segment).appends()
        return msgspec.json.encode([_listed(row) for row in rows]).decode()

    if not connection.execute("SELECT 1 FROM sqlite_temp_schema WHERE name = 'events'").get:
        connection.create_scalar_function(
            "refold_unpacked", unpacked, 10, deterministic=True, flags=apsw.SQLITE_INNOCUOUS
        )
        connection.execute(_VIEWS.read_text(encoding="utf-8"))
        for (sql,) in rows_of(connection, _HOT):
            packed = sql[sql.index("SELECT") :].replace("FROM log\n", "FROM refold_packed AS log\n")
            connection.execute(_EVENTS.format(packed=packed))
    return connection


def batches(connection: apsw.Connection, frames: Frames) -> Iterator[tuple[int, Batch]]:
    """Every batch as it was stored; see :class:`~refold.ports.Copied`."""
    found: Any = shown(connection, frames).execute(_APPENDS)
    return as_batches(StoredAppend(*values) for values in found)


def _listed(row: Any) -> tuple[Any, ...]:
    texts = [text if text is None else str(text, "utf-8") for text in (row.metadata, row.body)]
    place = (row.position, row.version, row.event_count, row.recorded_at)
    return (*place, texts[0], row.occurred_from, row.occurred_to, texts[1], row.clock_at)
