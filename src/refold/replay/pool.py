"""A bounded pool of worker threads whose results are handed to one thread, as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final, Generic, TypeVar

from refold.errors import UsageError
from refold.replay.asking import Stopped

T = TypeVar("T")
R = TypeVar("R")

WORKERS_MAX: Final = 256
QUEUED_PER_WORKER: Final = 2
GRACE_S: Final = 5.0
"""How long a stop waits for what is under way: it may be paid for."""


@dataclass(frozen=True)
class _Done(Generic[T, R]):
    task: T
    result: R | None = None
    error: BaseException | None = None


class Pool(Generic[T, R]):
    """Runs ``work`` on ``workers`` threads.

    Only the thread that iterates :meth:`results` takes tasks and sees results, so what it does
    with them needs no locks. ``stop`` is set when the pool ends; work that waits watches it.
    """

    def __init__(self, work: Callable[[T], R], *, workers: int, stop: threading.Event) -> None:
        if not 1 <= workers <= WORKERS_MAX:
            raise UsageError(
                f"workers={workers} must be 1 to {WORKERS_MAX}", argument="workers", value=workers
            )
        self._work = work
        self._stop = stop
        self._tasks: SimpleQueue[T | None] = SimpleQueue()
        self._done: SimpleQueue[_Done[T, R]] = SimpleQueue()
        self._under_way = 0
        # Daemons: a hung request must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._serve, name=f"refold-replay-{n}", daemon=True)
            for n in range(workers)
        ]

    def results(self, tasks: Iterator[T]) -> Iterator[tuple[T, R]]:
        """Each task with its result, in the order in which they end.

        Raises what ``work`` raised. Takes tasks only as fast as they are worked off.
        """
        for thread in self._threads:
            thread.start()
        room = len(self._threads) * QUEUED_PER_WORKER
        self._feed(tasks, room)
        while self._under_way:
            done = self._done.get()
            self._under_way -= 1
            if done.error is not None:
                raise done.error
            if done.result is not None:
                yield done.task, done.result
            self._feed(tasks, room)

    def close(self, *, grace_s: float = GRACE_S) -> Iterator[tuple[T, R]]:
        """Stop; gives the results that were not handed over yet and those that end in time."""
        self._stop.set()
        for _ in self._threads:
            self._tasks.put(None)
        until_s = monotonic() + grace_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_s - monotonic()))
        while True:
            try:
                done = self._done.get_nowait()
            except Empty:
                return
            if done.result is not None:
                yield done.task, done.result

    def _feed(self, tasks: Iterator[T], room: int) -> None:
        while self._under_way < room:
            try:
                task = next(tasks)
            except StopIteration:
                return
            self._under_way += 1
            self._tasks.put(task)

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None and not self._stop.is_set():
            self._done.put(self._attempt(task))

    def _attempt(self, task: T) -> _Done[T, R]:
        try:
            return _Done(task, result=self._work(task))
        except Stopped:
            return _Done(task)
        except BaseException as error:
            return _Done(task, error=error)
