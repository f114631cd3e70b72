"""How the projections of a store stand: place, lag, rate, and what was set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from refold import Store
from refold.projections import Projector
from refold.projections.metrics import METRICS
from refold.projections.projector import ProjectionStatus
from refold.readmodels import built_in
from refold.times import rfc3339
from refold.ui.visit import Visit

PARKED_SHOWN: Final = 20
"""So many streams that a projection has set aside are named."""
STATES: Final = {
    "new": "never started",
    "current": "current",
    "changed": "changed, so it has to be rebuilt",
    "unknown": "its code is not known here",
}
"""The states of a projection, in words."""


class Standing(NamedTuple):
    """The projections with rows, those that come with refold and have none, and the log's head."""

    kept: Sequence[ProjectionStatus]
    unstarted: Sequence[str]
    head: int


def screen(visit: Visit) -> str:
    """The page of the projections."""
    said = standing(visit.store, rows=visit.rows)
    words = {"meaning": METRICS, "states": STATES, "parked_shown": PARKED_SHOWN}
    is_elsewhere = visit.rows is not None
    return visit.page(
        "projections.html", said=said, is_elsewhere=is_elsewhere, time_of=rfc3339, **words
    )


def standing(store: Store, *, rows: Store | None = None) -> Standing:
    """How those stand that come with refold, and all others that have rows; changes nothing."""
    projector = Projector(store, built_in(), rows=rows)
    own = projector.status()
    kept = [one for one in (*own, *projector.others()) if one.state != "new"]
    return Standing(kept, [one.name for one in own if one.state == "new"], store.log_head())
