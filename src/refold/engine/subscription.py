"""Following the log: what is there, then what comes, without a gap or a double.

A subscription pulls: it reads pages at its own pace and sleeps when it has caught up, so a slow
one never holds up a writer. Appends of this store ring a bell that wakes it at once, and those of
other processes where the backend hears of them; else they are found by looking every
``LOOK_EVERY_S``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Final, Self

from refold import process
from refold.core.recorded import Recorded
from refold.engine.reader import Reader
from refold.errors import StoreClosed, log_went_back
from refold.ports import Announcer

LOOK_EVERY_S: Final = 0.05
EVENTS_PER_PAGE: Final = 512
Hear = Callable[[Callable[[], None]], None]


class Bell:
    """Rung after every commit; wakes the threads and loops that wait for one.

    Each of the ``listeners`` is called at every ring, from the ringing thread. Where the backend
    hears of other processes' commits, these ring it too, once somebody waits.
    """

    def __init__(self, backend: object = None) -> None:
        self.process = process.here()  # First: it says why this cannot be pickled.
        self.hear: Hear = backend.announce if isinstance(backend, Announcer) else lambda _: None
        self.rung = 0
        self.sleepers = 0
        self._woken = threading.Condition()
        self.listeners: set[Callable[[], None]] = set()

    def ring(self) -> None:
        """Count, and wake whoever waits."""
        self.rung += 1
        self.wake()

    def wake(self) -> None:
        """Wake the ``sleepers`` and ``listeners``, when the bell has rung."""
        if self.sleepers and self.process.is_here:
            with self._woken:
                self._woken.notify_all()
        for listener in tuple(self.listeners):
            listener()

    def wait(self, rung: int) -> None:
        """Sleep until the bell has rung more than ``rung`` times, or it is time to look."""
        self.hear(self.ring)
        with self._woken:
            # Counted before looking: a ring between the two then knows that somebody sleeps.
            self.sleepers += 1
            if self.rung == rung:
                self._woken.wait(LOOK_EVERY_S)
            self.sleepers -= 1


class Pages:
    """The log from a position on, a page at a time; blocking."""

    def __init__(
        self,
        reader: Reader,
        *,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
    ) -> None:
        self._reader = reader
        self._open = partial(reader.log, categories=categories, types=types)
        self._log: Iterator[Recorded] | None = None
        self._head = 0
        self.position = after

    def read(self) -> deque[Recorded]:
        """The next events; empty when there are none yet."""
        if self._log is None:
            self._head = self._reader.log_head(reached=self.position)
            if self._head < self.position:
                raise log_went_back(self.position, self._head)
            if self._head == self.position:
                return deque()
            self._log = self._open(after=self.position)
        log, self._log = self._log, None  # A read that fails leaves nothing to go on from.
        page = deque(islice(log, EVENTS_PER_PAGE))
        is_full, last = len(page) == EVENTS_PER_PAGE, page[-1].position if page else self.position
        # Kept: appends larger than a page, and packed ones, are read once and not once a page.
        self._log = log if is_full else None
        # Else nothing that is wanted stands between the last of these and the head.
        self.position = last if is_full else max(self._head, last)
        return page


class Subscription:
    """An endless iterator over recorded events; close it, from any thread, to end it.

    ``position`` is how far it has come: every wanted event up to there was given out, so a
    subscription that starts after it goes on without a gap or a double.
    """

    def __init__(self, pages: Pages, bell: Bell) -> None:
        self.bell = bell
        self.closed = False
        self.position = pages.position
        self._pages = pages
        self._page: deque[Recorded] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Recorded:
        while not self.closed:
            recorded = self.take()
            if recorded is not None:
                return recorded
            rung = self.bell.rung
            if not self.fill() and not self.closed:
                self.bell.wait(rung)
        raise StopIteration

    def take(self) -> Recorded | None:
        """The next event of the page in memory; None at its end."""
        if not self._page:
            return None
        recorded = self._page.popleft()
        self.position = recorded.position
        return recorded

    def fill(self) -> bool:
        """Read the next page; whether there was anything. Ends with the store."""
        self.position = self._pages.position
        try:
            self._page = self._pages.read()
        except StoreClosed:
            self.closed = True
        return bool(self._page)

    def close(self) -> None:
        """End the iteration; a thread that waits in it returns at once."""
        self.closed = True
        self.bell.ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSubscription:
    """The same for an event loop: ``async for``, and ``await close()``."""

    def __init__(
        self,
        opened: Callable[[], Awaitable[Subscription]],
        run: Callable[[Callable[[], Any]], Awaitable[Any]],
        *,
        after: int,
    ) -> None:
        self._open = opened
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._sync: Subscription | None = None
        self._filling: asyncio.Future[bool] | None = None
        self._closed = False
        self._after = after

    @property
    def position(self) -> int:
        """How far it has come; see :class:`Subscription`."""
        return self._after if self._sync is None else self._sync.position

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Recorded:
        sync = self._sync
        if sync is None:
            sync = self._sync = await self._open()
            sync.bell.listeners.add(self._ring)
            sync.bell.hear(sync.bell.ring)
        while not self._closed:
            if self._filling is None and (recorded := sync.take()) is not None:
                return recorded
            self._rung.clear()
            if not await self._filled(sync) and not self._closed:
                with suppress(TimeoutError):  # Another process may have written: look.
                    await asyncio.wait_for(self._rung.wait(), LOOK_EVERY_S)
            self._closed = self._closed or sync.closed
        sync.bell.listeners.discard(self._ring)
        raise StopAsyncIteration

    async def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._rung.set()
        if self._sync is not None:
            self._sync.bell.listeners.discard(self._ring)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _filled(self, sync: Subscription) -> bool:
        """Whether there was another page; what a cancelled wait leaves behind is gone on with.

        Its thread reads on: a second one beside it would put its own page in the place of that one.
        """
        sync.bell.process.check()
        filling = self._filling or asyncio.ensure_future(self._run(sync.fill))
        self._filling = filling
        try:
            return await asyncio.shield(filling)
        except StoreClosed:
            self._closed = True
            return False
        finally:
            if filling.done():
                self._filling = None

    def _ring(self) -> None:
        with suppress(RuntimeError):  # The loop has been closed: nobody is left to wake.
            self._loop.call_soon_threadsafe(self._rung.set)
