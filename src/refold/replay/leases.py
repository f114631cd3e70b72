"""Who asks what: runs of one variant, or judge, at a time share the work, and none pays twice.

A run takes what it is about to ask: it says in one stream of the store which branches it holds, on
condition that nobody has said anything since it looked. It says so again while it goes on, as a
sign of life, and that it holds nothing when it ends. What is held by a run whose process can be
seen to be gone is free at once, by any other that is silent after :data:`LEASE_S`. The clocks of
two machines may differ, so each run counts that by its own, from when it saw the last sign.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final
from uuid import uuid4

from refold.core.expected import ANY, NO_EVENTS, NO_STREAM, Expected
from refold.engine.store import Store
from refold.errors import Conflict, NotFound, RefoldError
from refold.process import has_ended, this_process
from refold.replay.events import ReplayLeased

STREAM: Final = "replay~leases"
"""Where all runs say what they hold."""
LEASE_S: Final = 60.0
"""A run of which another has seen no new sign of life for so long holds nothing."""
APART_S: Final = 86_400.0
"""How far the clocks of two machines may be apart: older signs are not looked at."""
SIGN_S: Final = 15.0
"""How often a run gives one."""
TAKEN_MAX: Final = 16
"""How many conversations are taken at a time, before others can take them."""
LOOKS_S: Final = 0.25
"""How often a run looks that waits for what others are asking."""

Waits = Callable[[int], None]
"""Called when a run begins to wait for others: of so many conversations they are asking."""

_going_on: Final = set[str]()
"""The runs of this process."""


class Leases:
    """What one run holds; safe between threads. Its end is :meth:`release`.

    ``waits`` is called when it begins to :meth:`wait`.
    """

    def __init__(self, store: Store, waits: Waits | None = None) -> None:
        self._store, self._waits, self._is_waiting = store, waits, False
        self._holder = f"{this_process()}:{uuid4().hex}"
        self._held: set[str] = set()
        self._head = NO_EVENTS
        self._signs: dict[str, tuple[float, list[str]]] = {}
        self._has_said = False
        self._lock = threading.Lock()
        _going_on.add(self._holder)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Give signs of life until the block ends; nothing is held then."""
        signs = asyncio.create_task(self._give_signs())
        try:
            yield
        finally:
            signs.cancel()
            await asyncio.to_thread(self.release)

    async def _give_signs(self) -> None:
        while True:
            await asyncio.sleep(SIGN_S)
            with suppress(RefoldError):
                await asyncio.to_thread(self.renew)

    def of_others(self) -> set[str]:
        """The branches that other runs hold by now."""
        self._look()
        return {
            name
            for holder, (seen_s, branches) in self._signs.items()
            if monotonic() - seen_s < LEASE_S and _goes_on(holder)
            for name in branches
        }

    def _look(self) -> None:
        """See what was said since, the last of each run, and when it was seen."""
        since_us = self._store._clock() - int(APART_S * 1_000_000)
        head, signs = self._head, dict[str, tuple[float, list[str]]]()
        with suppress(NotFound):
            for recorded in self._store.read(STREAM, direction="backward"):
                head = max(head, recorded.version)
                if recorded.version <= self._head or recorded.recorded_at_us < since_us:
                    break
                said = recorded.to_class(ReplayLeased)
                signs.setdefault(said.holder, (monotonic(), said.branches))
        signs.pop(self._holder, None)
        self._head, self._signs = head, self._signs | signs

    def take(self, branches: Iterable[str]) -> bool:
        """Hold these too, unless another run has said something since :meth:`of_others`."""
        with self._lock, suppress(Conflict):
            self._say({*self._held, *branches}, NO_STREAM if self._head < 0 else self._head)
            self._is_waiting = False
            return True
        return False

    async def wait(self, count: int) -> None:
        """Look again in a while: others are asking about all that is left, which is so much."""
        if self._waits is not None and not self._is_waiting:
            self._waits(count)
        self._is_waiting = True
        await asyncio.sleep(LOOKS_S)

    def give_back(self, branches: Iterable[str]) -> None:
        """Hold these no more; others learn of it with the next that is said."""
        with self._lock:
            self._held.difference_update(branches)

    def renew(self) -> None:
        """Give a sign of life, and say what is still held."""
        with self._lock:
            if self._has_said:
                self._say(self._held)

    def release(self) -> None:
        """Hold nothing more."""
        _going_on.discard(self._holder)
        with self._lock, suppress(RefoldError):
            if self._has_said:
                self._say(set())

    def _say(self, held: set[str], expected: Expected = ANY) -> None:
        if held and self._holder not in _going_on:
            return  # A thread of a run that is over.
        self._store.append(STREAM, [ReplayLeased(self._holder, sorted(held))], expected=expected)
        self._held, self._has_said = held, True


def _goes_on(holder: str) -> bool:
    process = holder.rpartition(":")[0]
    return holder in _going_on if process == this_process() else not has_ended(process)
