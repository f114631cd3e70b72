"""How projections stand: lag, rate, and what was set aside."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Literal, NamedTuple

from refold.errors import UsageError
from refold.projections.catalog import (
    Books,
    Generation,
    Parked,
    Standing,
    check_unchanged,
    stored_books,
)
from refold.projections.projection import Projection
from refold.projections.runner import Ground

State = Literal["new", "current", "changed", "unknown"]


class ProjectionStatus(NamedTuple):
    """A projection as it stands.

    ``state``: ``"new"`` was never started, ``"changed"`` is not what its rows were made by and has
    to be rebuilt; of an ``"unknown"`` one the code was not given. ``position`` is where its rows
    stand (of its parts, the last), ``lag_events`` how many positions of the log are to come,
    ``lag_s`` how long ago the first of them was recorded. ``rate`` is in positions a second at the
    last moves. ``filling_position`` is how far a rebuild has come, None where there is none;
    ``previous`` is the generation that waits to be confirmed.
    """

    name: str
    state: State
    generation: int = 0
    previous: int | None = None
    parts: int = 1
    position: int = 0
    lag_events: int = 0
    lag_s: float = 0.0
    rate: float = 0.0
    moved_at_us: int = 0
    filling_position: int | None = None
    parked: tuple[Parked, ...] = ()


def status_of(ground: Ground, projection: Projection) -> ProjectionStatus:
    """How a projection stands; reads only."""
    return _status(ground, projection.name, lambda generation: _state(projection, generation))


def others(ground: Ground, *, among: Container[str]) -> list[ProjectionStatus]:
    """How those projections stand that the books know and that are not ``among`` the given."""
    books = stored_books(ground.keeper)
    names = books.names() if books else []
    return [_status(ground, name, lambda _: "unknown") for name in names if name not in among]


def _status(ground: Ground, name: str, state_of: Callable[[Generation], State]) -> ProjectionStatus:
    head = ground.log.log_head()
    books = stored_books(ground.keeper)
    standing = books.standing(name) if books else None
    if books is not None and standing is not None and not books.progress(name, standing.current):
        standing = books.standing(name)  # Swapped out and dropped between two looks.
    if books is None or standing is None:
        lag_s = _lag_s(ground, 0, head)
        return ProjectionStatus(name, "new", lag_events=head, lag_s=lag_s)
    progress = books.progress(name, standing.current)
    position = min((part.position for part in progress), default=0)
    return ProjectionStatus(
        name,
        state_of(standing.generations[standing.current]),
        standing.current,
        standing.previous,
        len(progress),
        position,
        max(head - position, 0),
        _lag_s(ground, position, head),
        sum(part.rate for part in progress),
        max((part.moved_at for part in progress), default=0),
        _filling_position(books, standing),
        tuple(books.parked(name, standing.current).values()),
    )


def _state(projection: Projection, generation: Generation) -> State:
    try:
        check_unchanged(projection, generation)
    except UsageError:
        return "changed"
    return "current"


def _lag_s(ground: Ground, position: int, head: int) -> float:
    if position >= head:
        return 0.0
    (first,) = ground.log.log(after=position, categories=None, types=None, rows_max=1)
    return max(ground.clock() - first.recorded_at, 0) / 1e6


def _filling_position(books: Books, standing: Standing) -> int | None:
    if standing.filling is None:
        return None
    progress = books.progress(standing.name, standing.filling)
    return min((part.position for part in progress), default=0)
