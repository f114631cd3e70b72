"""Group commit: appends that meet share one commit and one sync, each with its own outcome.

A caller that finds nobody committing commits at once on its own thread. Those who come meanwhile
wait; when the commit is done, the first of them commits for all that have gathered. Callers from
an event loop never block it: a writer thread commits for them and wakes their loop once a commit.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from os import getpid
from queue import Empty, SimpleQueue
from typing import Final

from refold import process
from refold.errors import (
    LOOK_OR_REPEAT,
    OutcomeUnknown,
    Overloaded,
    RefoldError,
    StoreClosed,
    copied,
)
from refold.ports import Batch, Outcome

WAITING_MAX: Final = 10_000
"""How many appends may wait for a commit; one more is refused with ``Overloaded``."""
BATCHES_PER_COMMIT_MAX: Final = 512

LOST_LEADER_S: Final = 0.5
"""How long one waits before looking whether anybody still commits: an interrupt may have come."""

Commit = Callable[[Sequence[Batch]], Sequence[Outcome]]


@dataclass(eq=False, slots=True)
class _Request:
    """Batches on their way: a thread waits at ``gate``, or a loop for ``future``."""

    batches: Sequence[Batch]
    future: asyncio.Future[Sequence[Outcome]] | None = None
    gate: threading.Lock | None = None
    leads: bool = False
    outcomes: Sequence[Outcome] | BaseException | None = None


class GroupCommit:
    """Turns many callers' batches into few calls of ``commit``, never two at a time.

    An interrupt may come between any two steps of a leader. Whoever commits holds ``_leading``, so
    those who wait can tell that nobody does, and go on in its place.
    """

    def __init__(self, commit: Commit, *, waiting_max: int = WAITING_MAX) -> None:
        self._commit = commit
        self._waiting_max = waiting_max
        self.process = process.here()
        self._mutex = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._in_hand: Sequence[_Request] = ()
        self._leading = threading.Lock()
        self._busy = False
        self._closed = False
        self._idle = threading.Condition(self._mutex)
        self._thread: threading.Thread | None = None
        # Written in C: an interrupt inside a Semaphore leaves its lock held.
        self._wake = SimpleQueue[None]()

    def append(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Store batches in one commit and give each its outcome, from any thread.

        A commit that failed is raised; no batch of it has an outcome then.
        """
        if self.process.pid != getpid():  # Before a lock that a thread of the parent may hold.
            self.process.check()
        with self._mutex:
            if self._closed or self._waiting:
                self._admit()
            request = self._queued(batches) if self._busy else None
            self._busy = True
        if request is None:
            with self._leading:
                try:
                    return self._commit(batches)
                finally:
                    self._hand_over()
        self._follow(request)
        assert request.outcomes is not None
        if isinstance(request.outcomes, BaseException):
            raise request.outcomes
        return request.outcomes

    async def append_async(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Store batches in one commit and give each its outcome, from an event loop.

        A waiter that is cancelled gives up its answer, not its append: that may still be stored.
        """
        self.process.check()
        future: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        with self._mutex:
            if self._closed or self._waiting:
                self._admit()
            if self._thread is None:
                self._start_thread()  # First: it also goes on for whoever is interrupted.
            self._waiting.append(_Request(batches, future))
            if not self._busy:
                self._busy = True
                self._wake.put(None)
        return await future

    def close(self) -> None:
        """Refuse new appends, and return when those that wait have their outcome."""
        with self._mutex:
            self._closed = True
            while self._busy:
                if not self._idle.wait(LOST_LEADER_S) and not self._waiting:
                    self._busy = self._leading.locked()
            thread, self._thread = self._thread, None
        if thread is not None:
            self._wake.put(None)
            thread.join()

    def _queued(self, batches: Sequence[Batch]) -> _Request:
        gate = threading.Lock()
        gate.acquire()
        request = _Request(batches, gate=gate)
        self._waiting.append(request)
        return request

    def _admit(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed")
        if len(self._waiting) >= self._waiting_max:
            why = f"{len(self._waiting)} appends already wait for a commit"
            raise Overloaded(f"{why}: slow down, or try later")

    def _follow(self, request: _Request) -> None:
        assert request.gate is not None
        try:
            while not request.gate.acquire(timeout=LOST_LEADER_S):
                self._rescue()
                if request.outcomes is not None:
                    return
        except BaseException:
            self._give_up(request)
            raise
        if request.leads:
            with self._leading:
                self._lead()

    def _rescue(self) -> None:
        """Go on for a leader that was interrupted; does nothing while somebody commits."""
        if not self._leading.acquire(blocking=False):
            return
        try:
            with self._mutex:
                lost = [r for r in self._in_hand if r not in self._waiting]
            for request in lost:
                if request.outcomes is None:
                    request.outcomes = _unknown(KeyboardInterrupt())
            _wake_all(lost)
            self._lead()
        finally:
            self._leading.release()

    def _give_up(self, request: _Request) -> None:
        """An interrupted waiter must not leave the others without a leader."""
        with self._mutex:
            if request in self._waiting:
                self._waiting.remove(request)
            leads, request.leads = request.leads, False
        if leads:
            self._hand_over()

    def _lead(self) -> None:
        """Commit for those at the head of the queue, tell each, and let the next group go.

        Nobody waits where another has gone on in this one's place.
        """
        group = self._taken()
        try:
            if group:
                outcomes = iter(self._commit([batch for r in group for batch in r.batches]))
                for request in group:
                    request.outcomes = list(islice(outcomes, len(request.batches)))
        except RefoldError as error:
            for request in group:
                request.outcomes = copied(error)
        except BaseException as error:
            group[0].outcomes = error
            for request in group[1:]:
                request.outcomes = _unknown(error)
        self._hand_over()
        _wake_all(group)
        self._in_hand = ()

    def _hand_over(self) -> None:
        """Let the first that waits lead; a loop's request is led by the writer thread."""
        with self._mutex:
            if not self._waiting:
                self._busy = False
                if self._closed:
                    self._idle.notify_all()
                return
            leader = self._waiting[0]
            if leader.gate is None:
                self._wake.put(None)
            elif not leader.leads:
                leader.leads = True
                leader.gate.release()

    def _taken(self) -> Sequence[_Request]:
        """The requests at the head of the queue that fit in one commit, at least one."""
        taken: list[_Request] = []
        room = BATCHES_PER_COMMIT_MAX
        with self._mutex:
            for request in self._waiting:
                room -= len(request.batches)
                if taken and room < 0:
                    break
                taken.append(request)
            # Before they leave the queue: they are in one place or the other, or in both.
            self._in_hand = taken
            for _ in taken:
                self._waiting.popleft()
        return taken

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="refold-writer", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        while True:
            try:
                self._wake.get(timeout=LOST_LEADER_S)
            except Empty:
                # Closed before the rest is looked at: then nothing more comes. An interrupt in
                # Thread.start() has left two of these, and close() wakes one.
                if self._closed and not (self._waiting or self._in_hand):
                    return
                if self._waiting or self._in_hand:
                    self._rescue()
                continue
            if self._closed and not self._waiting:
                return
            with self._leading:
                self._lead()


def _wake_all(group: Iterable[_Request]) -> None:
    """Release every thread, and call every loop once with all of its requests."""
    loops: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in group:
        if request.future is not None:
            loops.setdefault(request.future.get_loop(), []).append(request)
        elif request.gate is not None and not request.leads and request.gate.locked():
            request.gate.release()
    for loop, requests in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, requests)
        except RuntimeError:
            continue  # The loop has been closed: nobody is left to hear.


def _resolve(requests: Iterable[_Request]) -> None:
    for request in requests:
        future = request.future
        if future is None or future.done():
            continue
        if isinstance(request.outcomes, BaseException):
            future.set_exception(request.outcomes)
        elif request.outcomes is not None:
            future.set_result(request.outcomes)


def _unknown(error: BaseException) -> OutcomeUnknown:
    why = f"the commit was interrupted ({error!r}): the append may or may not be stored"
    return OutcomeUnknown(f"{why}; {LOOK_OR_REPEAT}")
