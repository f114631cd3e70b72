"""The worker: every effect that the log asks for is performed until it has an outcome."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, Self, get_args

from refold.engine.store import Store, system_clock
from refold.errors import StoreClosed, UsageError
from refold.http import backoff_s
from refold.outbox.backlog import Backlog, Order, Schedule
from refold.outbox.dispatch import Dispatch
from refold.outbox.performing import Handler, Performer, checked_handlers
from refold.outbox.status import OutboxStatus, status_of
from refold.ports import Clock

WORKERS_MAX: Final = 256
EFFECTS_HELD_MAX: Final = 50_000
"""How many pending effects are held in memory; the rest waits in the log."""


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
        if order not in get_args(Order):
            raise UsageError(f"order={order!r} is none of {', '.join(get_args(Order))}")
        if not 1 <= workers <= WORKERS_MAX:
            raise UsageError(f"workers={workers} must be 1 to {WORKERS_MAX}")
        if attempts_max < 1:
            raise UsageError(f"attempts_max={attempts_max} must be 1 or more")
        self._store = store
        self._handlers = checked_handlers(handlers)
        self._schedule = partial(Schedule, order)
        self._dispatch_of = partial(
            Dispatch,
            store,
            Performer(store, self._handlers, attempts_max).attempt,
            # Half of each wait by lot: workers that failed together do not come back together.
            delay_s=lambda attempts: backoff_s(
                attempts, random.uniform(0.5, 1), first_s=first_delay_s, longest_s=delay_max_s
            ),
            workers=workers,
            categories=categories,
        )
        self._categories = categories
        self._clock = clock
        self._after = 0
        self._at_work = threading.Lock()
        self._dispatch: Dispatch | None = None
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

        Reads every ``effect.*`` event of the log.
        """
        if limit < 0:
            raise UsageError(f"limit={limit} must be 0 or more")
        dispatch = self._dispatch
        return status_of(
            self._store,
            handled=self._handlers,
            tried=dict(dispatch.tried) if dispatch else {},
            now_us=self._clock(),
            limit=limit,
            categories=self._categories,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _dispatching(self, *, until: int | None) -> Iterator[Dispatch]:
        if not self._at_work.acquire(blocking=False):
            raise UsageError("this outbox is at work already: make another one")
        try:
            with self._dispatch_of(
                backlog=Backlog(
                    lambda asked: asked.name in self._handlers, EFFECTS_HELD_MAX, until
                ),
                schedule=self._schedule(),
                after=self._after,
            ) as dispatch:
                self._dispatch = dispatch
                yield dispatch
                self._after = dispatch.settled_to
        finally:
            self._dispatch = None
            self._at_work.release()
