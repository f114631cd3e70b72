"""All that is kept of one event, and the exact bytes of the call that it is part of."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from refold.capture import answer_of, request_of
from refold.errors import Corrupt, NotFound
from refold.ui.resting import resting_on
from refold.ui.visit import Visit

EXACT_BYTES_MAX: Final = 1 << 20
"""So much of an exact request or answer is shown."""


def screen(visit: Visit) -> str:
    """The page of an event."""
    recorded = visit.store.event(visit.place("event"))
    exact: dict[str, str] = {}
    for name, read in (("request", request_of), ("answer", answer_of)):
        with suppress(NotFound, Corrupt):
            held = read(visit.store, recorded.stream, recorded.version)
            exact[name] = held[:EXACT_BYTES_MAX].decode(errors="replace")
    resting = {"resting": resting_on(visit.store, recorded)}
    return visit.page("event.html", event=recorded, exact=exact, **resting)
