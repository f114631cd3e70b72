"""A subject: one way to store events, in a process of its own, asked for measurements by lines.

A line in is ``{"do": "append", "with": {…}}``, a line out ``{"value": …}`` or ``{"error": "…"}``.
Standard library only: the rivals run this in environments of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import traceback
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import process_time
from typing import Any, Final, Protocol

from bench.measuring import awaited, busy_threads, called, timed
from bench.pool import pool
from bench.workload import Made, State, Text

POOL_STEP: Final = 300
"""How far apart in the pool streams begin; sizes of appends divide it."""


class Store(Protocol):
    """What a subject makes of one file; ``stream`` is a number, ``start`` a place in the pool."""

    def append(self, stream: int, start: int, size: int) -> object:
        """Append ``size`` events of the pool from ``start`` on, durable when it returns."""

    def close(self) -> None:
        """Let go of the file."""


class Subject:
    """The measurements that subjects share; each brings :meth:`open` and what its stores do."""

    threads: int | None = None
    """How many call for the tasks of a loop, where not as many as the standard library says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Made] = []
        self.text: Text = "short"
        self.kept: dict[str, Any] = {}
        self._made = 0

    # -- what a subject brings ------------------------------------------------------------------

    def prepare(self) -> None:
        """Turn ``self.events`` into whatever the subject takes; not measured."""

    def open(self, path: Path) -> Any:
        """A store in a new or an old file."""
        raise NotImplementedError

    def build_size(self, size: int) -> int:
        """How many events an append of a built log holds, where reading does not depend on it."""
        return size

    def spent_s(self) -> float:
        """Processor seconds used so far."""
        return process_time()

    # -- what it is asked ------------------------------------------------------------------------

    def use(self, *, text: Text = "short", count: int = 6_000) -> None:
        """Take these events from now on."""
        self.events, self.text = pool(count, text=text), text
        self.prepare()

    def append(
        self, *, size: int, seconds: float, callers: int = 1, busy: int = 0
    ) -> dict[str, float]:
        """Appends of ``size`` events by threads, each to a stream of its own, into a new file."""
        with self._fresh() as store, busy_threads(busy):
            figures = called(
                lambda caller, n: store.append(caller, self._start(caller, n, size), size),
                callers=callers,
                seconds=seconds,
                spent=self.spent_s,
            )
        return self._events(figures, size)

    def append_tasks(self, *, size: int, seconds: float, tasks: int) -> dict[str, float]:
        """The same by tasks of an event loop."""

        async def measure() -> dict[str, float]:
            if self.threads is not None:
                asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self.threads))
            with self._fresh() as store:

                def work(caller: int, n: int) -> Awaitable[object]:
                    start = self._start(caller, n, size)
                    return asyncio.to_thread(store.append, caller, start, size)

                return await awaited(work, tasks=tasks, seconds=seconds, spent=self.spent_s)

        return self._events(asyncio.run(measure()), size)

    def build(self, *, name: str, events: int, streams: int = 1, size: int = 1) -> None:
        """A log kept for reading: streams written in turn, an append each."""
        store = self.open(self._path(name))
        size = self.build_size(size)
        for n in range(events // (streams * size)):
            for stream in range(streams):
                store.append(stream, self._start(stream, n, size), size)
        self.kept[name] = store

    def load(
        self, *, name: str, seconds: float, stream: int = 0, busy: int = 0
    ) -> dict[str, object]:
        """Seconds to read one stream and fold it."""
        store = self.kept[name]
        store.load(stream)
        with busy_threads(busy):
            took_s, state = timed(lambda: store.load(stream), seconds=seconds)
        return {"value": took_s, "state": list(state)}

    def feed(self, *, name: str, events: int) -> dict[str, object]:
        """Events a second of reading the whole log, each decoded and folded into one state."""
        took_s, state = timed(self.kept[name].feed, seconds=0)
        return {"value": events / took_s, "state": list(state)}

    def size(self, *, name: str, events: int) -> dict[str, float]:
        """Bytes an event of a kept log, with nothing left beside its file."""
        store = self.kept[name]
        store.settle()
        return {"value": self._size_bytes(self._path(name)) / events}

    def build_steps(self, *, name: str, turns: int) -> dict[str, float]:
        """Checkpoints a second of a LangGraph graph's steps; they are kept."""
        raise NotImplementedError

    def drop(self, *, name: str) -> None:
        """Let a kept log go, and its file."""
        store = self.kept.pop(name, None)
        if store is not None:
            store.close()
        self._remove(self._path(name))

    # -- the rest ----------------------------------------------------------------------------------

    def _fresh(self) -> _Fresh:
        self._made += 1
        return _Fresh(self, f"fresh-{self._made}")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def _size_bytes(self, path: Path) -> int:
        return path.stat().st_size

    def _remove(self, path: Path) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _start(self, caller: int, n: int, size: int) -> int:
        """Where in the pool an append begins: a stream's events are the same for every size."""
        return (caller * POOL_STEP + n * size) % len(self.events)

    def _events(self, figures: dict[str, float], size: int) -> dict[str, float]:
        if "processor_us" in figures:
            figures["processor_us"] /= size
        return {"value": figures.pop("per_s") * size, **figures}


class _Fresh:
    """A store in a new file that is removed at the end."""

    def __init__(self, subject: Subject, name: str) -> None:
        self._subject = subject
        self._path = subject._path(name)

    def __enter__(self) -> Any:
        self._store = self._subject.open(self._path)
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._subject._remove(self._path)


def state_of(state: Any) -> State:
    """The state of a subject's own class as the one that all are compared by."""
    fields = (state.turns, state.tokens, state.cost, state.tools, state.errors, state.last)
    return State(*fields)


def serve(kind: type[Subject]) -> None:
    """Answer requests until the input ends; the folder for files is the only argument."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    subject = kind(folder)
    try:
        for line in sys.stdin:
            answers.write(json.dumps(_answer(subject, json.loads(line))) + "\n")
            answers.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answer(subject: Subject, request: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = getattr(subject, request["do"])(**request["with"])
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return answer if isinstance(answer, dict) else {"value": answer}
