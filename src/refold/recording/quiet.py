"""Recording beside a framework: in the order of its events, never in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from refold.recording.notes import Notes
from refold.recording.session import AsyncSession, Session


class QuietRecorder:
    """Records what a framework tells, in the order in which it does, in a recorder's session.

    With an async recorder nobody waits for the store; the end of the recorder's block does. What
    cannot be recorded is logged once, to ``logger``, and the framework goes on.
    """

    def __init__(self, recorder: Session | AsyncSession, logger: str) -> None:
        self._recorder, self._log = recorder, logging.getLogger(logger)
        self._has_failed = False

    def record(self, *events: object) -> None:
        """Record these events in one append."""
        self.record_made(lambda _: events)

    def record_made(self, make: Callable[[Notes], Sequence[object]]) -> None:
        """Record what is made of the session as it stands then; nothing where that is nothing."""
        try:
            told = self._recorder._beside(make)
        except Exception as error:
            self.failed(error)
            return
        if told is not None:
            told.add_done_callback(self._done)

    def failed(self, error: BaseException) -> None:
        """Something could not be recorded."""
        if not self._has_failed:
            self._has_failed = True
            self._log.warning("something was not recorded, and more may not be: %s", error)

    def _done(self, told: Any) -> None:
        if not told.cancelled() and (error := told.exception()) is not None:
            self.failed(error)
