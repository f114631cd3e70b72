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


class Reached:
    """The furthest that a log was shown to a process; any thread may note and check."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._last = (0, 0)
        self._system = ""
        self._went_back: BackendError | None = None

    def note(self, position: int, recorded_at: int) -> None:
        """Somebody is shown a position; ``recorded_at`` is that of its append."""
        if position > self._last[0]:
            self._last = (position, recorded_at)

    @property
    def position(self) -> int:
        """How far that was."""
        return self._last[0]

    def refuse(self) -> None:
        """Raise :class:`~refold.errors.BackendError` once the log was seen to have gone back."""
        if self._went_back is not None:
            raise self._went_back

    def check(self, run: Callable[..., list[tuple[Any, ...]]], system: str = "") -> None:
        """Look by a new connection whether the log there holds what was shown of it.

        One that only follows may do so yet, and another ``system`` has another log: these are taken
        for lost. Else nobody goes on with it. A login that may see the log no more is told so.
        """
        last = self._last
        if last[0]:
            ((holds, head, follows, sees),) = run("holds", self._address.tenant, *last)
            if not sees:
                raise self._unbound()
            if follows and not holds:
                raise psycopg.OperationalError("it follows another server, and is behind it")
            if not holds and system and system != (self._system or system):
                raise psycopg.OperationalError("another server answers, with another log")
            if not holds:
                self._went_back = log_went_back(last[0], head, self._address.shown)
        self._system = system or self._system
        self.refuse()

    def awaited(self, run: Callable[..., list[tuple[Any, ...]]], position: int) -> int:
        """Where a log ends that seems to go less far than a position, or than was shown of it.

        Raises as :meth:`check` does; one that only follows, and is behind, is taken for lost.
        """
        self.check(run)
        ((_, head, follows, sees),) = run("holds", self._address.tenant, position, 0)
        if not sees:
            raise self._unbound()
        if follows and head < position:
            raise psycopg.OperationalError("it follows another server, and is behind it")
        return int(head)

    def _unbound(self) -> UsageError:
        shown, tenant = self._address.shown, self._address.tenant
        why = f"{shown}: tenant {tenant} is not of this login (any more)"
        return UsageError(f"{why}: bind it in the table tenants", code="not_writable", url=shown)
