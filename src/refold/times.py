"""Instants as text, what ``--at`` takes and what is printed; and whether stored ones can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from refold.core.clock import rfc3339, to_us
from refold.engine.store import Store
from refold.errors import RefoldError
from refold.ports import Check

__all__ = ["check_occurred", "rfc3339", "to_us"]

AHEAD_US: Final = 60_000_000
"""Clocks differ: more than a minute between two is one that is wrong."""
OCCURRED: Final = "occurred in time"
"""What the check of it is called."""


def check_occurred(store: Store) -> Iterator[Check]:
    """Whether events say that they occur in the future of the clock, as a line of a diagnosis.

    Those that were recorded then too are not meant: they have the time of the log's own clock.
    """
    now_us, found, first = store._clock(), 0, ""
    try:
        for event in store.read_all():
            if event.occurred_at_us - AHEAD_US > max(now_us, event.recorded_at_us):
                found += 1
                first = first or f"{event.id}, at {rfc3339(event.occurred_at_us)}"
    except RefoldError:
        return  # Others say what is damaged.
    advice = (
        "mend the clock of who records them; an event stays as it is, and until its time comes "
        "reads up to an instant that has passed leave it out"
    )
    told = f"{found} events say that they occur in the future, the first {first}: {advice}"
    yield Check(OCCURRED, not found, told if found else "checked")
