"""refold with a sealer beside the appends, in the same process."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import refold
from bench.measuring import timed
from bench.subject import serve
from bench.subjects.refold import Refold, RefoldStore
from refold.audit import Sealing, new_key, prove, verify

EVERY_S: Final = 0.25
"""Seals and signs four times as often as it would: the measurements are short."""


def sealing_of(store: refold.Store) -> Sealing:
    """Sealing of a new log."""
    return Sealing(store, new_key("example.com/bench"), every_s=EVERY_S)


class SealedStore(RefoldStore):
    """A store with a sealer behind it."""

    def __init__(self, store: refold.Store, subject: Refold) -> None:
        super().__init__(store, subject)
        self._sealing = sealing_of(store).__enter__()

    def close(self) -> None:
        self._sealing.__exit__(None)
        super().close()


class RefoldSealed(Refold):
    """The same calls; what is appended is sealed and signed all the while."""

    def open(self, path: Path) -> RefoldStore:
        return SealedStore(refold.open(self.address(path), registry=self.registry), self)

    def append_tasks(self, *, size: int, seconds: float, tasks: int) -> dict[str, float]:
        """By tasks of an event loop; the sealer has a connection of its own."""
        with refold.open(self.address(self._path("tasks"))) as beside, sealing_of(beside):
            return super().append_tasks(size=size, seconds=seconds, tasks=tasks)

    def seal(self, *, name: str, events: int) -> dict[str, float]:
        """Events a second of sealing a kept log that was there before."""
        took_s, _ = timed(sealing_of(self.kept[name].store).checkpoint, seconds=0)
        return {"value": events / took_s}

    def verify_deep(self, *, name: str, events: int) -> dict[str, float]:
        """Events a second of verifying a sealed log, every event of it."""
        took_s, found = timed(lambda: verify(self.kept[name].store, deep=True), seconds=0)
        assert (found.events, found.finding_count) == (events, 0)
        return {"value": events / took_s}

    def proof(self, *, name: str, seconds: float) -> dict[str, float]:
        """Seconds to prove an event of a sealed log."""
        store = self.kept[name].store
        took_s, _ = timed(lambda: prove(store, "session-0@50"), seconds=seconds, times_min=5)
        return {"value": took_s}


if __name__ == "__main__":
    serve(RefoldSealed)
