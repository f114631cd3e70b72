"""Events that fail: tried again alone, then set aside with their stream."""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import Final

from refold.errors import RefoldError
from refold.ports import Transaction
from refold.projections.catalog import Parked
from refold.projections.handling import Poisoned

ATTEMPTS_MAX: Final = 3
"""How often an event that failed in a batch is tried alone."""
BACKOFF_S: Final = 0.05
PARKED_MAX: Final = 1_000
"""With so many streams set aside it is the projection that is wrong, not its events."""
ERROR_CHARS_MAX: Final = 1_000
_FAR: Final = (1 << 63) - 1


class Suspicion:
    """How far the next batch may go: up to before a suspect, or with it alone."""

    def __init__(self) -> None:
        self._suspect: int | None = None
        self._failures = 0
        self._cut = _FAR

    def limit(self, position: int) -> int:
        """The last position of a batch that begins after ``position``."""
        if self._suspect is None:
            return self._cut
        before = self._suspect - 1
        return min(self._cut, before if position < before else self._suspect)

    def after_failure(self, poison: Poisoned) -> float | None:
        """How long to pause before the event is tried again; None when it was tried enough."""
        if self._suspect != poison.position:
            self._suspect, self._failures = poison.position, 0
            return 0
        self._failures += 1
        return BACKOFF_S * 2**self._failures if self._failures < ATTEMPTS_MAX else None

    def halve(self, position: int, end: int) -> None:
        """A batch up to ``end`` failed and nobody knows where."""
        self._cut = position + (end - position) // 2

    def passed(self, position: int) -> None:
        """The rows stand at a position now."""
        if position >= self._cut:
            self._cut = _FAR
        if self._suspect is not None and position >= self._suspect:
            self.clear()

    def clear(self) -> None:
        """Suspect nobody."""
        self._suspect, self._failures = None, 0


def park(
    transaction: Transaction,
    name: str,
    generation: int,
    poison: Poisoned,
    *,
    attempts: int,
    now: int,
) -> Parked:
    """Set a stream aside from an event on."""
    error = described(poison.__cause__)
    parked = Parked(poison.stream, poison.version, poison.position, error, attempts, now)
    transaction.execute(
        "REPLACE INTO refold_parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (name, generation, *parked)
    )
    return parked


def check_room(name: str, parked: int) -> None:
    """Refuse to set more and more streams aside."""
    if parked >= PARKED_MAX:
        raise RefoldError(
            f"projection {name!r} has set {parked} streams aside: correct its handlers, then run "
            f"`refold projections rebuild {name}`",
            code="too_many_parked",
            projection=name,
        )


def described(error: BaseException | None) -> str:
    """What went wrong, and where in the handler."""
    if error is None:
        return "unknown"
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last = frames[-1]
        text = f"{text[:ERROR_CHARS_MAX]} ({PurePath(last.filename).name}:{last.lineno})"
    return text.encode(errors="replace").decode()
