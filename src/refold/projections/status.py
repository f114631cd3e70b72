"""How projections stand: lag, rate, and what was set aside."""

from __future__ import annotations

from typing import Literal, NamedTuple

from refold.projections.catalog import Parked, catalog_of, is_unchanged
from refold.projections.cursor import Context
from refold.projections.projection import Projection

State = Literal["new", "current", "changed", "unknown"]


class ProjectionStatus(NamedTuple):
    """A projection as it stands.

    ``state``: ``"new"`` was never started, ``"changed"`` is not what its rows were made by and has
    to be rebuilt; of an ``"unknown"`` one the code was not given. ``position`` is where its rows
    stand, ``lag_events`` how many positions of the log are to come, ``lag_s`` how long ago the
    first of them was recorded. ``rate`` is in positions a second at the last moves.
    ``filling_position`` is how far a rebuild has come, None where there is none; ``previous`` is
    the generation that waits to be confirmed.
    """

    name: str
    state: State
    generation: int = 0
    previous: int | None = None
    position: int = 0
    lag_events: int = 0
    lag_s: float = 0.0
    rate: float = 0.0
    moved_at_us: int = 0
    filling_position: int | None = None
    parked: tuple[Parked, ...] = ()


def status_of(context: Context, name: str, projection: Projection | None) -> ProjectionStatus:
    """How a projection stands, given with its code or not; reads only."""
    head = context.log.log_head()
    catalog = catalog_of(context.keeper)
    entry = catalog.entry(name)
    if entry is None:
        return ProjectionStatus(name, "new", lag_events=head, lag_s=_lag_s(context, 0, head))
    shown, filling = entry.shown, entry.filling
    state: State = "unknown"
    if projection is not None:
        state = "current" if is_unchanged(projection, shown) else "changed"
    return ProjectionStatus(
        name,
        state,
        shown.number,
        entry.previous,
        shown.position,
        max(head - shown.position, 0),
        _lag_s(context, shown.position, head),
        shown.rate,
        shown.moved_at,
        None if filling is None else entry.generations[filling].position,
        tuple(catalog.parked(name, shown.number).values()),
    )


def _lag_s(context: Context, position: int, head: int) -> float:
    if position >= head:
        return 0.0
    (first,) = context.log.log(after=position, categories=None, types=None, rows_max=1)
    return max(context.clock() - first.recorded_at, 0) / 1e6
