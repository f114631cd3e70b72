"""A store as it is served: one for all callers, so that their appends share commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple, TypeVar

from starlette.requests import Request

from refold.engine.aio import AsyncStore
from refold.engine.store import Store
from refold.errors import Unavailable, UsageError
from refold.server.access import Grant
from refold.server.received import Teller
from refold.server.sending import Room
from refold.server.tail import Tail

R = TypeVar("R")
TENANTS_MAX = 100
"""So many tenants' stores are open at once."""
WORKS_MAX: Final = 4
"""So many callers are worked for at once of one store; others wait their turn."""
READERS_MAX: Final = 8
"""So many threads read a store; those of another are not waited for."""


class Desk:
    """A store, and the same for the event loop; ``rows`` is where its read models are kept.

    Who holds ``finding`` brings them up to date. ``workers`` are for what may take long.
    """

    def __init__(self, store: Store, rows: Store | None = None) -> None:
        self.store, self.rows = store, rows
        self.shared = AsyncStore(lambda: store)
        self.tail = Tail(self.shared)
        self.finding = asyncio.Lock()
        self.teller = Teller(store)
        self.workers = ThreadPoolExecutor(WORKS_MAX, thread_name_prefix="refold-work")
        self._readers = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="refold-read")
        self._calls = 0

    async def read(self, call: Callable[[Store], R]) -> R:
        """What a function makes of the store, on a thread of its own."""
        return await self.run(lambda: call(self.store))

    async def run(self, call: Callable[[], R]) -> R:
        """What a function gives, on a thread for this store."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Not closed until the block ends."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @property
    def is_idle(self) -> bool:
        """Whether nobody asks or follows, and nothing that was received is to be told."""
        return not (self._calls or self.tail.is_followed or self.teller.is_owing)

    def close(self) -> None:
        """Close the store, without waiting for it: it may not answer."""
        self._readers.submit(self.store.close)
        for threads in (self._readers, self.workers):
            threads.shutdown(wait=False)


class Desks:
    """The store that is served, and those of tenants that tokens are for.

    A tenant's is opened when it is needed, and the one that was not used for longest closed where
    there are too many. None of another is waited for.
    """

    def __init__(self, desk: Desk, tenant: Callable[[int], Store] | None) -> None:
        self.own, self.unread = desk, Room("events that subscribers have not read yet")
        self._tenant = tenant
        self._of: dict[int, asyncio.Task[Desk]] = {}

    @asynccontextmanager
    async def at(self, tenant: int | None) -> AsyncIterator[Desk]:
        """The store of a tenant, open until the block ends; without one, that which is served."""
        desk = self.own if tenant is None else await self._opened(tenant)
        with desk.in_use():
            yield desk

    async def _opened(self, tenant: int) -> Desk:
        if self._tenant is None:
            raise UsageError("this token's tenant is not served here", code="forbidden")
        opening = self._of.pop(tenant, None)
        if opening is None or _has_failed(opening):
            self._make_room()
            opening = asyncio.create_task(_desk_of(self._tenant, tenant))
        self._of[tenant] = opening  # Behind those that were used before.
        return await asyncio.shield(opening)

    def _make_room(self) -> None:
        if len(self._of) < TENANTS_MAX:
            return
        for tenant, opening in self._of.items():
            if opening.done() and (_has_failed(opening) or opening.result().is_idle):
                del self._of[tenant]
                if not _has_failed(opening):
                    opening.result().close()
                return
        why = f"the stores of {TENANTS_MAX} tenants are open and in use: come again"
        raise Unavailable(why)

    def all(self) -> list[Desk]:
        """Those that are served now."""
        opened = (one for one in self._of.values() if one.done() and not _has_failed(one))
        return [self.own, *(one.result() for one in opened)]

    def end(self) -> None:
        """Tell all who follow a store that the server ends."""
        for desk in self.all():
            desk.tail.end(Unavailable("this server ends: come again", code="server_ends"))

    def close(self) -> None:
        """Close the stores of tenants."""
        for desk in self.all()[1:]:
            desk.close()


async def _desk_of(opened: Callable[[int], Store], tenant: int) -> Desk:
    thread = ThreadPoolExecutor(1)  # Its own: a database that does not answer is waited for.
    try:
        return Desk(await asyncio.get_running_loop().run_in_executor(thread, opened, tenant))
    finally:
        thread.shutdown(wait=False)


def _has_failed(opening: asyncio.Task[Desk]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


class ServedCall(NamedTuple):
    """A request as its handler gets it: decoded, and by somebody who may make it.

    ``query`` and ``body`` are of the classes of its operation; ``body`` is bytes where that says
    so. ``stream`` is the one that the address names. ``allowed`` asks again whether they may.
    ``unread`` is the room for what subscribers of all stores have not read yet.
    """

    desk: Desk
    grant: Grant
    request: Request
    query: Any
    body: Any
    stream: str
    allowed: Callable[[], Grant]
    unread: Room
