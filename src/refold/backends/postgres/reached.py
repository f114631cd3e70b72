"""How far a log was seen to go, by which one that went back is known.

A server that takes over may lack what its predecessor had acknowledged: a standby that lagged, a
backup that was restored, a disk that did not keep its word. Its log ends before what a process was
shown, or holds something else there, and whoever went on from that position would skip events or
take others for them. Each append is known by its time, to the microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from refold.backends.postgres.address import Address
from refold.errors import BackendError, UsageError, log_went_back

Run = Callable[..., list[tuple[Any, ...]]]


class Reached:
    """The furthest that a log was shown to a process; any thread may note and check."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.last = (0, 0)
        """The position, and when its append was recorded."""
        self._system = ""
        self._went_back: BackendError | None = None

    def note(self, position: int, recorded_at: int) -> None:
        """Somebody is shown a position; ``recorded_at`` is that of its append."""
        if position > self.last[0]:
            self.last = (position, recorded_at)

    def refuse(self) -> None:
        """Raise :class:`~refold.errors.BackendError` once the log was seen to have gone back."""
        if self._went_back is not None:
            raise self._went_back

    def check(self, run: Run, system: str = "") -> None:
        """Look by a new connection whether the log there holds what was shown of it.

        One that only follows may do so yet, and another ``system`` has another log: these are taken
        for lost. Else nobody goes on with it. A login that may see the log no more is told so.
        """
        last = self.last
        if last[0]:
            holds, head = self._looked(run, *last)
            if not holds and system and system != (self._system or system):
                raise psycopg.OperationalError("another server answers, with another log")
            if not holds:
                self._went_back = log_went_back(last[0], head, self._address.shown)
        self._system = system or self._system
        self.refuse()

    def awaited(self, run: Run, position: int) -> int:
        """Where a log ends that seems to go less far than a position, or than was shown of it.

        Raises as :meth:`check` does; one that only follows, and is behind, is taken for lost.
        """
        self.check(run)
        return self._looked(run, position, 0)[1]

    def _looked(self, run: Run, position: int, recorded_at: int) -> tuple[bool, int]:
        """Whether the append at a position is that of a time, 0: of any, and where the log ends."""
        ((holds, head, follows, sees),) = run("holds", self._address.tenant, position, recorded_at)
        if not sees:
            why = f"{self._address.shown}: tenant {self._address.tenant} is not of this login (any "
            raise UsageError(f"{why}more): bind it in the table tenants", code="not_writable")
        holds = holds or (not recorded_at and head >= position)
        if follows and not holds:
            raise psycopg.OperationalError("it follows another server, and is behind it")
        return holds, head
