"""The seed design, the thing to beat: the straightforward table and the straightforward calls.

Text columns, a connection a call, ``MAX(version)``, an INSERT an event, a commit a call, and
``json.dumps``, over the standard ``sqlite3``.
"""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from bench.dialogues import spent
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


Rows = list[tuple[Any, ...]]


def _costs(events: list[dict[str, Any]]) -> Rows:
    """By model: cost, answers, tokens in and out."""
    sums: dict[str, list[Any]] = {}
    for event in events:
        if event["event_type"] == "model.response":
            data = event["data"]
            found = sums.setdefault(data["model"], [Decimal(0), 0, 0, 0])
            found[0] += Decimal(data["cost"])
            found[1] += 1
            found[2] += data["usage"]["input_tokens"]
            found[3] += data["usage"]["output_tokens"]
    return [(model, str(cost), *counts) for model, (cost, *counts) in sums.items()]


def _tool_usage(events: list[dict[str, Any]]) -> Rows:
    """By call: the tool, whether it failed, how long it took."""
    calls: dict[tuple[str, str], list[Any]] = {}
    for event in events:
        data, stream = event["data"], event["stream_id"]
        if event["event_type"] == "tool.call":
            calls[stream, data["call_id"]] = [data["name"], event["occurred_at"], None, None]
        elif event["event_type"] == "tool.result" and (stream, data["call_id"]) in calls:
            calls[stream, data["call_id"]][2:] = [data.get("is_error"), data["latency_ms"]]
    return [(*key, name, str(at), *rest) for key, (name, at, *rest) in calls.items()]


def _customers(events: list[dict[str, Any]]) -> Rows:
    """By person: the conversations, the first and the last moment."""
    person_of: dict[str, str] = {}
    people: dict[str, list[Any]] = {}
    for event in events:
        stream, at = event["stream_id"], event["occurred_at"]
        if event["event_type"] == "session.started":
            for party in event["data"]["parties"]:
                if party["role"] == "customer":
                    person_of[stream] = party["id"]
                    people.setdefault(party["id"], [set(), at, at])[0].add(stream)
        elif stream in person_of:
            people[person_of[stream]][2] = at
    return [(who, len(talks), str(a), str(z)) for who, (talks, a, z) in people.items()]


def _conversations(events: list[dict[str, Any]]) -> Rows:
    """By conversation: words of each side, calls, cost, the first and the last moment."""
    rows: dict[str, list[Any]] = {}
    for event in events:
        at, data = event["occurred_at"], event["data"]
        row = rows.setdefault(event["stream_id"], [0, 0, 0, Decimal(0), at, at])
        row[5] = at
        match event["event_type"]:
            case "user.utterance":
                row[0] += 1
            case "agent.utterance":
                row[1] += 1
            case "tool.call":
                row[2] += 1
            case "model.response":
                row[3] += Decimal(data["cost"])
    return [(stream, *row[:3], *map(str, row[3:])) for stream, row in rows.items()]


def _messages(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events as chat messages: what one answer said and called is one."""
    messages: list[dict[str, Any]] = []
    of_last = None
    for event in events:
        kind, data = event["event_type"], event["data"]
        of = data.get("message_id")
        match kind:
            case "agent.configured":
                messages.append(
                    {"role": "system", "content": (data.get("prompt") or {}).get("text")}
                )
            case "user.utterance":
                messages.append({"role": "user", "content": data["text"]})
            case "agent.utterance":
                messages.append({"role": "assistant", "content": data["text"]})
            case "tool.call":
                if of is None or of != of_last:
                    messages.append({"role": "assistant", "content": None})
                function = {"name": data["name"], "arguments": data["arguments"]}
                call = {"id": data["call_id"], "type": "function", "function": function}
                messages[-1].setdefault("tool_calls", []).append(call)
            case "tool.result":
                said = {"tool_call_id": data["call_id"], "content": data["result"]}
                messages.append({"role": "tool", **said})
        of_last = of
    return messages


MODELS: Final[dict[str, Callable[[list[dict[str, Any]]], Rows]]] = {
    "costs": _costs,
    "tool_usage": _tool_usage,
    "customers": _customers,
    "conversations": _conversations,
}


class SeedStore:
    """One file; ``events`` is the pool that appends take from."""

    def __init__(self, address: str, events: list[Made]) -> None:
        self._address = address
        self._events = events
        self.begin()

    def begin(self) -> None:
        """Make the table."""
        with closing(sqlite3.connect(self._address)) as connection:
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
        with closing(sqlite3.connect(self._address)) as connection:
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

    def rows(self, sql: str, *values: object) -> Rows:
        """What a query gives."""
        with closing(sqlite3.connect(self._address)) as connection:
            return connection.execute(sql, values).fetchall()

    def read(self, where: str, *values: object) -> list[dict[str, Any]]:
        """Events as dicts, decoded."""
        rows = self.rows(f"SELECT * FROM events WHERE {where}", *values)
        return [
            {
                "id": row[0],
                "event_id": row[1],
                "stream_id": row[2],
                "stream_type": row[3],
                "event_type": row[4],
                "version": row[5],
                **self.decoded(*row[6:9]),
            }
            for row in rows
        ]

    def decoded(self, data: Any, metadata: Any, occurred_at: Any) -> dict[str, Any]:
        """The columns that a driver does not decode."""
        return {
            "data": json.loads(data),
            "metadata": json.loads(metadata),
            "occurred_at": datetime.fromisoformat(occurred_at),
        }

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
        sql = "SELECT MAX(version) FROM events WHERE stream_id = ?"
        return int(self.rows(sql, f"session-{stream}")[0][0])

    def feed(self) -> State:
        """The whole log read and folded."""
        events = self.read("id > 0 ORDER BY id")
        return folded((event["event_type"], event["data"]) for event in events)

    def streams(self) -> list[str]:
        """The streams that there are."""
        found = self.rows("SELECT DISTINCT stream_id FROM events ORDER BY 1")
        return [stream for (stream,) in found]

    def conversation(self, stream: str) -> dict[str, list[Any]]:
        """The state of a conversation: its words, its tool calls, its redactions."""
        state: dict[str, list[Any]] = {"transcript": [], "tool_calls": [], "redactions": []}
        for event in self.read("stream_id = ? ORDER BY version", stream):
            kind, data = event["event_type"], event["data"]
            if kind in ("user.utterance", "agent.utterance"):
                said = {"role": kind.partition(".")[0], "text": data.get("text")}
                state["transcript"].append(said)
            elif kind == "tool.call":
                state["tool_calls"].append(data)
            elif kind == "redaction.applied":
                state["redactions"].append(data)
        return state

    def decisions(self, stream: str) -> int:
        """How many answers a conversation has, each held against its own record."""
        events = self.read("stream_id = ? ORDER BY version", stream)
        whole, asked, count = _messages(events), set(), 0
        for place, event in enumerate(events):
            kind, data = event["event_type"], event["data"]
            if kind == "tool.call":
                assert data.get("parsed") in (None, json.loads(data["arguments"]))
                asked.add(data["call_id"])
            assert kind != "tool.result" or data["call_id"] in asked
            before = events[place - 1]["data"].get("message_id") if place else None
            if kind in ("agent.utterance", "tool.call") and data.get("message_id") != before:
                seen = _messages(events[:place])
                assert seen == whole[: len(seen)]
                count += 1
        state = self.conversation(stream)
        assert len(state["tool_calls"]) == len(
            [e for e in events if e["event_type"] == "tool.call"]
        )
        return count

    def made(self, model: str) -> list[tuple[Any, ...]]:
        """A read model of the whole log, read, summed and written."""
        rows = MODELS[model](self.read("id > 0 ORDER BY id"))
        self.write(model, rows)
        return rows

    def write(self, model: str, rows: Rows) -> None:
        """Rows as a table of their own, made anew."""
        with closing(sqlite3.connect(self._address)) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {model}")
            columns = ", ".join(f"c{number}" for number in range(len(rows[0])))
            connection.execute(f"CREATE TABLE {model} ({columns})")
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {model} VALUES ({marks})", rows)
            connection.commit()

    def settle(self) -> None:
        """Nothing stands beside the file."""

    def close(self) -> None:
        """Nothing is kept open."""


class Seed(Subject):
    """The seed design."""

    def open(self, path: Path) -> SeedStore:
        return SeedStore(str(path), self.events)

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

    def take_in(self, *, name: str, path: str) -> dict[str, float]:
        """Events a second of storing a log given as JSON lines of stream, events, metadata."""
        store = self.kept[name] = self.open(self._path(name))
        count = 0
        started = perf_counter()
        for line in Path(path).read_text().splitlines():
            stream, events, metadata = json.loads(line)
            store.append_made(stream, events, metadata)
            count += len(events)
        return {"value": count / (perf_counter() - started)}

    def fold_conversations(self, *, name: str, seconds: float) -> dict[str, object]:
        """Seconds to fold every conversation of a kept log."""
        store = self.kept[name]
        streams = store.streams()
        work = lambda: [store.conversation(stream) for stream in streams]  # noqa: E731
        took_s, states = timed(work, seconds=seconds, times_min=3)
        said = sum(len(state["transcript"]) for state in states)
        return {"value": took_s, "state": [said, sum(len(s["tool_calls"]) for s in states)]}

    def verify(self, *, name: str, seconds: float) -> dict[str, object]:
        """Seconds to hold every answer of a kept log against its own record."""
        store = self.kept[name]
        streams = store.streams()
        work = lambda: sum(store.decisions(stream) for stream in streams)  # noqa: E731
        took_s, decisions = timed(work, seconds=seconds, times_min=1)
        return {"value": took_s, "state": decisions}

    def rebuild(self, *, name: str, events: int, projection: str) -> dict[str, object]:
        """Events a second of the log at which a read model is made anew: all read, all written."""
        store = self.kept[name]
        took_s, rows = timed(lambda: store.made(projection), seconds=0)
        answer: dict[str, object] = {"value": events / took_s}
        if projection == "costs":
            answer["state"] = spent(rows, events)
        return answer

    def size_of(self, *, path: str) -> dict[str, float]:
        """Bytes an event of events given as JSON lines of stream, type, payload, metadata."""
        file = self._path("given")
        store = SeedStore(str(file), [])
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
