"""What ends a run that gets nowhere, before it has gone through every conversation."""

from __future__ import annotations

from typing import Final

from refold.errors import Unavailable
from refold.replay.candidate import ModelFailure

UNREACHABLE_MAX: Final = 5
"""So many failures to connect, before anything was ever reached, end the run."""
FAILED_IN_A_ROW_MAX: Final = 20
"""So many decisions in a row without an answer end the run."""


class CircuitBreaker:
    """Counts failures of the candidate ``name`` and opens: raises :class:`Unavailable`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._was_reached = False
        self._has_answered = False
        self._unreachable = 0
        self._in_a_row = 0

    def answered(self) -> None:
        """A decision has its answer."""
        self._was_reached = self._has_answered = True
        self._in_a_row = 0

    def failed(self, failure: ModelFailure) -> None:
        """An attempt failed."""
        if failure.kind != "unreachable":
            self._was_reached = True
        elif not self._was_reached:
            self._unreachable += 1
            if self._unreachable >= UNREACHABLE_MAX:
                raise self._opened(f"cannot be reached: {failure.message}") from failure

    def gave_up(self, failure: ModelFailure) -> None:
        """A decision stays without an answer."""
        # Once something was answered, a refused request says more about itself (too long, say).
        if failure.kind == "refused" and self._has_answered:
            return
        self._in_a_row += 1
        if self._in_a_row >= FAILED_IN_A_ROW_MAX:
            raise self._opened(
                f"gave no answer to {self._in_a_row} decisions in a row, "
                f"the last time: {failure.message}"
            ) from failure

    def _opened(self, why: str) -> Unavailable:
        return Unavailable(
            f"{self._name} {why}; the replay stopped, and starting it again does what is missing",
            candidate=self._name,
        )
