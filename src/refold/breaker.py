"""Through an outage: everyone waits, one probes, and the run goes on when the service is back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from refold.errors import RefoldError, Unavailable
from refold.pacing import Pace, backoff_s

UNREACHABLE_MAX: Final = 5
"""So many failures to connect, before anything was ever reached, end the run."""
FAILED_IN_A_ROW_MAX: Final = 20
"""So many decisions in a row without an answer end the run."""
OUTAGE_OF: Final = 3
"""So many decisions that the service failed, with no answer to any meanwhile, are an outage."""
OUTAGE_MAX_S: Final = 600.0
NEVER_ANSWERED_MAX_S: Final = 60.0
"""An outage that was there from the beginning is more likely an account without a quota."""
PROBE_MAX_S: Final = 15.0
"""The longest pause between two probes."""
_AWAY: Final = frozenset({429, 502, 503, 504, 529})
_MUTE: Final = frozenset({"timeout", "busy"})
"""Kinds of failure that do not show that the service is there, whatever the status."""


@dataclass
class CircuitBreaker:
    """Counts failures of the candidate ``name``; raises :class:`Unavailable` to end the run.

    Where several decisions fail and it is the service that fails, it opens: nobody asks, but for
    one probe after a pause (half open), later and later, until something is answered; after
    ``outage_max_s`` without an answer the run ends. So it does where it gets nowhere otherwise,
    before it has gone through every conversation, and at once where the service asks for a longer
    pause than is left. A failure has a ``kind``, and the ``status`` of HTTP where there was one: a
    connection that it dropped has none, and counts as being away; a time-out says neither.
    """

    name: str
    pace: Pace
    outage_max_s: float = OUTAGE_MAX_S
    was_reached: bool = False
    has_answered: bool = False
    unreachable: int = 0
    in_a_row: int = 0
    away: set[int] = field(default_factory=set)
    since_s: float | None = None
    probes: int = 0
    probe: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def passed(self, decision: int) -> None:
        """Wait through an outage; whoever comes first after each pause is the probe."""
        while self.since_s is not None:
            if self.probe not in (None, decision):
                await self.changed.wait()
                continue
            self.probe = decision
            try:
                pause_s = backoff_s(self.probes, 0.5 + self.pace.roll() / 2, longest_s=PROBE_MAX_S)
                await self.pace.sleep(pause_s)
            except BaseException:
                self._tell()
                raise
            return

    def answered(self) -> None:
        """A decision has its answer."""
        self.was_reached = self.has_answered = True
        self.in_a_row = 0
        self._is_back()

    def failed(self, failure: RefoldError, decision: int) -> bool:
        """An attempt failed. Whether an outage is on, which is no fault of the decision's."""
        if failure.facts["kind"] != "unreachable":
            self.was_reached = True
        elif not self.was_reached:
            self.unreachable += 1
            if self.unreachable >= UNREACHABLE_MAX:
                raise self._opened("cannot be reached", failure) from failure
        if _is_away(failure):
            self.away.add(decision)
        elif failure.facts["kind"] not in _MUTE:
            self._is_back()
        if len(self.away) < OUTAGE_OF:
            return False
        now_s = self.pace.now_s()
        self.since_s = now_s if self.since_s is None else self.since_s
        longest_s = self.outage_max_s
        if not self.has_answered:
            longest_s = min(longest_s, NEVER_ANSWERED_MAX_S)
        asked_s = failure.facts.get("retry_after_s") or 0.0
        if now_s - self.since_s + asked_s > longest_s:
            what = f"was away for {now_s - self.since_s:.0f} s, the last time"
            if asked_s:
                what = f"asks for a pause of {asked_s:.0f} s, of {longest_s:.0f} s in all"
            raise self._opened(what, failure) from failure
        # Others that were under way when it began say nothing new.
        if decision == self.probe or not self.probes:
            self.probes += 1
            self._tell()
        return True

    def gave_up(self, failure: RefoldError) -> None:
        """A decision stays without an answer."""
        # Once something was answered, a refused request says more about itself (too long, say).
        if failure.facts["kind"] == "refused" and self.has_answered:
            return
        self.in_a_row += 1
        if self.in_a_row >= FAILED_IN_A_ROW_MAX:
            what = f"gave no answer to {self.in_a_row} decisions in a row, the last time"
            raise self._opened(what, failure) from failure

    def _is_back(self) -> None:
        self.away.clear()
        if self.since_s is not None:
            self.since_s, self.probes = None, 0
            self._tell()

    def _tell(self) -> None:
        """Let those who wait look again."""
        self.probe = None
        self.changed.set()
        self.changed = asyncio.Event()

    def _opened(self, what: str, failure: RefoldError) -> Unavailable:
        why = failure.message.removeprefix(f"{self.name}: ")
        return Unavailable(
            f"{self.name} {what}: {why}; the replay stopped, "
            "and starting it again does what is missing",
            candidate=self.name,
        )


def _is_away(failure: RefoldError) -> bool:
    """Whether a failure says that the service is not there, or has too much to do."""
    kind, status = failure.facts["kind"], failure.facts.get("status")
    return kind == "unreachable" or status in _AWAY or (kind == "busy" and status is None)
