"""A store as it is served: one for all callers, so that their appends share commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request

from refold.engine.aio import AsyncStore
from refold.engine.store import Store
from refold.errors import Unavailable, UsageError
from refold.server.access import Grant
from refold.server.tail import Tail

R = TypeVar("R")
TENANTS_MAX = 100
"""So many tenants' stores are open at once."""


class Desk:
    """A store, and the same for the event loop; ``rows`` is where its read models are kept.

    Who holds ``finding`` brings them up to date.
    """

    def __init__(self, store: Store, rows: Store | None = None) -> None:
        self.store, self.rows = store, rows
        self.shared = AsyncStore(lambda: store)
        self.tail = Tail(self.shared)
        self.finding = asyncio.Lock()

    async def read(self, call: Callable[[Store], R]) -> R:
        """What a function makes of the store, on a thread of its own."""
        return await asyncio.to_thread(call, self.store)


class Desks:
    """The store that is served, and those of tenants that tokens are for, opened when needed."""

    def __init__(self, desk: Desk, tenant: Callable[[int], Store] | None) -> None:
        self.own = desk
        self._tenant = tenant
        self._of: dict[int, Desk] = {}
        self._opening = asyncio.Lock()

    async def of(self, tenant: int | None) -> Desk:
        """The store of a tenant; the one that is served where none is named."""
        if tenant is None:
            return self.own
        async with self._opening:
            if tenant not in self._of:
                if self._tenant is None or len(self._of) == TENANTS_MAX:
                    raise UsageError("this token's tenant is not served here", code="forbidden")
                self._of[tenant] = Desk(await asyncio.to_thread(self._tenant, tenant))
            return self._of[tenant]

    def stores(self) -> list[Store]:
        """Those that are served now."""
        return [desk.store for desk in self._all()]

    def _all(self) -> list[Desk]:
        return [self.own, *self._of.values()]

    def end(self) -> None:
        """Tell all who follow a store that the server ends."""
        for desk in self._all():
            desk.tail.end(Unavailable("this server ends: come again", code="server_ends"))


class ServedCall(NamedTuple):
    """A request as its handler gets it: decoded, and by somebody who may make it.

    ``query`` and ``body`` are of the classes of its operation; ``body`` is bytes where that says
    so. ``stream`` is the one that the address names. ``allowed`` asks again whether they may.
    """

    desk: Desk
    grant: Grant
    request: Request
    query: Any
    body: Any
    stream: str
    allowed: Callable[[], Grant]
