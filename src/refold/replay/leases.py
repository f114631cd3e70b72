"""Who asks what: runs of one variant at the same time share the work, and none pays twice.

A run takes what it is about to ask: it says in one stream of the store which branches it holds, on
condition that nobody has said anything since it looked. It says so again while it goes on, as a
sign of life, and that it holds nothing when it ends. What is held by a run whose process of this
machine is gone is free at once, by any other that is silent after :data:`LEASE_S`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from uuid import uuid4

from refold.core.expected import ANY, NO_STREAM, Expected
from refold.engine.store import Store
from refold.errors import Conflict, NotFound, RefoldError
from refold.process import has_ended
from refold.replay.events import ReplayLeased

STREAM: Final = "replay~leases"
"""Where all runs say what they hold."""
LEASE_S: Final = 60.0
"""A run that gave no sign of life for so long (by the clock of the store) holds nothing."""
SIGN_S: Final = 15.0
"""How often a run gives one."""

_going_on: Final = set[str]()
"""The runs of this process."""


class Leases:
    """What one run holds; safe between threads. Its end is :meth:`release`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex}"
        self._held: set[str] = set()
        self._seen: Expected = NO_STREAM
        self._has_said = False
        self._lock = threading.Lock()
        _going_on.add(self._holder)

    def of_others(self) -> set[str]:
        """The branches that other runs hold by now."""
        since_us = self._store._clock() - int(LEASE_S * 1_000_000)
        last: dict[str, ReplayLeased] = {}
        seen: Expected = NO_STREAM
        with suppress(NotFound):
            for recorded in self._store.read(STREAM, direction="backward"):
                seen = recorded.version if seen is NO_STREAM else seen
                if recorded.recorded_at_us < since_us:
                    break
                said = recorded.to_class(ReplayLeased)
                last.setdefault(said.holder, said)
        self._seen = seen
        last.pop(self._holder, None)
        return {name for said in last.values() if _goes_on(said.holder) for name in said.branches}

    def take(self, branches: Iterable[str]) -> bool:
        """Hold these too, unless another run has said something since :meth:`of_others`."""
        with self._lock:
            try:
                self._say({*self._held, *branches}, self._seen)
            except Conflict:
                return False
            return True

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
    host, _, number = holder.rpartition(":")[0].rpartition(":")
    return holder in _going_on or not has_ended(host, number)
