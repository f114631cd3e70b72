"""The worker: every effect that the log asks for is performed until it has an outcome."""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, Self, get_args

from refold.engine.store import Store, system_clock
from refold.engine.store_check import check_store
from refold.errors import NotFound, StoreClosed, UsageError, shown
from refold.outbox.backlog import Backlog, Order
from refold.outbox.dispatch import EffectPool
from refold.outbox.effects import (
    COMMITTED,
    FAILED,
    REQUESTED,
    TYPES,
    EffectFailed,
    RequestedEffect,
    asked_by,
)
from refold.outbox.performing import Handler, Performer, Tried, checked_handlers
from refold.ports import Clock

WORKERS_MAX: Final = 256
EFFECTS_HELD_MAX: Final = 50_000
"""How many pending effects are held in memory; the rest waits in the log."""
LISTED_MAX: Final = 10_000
"""How many of them, when no more are asked for, a status holds while it reads."""


class PendingEffect(NamedTuple):
    """An effect without an outcome.

    ``handled``: the outbox that was asked has a handler for its name. ``attempts`` and ``error``
    (of the last one) are those of its run; an effect that cannot be read has no name, and says so
    in ``error``.
    """

    id: str
    name: str | None
    requested_at_us: int
    age_s: float
    handled: bool
    attempts: int
    error: str | None


class FailedEffect(NamedTuple):
    """An effect that failed: ``refused`` and not done, or ``gave_up``, and nobody knows."""

    id: str
    name: str | None
    reason: str
    error: str
    attempts: int
    failed_at_us: int
    age_s: float


class OutboxStatus(NamedTuple):
    """Counts of all effects; the oldest pending and the latest failed ones, oldest first."""

    requested: int
    committed: int
    failed: int
    oldest_pending: list[PendingEffect]
    latest_failed: list[FailedEffect]

    @property
    def pending(self) -> int:
        """How many have no outcome yet."""
        return self.requested - self.committed - self.failed


class Outbox:
    """Performs the effects that streams have requested, and records their outcomes there.

    ``handlers`` are by the effect's name: ``handler(effect, idempotency_key)``, plain or async
    (each call on an event loop of its own), up to ``workers`` at a time. What a handler gives is
    recorded as ``effect.committed``. When it raises :class:`~refold.Rejected`, ``effect.failed``
    is recorded at once; after any other error it is called again, after ``first_delay_s``, doubled
    each time up to ``delay_max_s``, with jitter; after ``attempts_max`` attempts in one run (an
    hour, by default) the effect has failed too, with the reason ``gave_up``. Each attempt that
    fails is a warning of the logger ``refold.outbox``, with when the next one is.

    A handler may be called again after it has succeeded, by this worker after a crash or by
    another one: always with the same key, by which the service must tell a repetition. Each
    effect gets one outcome, however many workers there are. With ``order="stream"`` an effect
    begins when those before it in its stream, of names that this outbox handles, have their
    outcomes; with ``"any"`` they do not wait for one another. ``categories`` narrows it to streams
    of these categories. Effects of branches are never performed.
    """

    def __init__(
        self,
        store: Store,
        handlers: Mapping[str, Handler],
        *,
        order: Order = "any",
        workers: int = 4,
        attempts_max: int = 20,
        first_delay_s: float = 0.5,
        delay_max_s: float = 300.0,
        categories: Sequence[str] | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_store(store, call="Outbox", instead="give refold.open(…)")
        if order not in get_args(Order):
            raise UsageError(f"order={shown(order)} is none of {', '.join(get_args(Order))}")
        if not isinstance(workers, int) or not 1 <= workers <= WORKERS_MAX:
            raise UsageError(f"workers={shown(workers)} must be 1 to {WORKERS_MAX}")
        if not isinstance(attempts_max, int) or attempts_max < 1:
            raise UsageError(f"attempts_max={shown(attempts_max)} must be 1 or more")
        self._store = store
        self._handlers = checked_handlers(handlers)
        performer = Performer(store, self._handlers, attempts_max, first_delay_s, delay_max_s)
        self._dispatch_of = partial(
            EffectPool, store, performer.attempt, order, workers, categories
        )
        self._categories = categories
        self._clock = clock
        self._after = 0
        self._at_work = threading.Lock()
        self._dispatch: EffectPool | None = None
        self._closed = False

    def catch_up(self) -> int:
        """Perform what is pending now, until each of it has its outcome; how many got it here.

        Waits for retries. Raises what the store raises; what was then performed and not recorded
        stays pending, and the next run asks for it again under the same key.
        """
        with self._dispatching(until=self._store.log_head()) as dispatch:
            while not self._closed and dispatch.step():
                pass
            return dispatch.settled

    def run(self) -> None:
        """Perform what is pending and what comes, until this outbox or the store's file is closed.

        Returns when what is under way has ended. Raises as :meth:`catch_up` does.
        """
        with suppress(StoreClosed), self._dispatching(until=None) as dispatch:
            while not self._closed:
                if not dispatch.step():
                    dispatch.wait()

    def close(self) -> None:
        """End :meth:`run` and :meth:`catch_up`; from any thread, or a signal handler."""
        self._closed = True
        if (dispatch := self._dispatch) is not None:
            dispatch.wake()

    def status(self, *, limit: int = 100) -> OutboxStatus:
        """How the effects of the log stand: counts, and up to ``limit`` of the pending and failed.

        Reads every ``effect.*`` event of the log, once where at most 10,000 are pending at a time.
        """
        if not isinstance(limit, int) or limit < 0:
            raise UsageError(f"limit={shown(limit)} must be 0 or more")
        limit = min(limit, sys.maxsize)
        now_us, dispatch = self._clock(), self._dispatch
        tried = dict(dispatch.tried) if dispatch else {}
        counts = Counter[str]()
        failed: deque[tuple[EffectFailed, int]] = deque(maxlen=limit)
        backlog = Backlog(lambda _: True, max(limit, LISTED_MAX))
        events = partial(self._store.read_all, categories=self._categories, types=TYPES)
        for recorded in events(after=0):
            noted = backlog.note(recorded)
            counts[recorded.type] += noted is not None
            if isinstance(noted, EffectFailed):
                failed.append((noted, recorded.recorded_at_us))
        while len(backlog.open) < limit and backlog.left_out_after is not None:
            for recorded in events(after=backlog.read_again()):
                backlog.note(recorded)
        oldest = islice(backlog.open.values(), limit)  # It is in the order of the log.
        pending = [self._pending(one, tried.get(one.id, Tried()), now_us) for one in oldest]
        failures = [self._failed(*one, now_us) for one in failed]
        sums = counts[REQUESTED], counts[COMMITTED], counts[FAILED]
        return OutboxStatus(*sums, oldest_pending=pending, latest_failed=failures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pending(self, asked: RequestedEffect, tried: Tried, now_us: int) -> PendingEffect:
        at_us, name = asked.requested_at_us, asked.name
        error = asked.error or tried.error
        waiting = (now_us - at_us) / 1e6, name in self._handlers, tried.attempts, error
        return PendingEffect(asked.id, name, at_us, *waiting)

    def _failed(self, outcome: EffectFailed, at_us: int, now_us: int) -> FailedEffect:
        try:
            name = asked_by(self._store.event(outcome.effect)).name
        except (NotFound, UsageError):
            name = None  # It names no event: somebody else has recorded it.
        why = outcome.reason, outcome.error, outcome.attempts
        return FailedEffect(outcome.effect, name, *why, at_us, (now_us - at_us) / 1e6)

    @contextmanager
    def _dispatching(self, *, until: int | None) -> Iterator[EffectPool]:
        if not self._at_work.acquire(blocking=False):
            raise UsageError("this outbox is at work already: make another one")
        try:
            backlog = Backlog(lambda asked: asked.name in self._handlers, EFFECTS_HELD_MAX, until)
            with self._dispatch_of(backlog, self._after) as dispatch:
                self._dispatch = dispatch
                yield dispatch
                self._after = backlog.settled_to(dispatch.log.position)
        finally:
            self._dispatch = None
            self._at_work.release()
