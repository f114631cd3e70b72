"""refold, sealed: by the stores that append, in the same process."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Final

import refold
from bench.measuring import timed
from bench.subject import serve
from bench.subjects.refold import Refold
from refold.audit import Sealing, new_key, prove, verify

KEY: Final = new_key("example.com/bench")
ANEW: Final = (
    "DELETE FROM audit_tiles",
    "DELETE FROM audit_streams",
    "DELETE FROM audit_checkpoints",
    "UPDATE audit_log SET size = 0",
)


class RefoldSealed(Refold):
    """The same calls; what is appended is sealed and signed within a second."""

    how: dict[str, Any] = {"seal": KEY}

    def seal(self, *, name: str, events: int) -> dict[str, float]:
        """Events a second of sealing a kept log that was there before; again from the first."""
        store = self.kept[name].store
        store._backend.write(lambda begin: [begin().execute(one) for one in ANEW])
        took_s, _ = timed(Sealing(store, KEY).checkpoint, seconds=0)
        return {"value": events / took_s}

    def verify_deep(self, *, name: str, events: int) -> dict[str, float]:
        """Events a second of verifying a sealed log, every event of it, by all processors."""
        reopen = partial(refold.open, self.address(self._path(name)), mode="read")
        how: dict[str, Any] = {"deep": True, "reopen": reopen, "jobs": os.cpu_count()}
        took_s, found = timed(lambda: verify(self.kept[name].store, **how), seconds=0)
        assert (found.events, found.finding_count) == (events, 0)
        return {"value": events / took_s}

    def proof(self, *, name: str, seconds: float) -> dict[str, float]:
        """Seconds to prove an event of a sealed log."""
        store = self.kept[name].store
        took_s, _ = timed(lambda: prove(store, "session-0@50"), seconds=seconds, times_min=5)
        return {"value": took_s}


if __name__ == "__main__":
    serve(RefoldSealed)
