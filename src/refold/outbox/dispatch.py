"""The loop of a worker: read what is new, start what is due, take in what has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Self

from refold.engine.store import Store
from refold.engine.subscription import LOOK_EVERY_S, Subscription
from refold.errors import StoreClosed
from refold.outbox.backlog import Backlog, Order, Schedule
from refold.outbox.effects import TYPES, RequestedEffect
from refold.outbox.performing import Tried


@dataclass
class EffectPool:
    """Performs a backlog on a pool of threads; used by one thread, but for :meth:`wake`.

    ``log`` is what it reads, ``tried`` holds the effects that were attempted and are still open,
    ``settled`` counts those that this dispatch has brought to their outcome.
    """

    store: Store
    attempt: Callable[[str, int], Tried | None]
    order: Order
    workers: int
    categories: Sequence[str] | None
    backlog: Backlog
    after: int
    tried: dict[str, Tried] = field(default_factory=dict, init=False)
    settled: int = field(default=0, init=False)
    _under_way: dict[Future[Tried | None], RequestedEffect] = field(
        default_factory=dict, init=False
    )

    def __post_init__(self) -> None:
        # Its put may be called by a signal handler, wherever that comes.
        self._mail: SimpleQueue[Future[Tried | None] | None] = SimpleQueue()
        self.log = self._followed(self.after)
        self._schedule = Schedule(self.order)
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="refold-outbox")

    def step(self) -> bool:
        """Read, start, and wait for something to happen; False when nothing is left or will come.

        Raises what the store raises, and what a handler raised that is no :class:`Exception`.
        """
        self._look()
        self._start()
        if self._schedule.is_empty and self.backlog.left_out_after is None:
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Sleep until an attempt ends, one is due, the log has grown, or it is time to look."""
        timeout_s = LOOK_EVERY_S
        if len(self._under_way) < self.workers and self._schedule.next_s is not None:
            timeout_s = min(timeout_s, max(0.0, self._schedule.next_s - monotonic()))
        with suppress(Empty):
            self._take_in(self._mail.get(timeout=timeout_s))
            while True:
                self._take_in(self._mail.get_nowait())

    def wake(self) -> None:
        """End the wait that is, or the next one."""
        if self._mail.empty():  # What is in it ends the wait too.
            self._mail.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what is under way, which records its outcome itself."""
        self.log.bell.listeners.discard(self.wake)
        try:
            while kind is None and self._under_way:
                self._take_in(self._mail.get())
        finally:
            self._threads.shutdown()

    def _followed(self, after: int) -> Subscription:
        log = self.store.subscribe(after=after, categories=self.categories, types=TYPES)
        log.bell.listeners.add(self.wake)
        return log

    def _look(self) -> None:
        """Read to the end of the log: only there is it known which effects have no outcome."""
        if self.backlog.has_room():
            self.log.bell.listeners.discard(self.wake)
            self.log = self._followed(self.backlog.read_again())
        head = self.store.log_head()
        while self.log.position < head:
            self.log.fill()
            if self.log.closed:
                raise StoreClosed("the store was closed while its outbox was at work")
            while (recorded := self.log.take()) is not None:
                self.backlog.note(recorded)
        now_s = monotonic()
        for asked in self.backlog.take_new():
            self._schedule.add(asked, now_s)

    def _start(self) -> None:
        while len(self._under_way) < self.workers:
            asked = self._schedule.take(monotonic())
            if asked is None:
                return
            if asked.id not in self.backlog.open:
                self._finish(asked)  # Another worker has recorded its outcome.
                continue
            number = self.tried.get(asked.id, Tried()).attempts + 1
            future = self._threads.submit(self.attempt, asked.id, number)
            self._under_way[future] = asked
            future.add_done_callback(self._mail.put)

    def _take_in(self, ended: Future[Tried | None] | None) -> None:
        if ended is None:
            return
        asked, tried = self._under_way.pop(ended), ended.result()
        if tried is None:
            self.settled += 1
            self.backlog.open.pop(asked.id, None)
            self._finish(asked)
        else:
            self.tried[asked.id] = tried
            self._schedule.again(asked, monotonic() + tried.delay_s)

    def _finish(self, asked: RequestedEffect) -> None:
        self.tried.pop(asked.id, None)
        self._schedule.finish(asked, monotonic())
