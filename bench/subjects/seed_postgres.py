"""The seed design on PostgreSQL: its table, its calls, a kept connection a thread."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from bench.database import OnServer
from bench.subject import serve
from bench.subjects.seed import Rows, Seed, SeedStore
from bench.workload import Made

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    id BIGSERIAL PRIMARY KEY,
    event_id UUID UNIQUE NOT NULL,
    stream_id TEXT NOT NULL,
    stream_type TEXT NOT NULL,
    event_type TEXT NOT NULL,
    version INTEGER NOT NULL,
    data JSONB NOT NULL,
    metadata JSONB NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    UNIQUE (stream_id, version)
);
CREATE INDEX IF NOT EXISTS events_stream ON events (stream_id, version);
CREATE INDEX IF NOT EXISTS events_type ON events (event_type, occurred_at);
"""
_INSERT: Final = """
INSERT INTO events (
    event_id, stream_id, stream_type, event_type, version, data, metadata, occurred_at
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""
_MAX: Final = "SELECT MAX(version) FROM events WHERE stream_id = %s"
_LOCK: Final = "SELECT pg_advisory_xact_lock(1)"


class PostgresSeedStore(SeedStore):
    """One database. With ``locked`` appends take turns, so that no reader skips one."""

    locked = False

    def __init__(self, address: str, events: list[Made]) -> None:
        self._kept = threading.local()
        self._connections: list[psycopg.Connection[Any]] = []
        super().__init__(address, events)

    def begin(self) -> None:
        with self._connection().transaction():
            self._connection().execute(_SCHEMA)

    def append_made(
        self, stream: str, events: list[tuple[str, Any]], metadata: dict[str, Any]
    ) -> int:
        connection = self._connection()
        with connection.transaction(), connection.cursor() as cursor:
            if self.locked:
                cursor.execute(_LOCK)
            version = (cursor.execute(_MAX, (stream,)).fetchone() or (0,))[0] or 0
            rows = [
                (
                    uuid.uuid4(),
                    stream,
                    "session",
                    kind,
                    version + n,
                    json.dumps(data),
                    json.dumps(metadata),
                    datetime.now(UTC),
                )
                for n, (kind, data) in enumerate(events, start=1)
            ]
            if len(rows) == 1:
                cursor.execute(_INSERT, rows[0])
            else:
                cursor.executemany(_INSERT, rows)
        return int(version) + len(events)

    def rows(self, sql: str, *values: object) -> Rows:
        with self._connection().transaction():
            return self._connection().execute(sql.replace("?", "%s"), values or None).fetchall()

    def decoded(self, data: Any, metadata: Any, occurred_at: Any) -> dict[str, Any]:
        return {"data": data, "metadata": metadata, "occurred_at": occurred_at}

    def write(self, model: str, rows: Rows) -> None:
        with self._connection().transaction():
            cursor = self._connection().cursor()
            cursor.execute(f"DROP TABLE IF EXISTS {model}")
            columns = ", ".join(f"c{number} TEXT" for number in range(len(rows[0])))
            cursor.execute(f"CREATE TABLE {model} ({columns})")
            marks = ", ".join(["%s"] * len(rows[0]))
            texts = [[None if one is None else str(one) for one in row] for row in rows]
            cursor.executemany(f"INSERT INTO {model} VALUES ({marks})", texts)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _connection(self) -> psycopg.Connection[Any]:
        found = getattr(self._kept, "connection", None)
        if found is None:
            found = self._kept.connection = psycopg.connect(self._address)
            self._connections.append(found)
        return found


class SeedPostgres(OnServer, Seed):
    """The seed design, and the same with a lock an append."""

    locked = False

    def open(self, path: Path) -> PostgresSeedStore:
        store = PostgresSeedStore(self.url(path), self.events)
        store.locked = self.locked
        return store

    def append_locked(
        self, *, size: int, seconds: float, callers: int = 0, tasks: int = 0
    ) -> dict[str, float]:
        """Appends that take turns by a lock each, so that their ids are visible in order."""
        self.locked = True
        try:
            if tasks:
                return self.append_tasks(size=size, seconds=seconds, tasks=tasks)
            return self.append(size=size, seconds=seconds, callers=callers)
        finally:
            self.locked = False


if __name__ == "__main__":
    serve(SeedPostgres)
