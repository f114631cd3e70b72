"""refold with a sealer beside the appends, in the same process."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

import refold
from bench.measuring import timed
from bench.subject import serve
from bench.subjects.refold import Refold, RefoldStore
from refold.audit import Sealing, new_key, prove, verify

EVERY_S: Final = 0.25
"""Seals and signs four times as often as it would: the measurements are short."""
KEY: Final = new_key("example.com/bench")
ANEW: Final = (
    "DELETE FROM audit_tiles",
    "DELETE FROM audit_streams",
    "DELETE FROM audit_checkpoints",
    "UPDATE audit_log SET size = 0",
)


def sealing_of(store: refold.Store) -> Sealing:
    """Sealing of a log."""
    return Sealing(store, KEY, every_s=EVERY_S)


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

    def beside(self, path: Path) -> AbstractContextManager[object]:
        """A sealer by a connection of its own."""
        stack = ExitStack()
        stack.enter_context(sealing_of(stack.enter_context(refold.open(self.address(path)))))
        return stack

    def seal(self, *, name: str, events: int) -> dict[str, float]:
        """Events a second of sealing a kept log that was there before; again from the first."""
        store = self.kept[name].store
        sealing_of(store)
        store._backend.write(lambda begin: [begin().execute(one) for one in ANEW])
        took_s, _ = timed(sealing_of(store).checkpoint, seconds=0)
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
