"""The seed design, the thing to beat: the straightforward table and the straightforward calls.

Text columns, a connection a call, ``MAX(version)``, an INSERT an event, a commit a call, and
``json.dumps``, over the standard ``sqlite3``.
"""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.measuring import timed
from bench.subject import Subject, serve
from bench.workload import Made, State, folded

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT UNIQUE NOT NULL,
    stream_id TEXT NOT NULL,
    stream_type TEXT NOT NULL,
    event_type TEXT NOT NULL,
    version INTEGER NOT NULL,
    data TEXT NOT NULL,
    metadata TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    UNIQUE (stream_id, version)
);
CREATE INDEX IF NOT EXISTS events_stream ON events (stream_id, version);
CREATE INDEX IF NOT EXISTS events_type ON events (event_type, occurred_at);
"""
_INSERT: Final = """
INSERT INTO events (
    event_id, stream_id, stream_type, event_type, version, data, metadata, occurred_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


class SeedStore:
    """One file; ``events`` is the pool that appends take from."""

    def __init__(self, path: Path, events: list[Made]) -> None:
        self._path = str(path)
        self._events = events
        with closing(sqlite3.connect(self._path)) as connection:
            connection.executescript(_SCHEMA)

    def append(self, stream: int, start: int, size: int) -> int:
        """Append events of the pool after whatever is the last version."""
        events = self._events[start : start + size]
        # An append has one metadata, as with every subject.
        metadata = events[0].metadata
        return self.append_made(f"session-{stream}", [(e.type, e.data) for e in events], metadata)

    def append_made(
        self, stream: str, events: list[tuple[str, Any]], metadata: dict[str, Any]
    ) -> int:
        """Append events given as type and payload; the version after it."""
        with closing(sqlite3.connect(self._path)) as connection:
            found = connection.execute(
                "SELECT MAX(version) FROM events WHERE stream_id = ?", (stream,)
            )
            version = found.fetchone()[0] or 0
            for kind, data in events:
                version += 1
                row = (
                    str(uuid.uuid4()),
                    stream,
                    "session",
                    kind,
                    version,
                    json.dumps(data),
                    json.dumps(metadata),
                    datetime.now(UTC).isoformat(),
                )
                connection.execute(_INSERT, row)
            connection.commit()
        return version

    def read(self, where: str, *values: object) -> list[dict[str, Any]]:
        """Events as dicts, decoded."""
        with closing(sqlite3.connect(self._path)) as connection:
            sql = f"SELECT * FROM events WHERE {where}"
            rows = connection.execute(sql, values).fetchall()
        return [
            {
                "id": row[0],
                "event_id": row[1],
                "stream_id": row[2],
                "stream_type": row[3],
                "event_type": row[4],
                "version": row[5],
                "data": json.loads(row[6]),
                "metadata": json.loads(row[7]),
                "occurred_at": datetime.fromisoformat(row[8]),
            }
            for row in rows
        ]

    def load(self, stream: int) -> State:
        """A stream read and folded."""
        events = self.read("stream_id = ? ORDER BY version", f"session-{stream}")
        return folded((event["event_type"], event["data"]) for event in events)

    def as_of(self, version: int) -> State:
        """A stream as it was: everything is read, then filtered."""
        events = self.read("stream_id = ? ORDER BY version", "session-0")
        kept = [event for event in events if event["version"] <= version]
        return folded((event["event_type"], event["data"]) for event in kept)

    def last(self, stream: int) -> int:
        """The last version of a stream."""
        with closing(sqlite3.connect(self._path)) as connection:
            sql = "SELECT MAX(version) FROM events WHERE stream_id = ?"
            return int(connection.execute(sql, (f"session-{stream}",)).fetchone()[0])

    def feed(self) -> State:
        """The whole log read and folded."""
        return folded((event["event_type"], event["data"]) for event in self.read("1 ORDER BY id"))

    def settle(self) -> None:
        """Nothing stands beside the file."""

    def close(self) -> None:
        """Nothing is kept open."""


class Seed(Subject):
    """The seed design."""

    def open(self, path: Path) -> SeedStore:
        return SeedStore(path, self.events)

    def build(self, *, name: str, events: int, streams: int = 1, size: int = 1) -> None:
        """The same rows as by appending, in few commits: one by one takes minutes."""
        super().build(name=name, events=events, streams=streams, size=max(size, 100))

    def as_of(self, *, name: str, by: str, seconds: float) -> dict[str, float]:
        """Seconds to have the state at a version; a time would be filtered for like one."""
        assert by == "version"
        store, chance = self.kept[name], random.Random(1)
        last = store.last(0)
        took_s, _ = timed(lambda: store.as_of(chance.randrange(1, last)), seconds=seconds)
        return {"value": took_s}

    def state_at(self, *, name: str, version: int) -> dict[str, object]:
        """The state at a version (from 0), to be compared."""
        return {"state": list(self.kept[name].as_of(version + 1))}

    def size_of(self, *, path: str) -> dict[str, float]:
        """Bytes an event of events given as JSON lines of stream, type, payload, metadata."""
        file = self._path("given")
        store = SeedStore(file, [])
        count = 0
        for line in Path(path).read_text().splitlines():
            stream, events, metadata = json.loads(line)
            store.append_made(stream, events, metadata)
            count += len(events)
        size_bytes = file.stat().st_size
        self._remove(file)
        return {"value": size_bytes / count}


if __name__ == "__main__":
    serve(Seed)
