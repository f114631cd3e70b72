"""langgraph-checkpoint-sqlite: not an event store; it saves an agent's state after every step.

A step here saves a state that holds the last message alone, which is the least it can be; the
``capture`` and ``steps`` workloads keep the list of messages in the state, which is what agents do.
"""

from __future__ import annotations

import sqlite3
import threading
from itertools import count
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from bench import captured, steps
from bench.measuring import timed
from bench.subject import Subject, serve
from bench.workload import Made


class LanggraphStore:
    """One saver, a thread of checkpoints a stream."""

    def __init__(self, path: Path, events: list[Made]) -> None:
        self._connection = sqlite3.connect(str(path), check_same_thread=False)
        self.saver = SqliteSaver(self._connection)
        self._events = events
        self._configs: dict[int, Any] = {}
        self._steps = count()
        self._lock = threading.Lock()

    def append(self, stream: int, start: int, size: int) -> None:
        """A checkpoint whose state is the last ``size`` events."""
        self.save(stream, {"events": [made.data for made in self._events[start : start + size]]})

    def save(self, stream: int, values: dict[str, Any]) -> None:
        step = next(self._steps)
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = values
        checkpoint["channel_versions"] = dict.fromkeys(values, step)
        config = self._configs.get(stream)
        if config is None:
            config = {"configurable": {"thread_id": str(stream), "checkpoint_ns": ""}}
        metadata: Any = {"source": "loop", "step": step, "parents": {}}
        self._configs[stream] = self.saver.put(config, checkpoint, metadata, {})

    def settle(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        self._connection.close()


class Langgraph(Subject):
    def open(self, path: Path) -> LanggraphStore:
        return LanggraphStore(path, self.events)

    def build_captured(self, *, name: str, turns: int) -> dict[str, float]:
        """Calls a second of saving, after each, a state that holds every message; it is kept."""
        store = self.kept[name] = self.open(self._path(name))

        def work() -> None:
            for turn in captured.turns(turns):
                store.save(0, {"messages": turn.messages})

        took_s, _ = timed(work, seconds=0)
        return {"value": turns / took_s}

    def build_steps(self, *, name: str, turns: int) -> dict[str, float]:
        """Checkpoints a second of a graph's steps; they are kept."""
        store = self.kept[name] = self.open(self._path(name))
        took_s, _ = timed(lambda: steps.save(store.saver, turns), seconds=0)
        return {"value": 2 * turns / took_s}


if __name__ == "__main__":
    serve(Langgraph)
