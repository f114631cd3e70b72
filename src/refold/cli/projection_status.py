"""How projections stand, for people, programs and OpenMetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from refold.cli.text import clean

if TYPE_CHECKING:
    from refold.projections.status import ProjectionStatus

PARKED_SHOWN_MAX: Final = 20
_WORDS: Final = {
    "new": "never started: `refold projections run` does",
    "changed": "changed: `refold projections rebuild {name}`",
    "unknown": "its code was not given: --from MODULE:ATTRIBUTE does",
}
_METRICS: Final[dict[str, tuple[str, Callable[[ProjectionStatus], float]]]] = {
    "position": ("The last position of the log that is in the rows.", lambda one: one.position),
    "lag_events": (
        "Positions of the log that are not in the rows yet.",
        lambda one: one.lag_events,
    ),
    "lag_seconds": (
        "How long ago the first event that is not in the rows was recorded.",
        lambda one: one.lag_s,
    ),
    "rate": ("Positions a second at the last moves.", lambda one: one.rate),
    "parked_streams": (
        "Streams that were set aside because an event failed.",
        lambda one: len(one.parked),
    ),
    "changed": (
        "1 where the projection has to be rebuilt.",
        lambda one: one.state == "changed",
    ),
}
"""What each says, and how it is read of a projection; a unit ends the name."""
_UNITS: Final = ("events", "seconds")


def as_object(status: ProjectionStatus) -> dict[str, Any]:
    """A status as a JSON object."""
    parked = [
        {
            "stream": one.stream,
            "event": one.id,
            "position": one.position,
            "error": one.error,
            "attempts": one.attempts,
        }
        for one in status.parked
    ]
    return {**status._asdict(), "parked": parked}


def summary(status: ProjectionStatus) -> Iterator[str]:
    """A few lines for a person."""
    yield f"{status.name}  {_how_far(status)}"
    if status.state in _WORDS:
        yield f"  {_WORDS[status.state].format(name=status.name)}"
    if status.filling_position is not None:
        yield f"  a rebuild has come to position {status.filling_position:,}"
    if status.previous is not None:
        yield f"  generation {status.previous} is kept until it is confirmed"
    for one in status.parked[:PARKED_SHOWN_MAX]:
        yield clean(f"  set aside: {one.id} ({one.attempts} attempts): {one.error}")
    if len(status.parked) > PARKED_SHOWN_MAX:
        yield f"  and {len(status.parked) - PARKED_SHOWN_MAX:,} more streams set aside"


def metrics(found: Sequence[ProjectionStatus]) -> Iterator[str]:
    """The lines of OpenMetrics text, https://openmetrics.io: a sample a projection and metric."""
    for name, (said, value_of) in _METRICS.items():
        metric, unit = f"refold_projection_{name}", name.rpartition("_")[2]
        yield f"# TYPE {metric} gauge"
        if unit in _UNITS:
            yield f"# UNIT {metric} {unit}"
        yield f"# HELP {metric} {said}"
        for one in found:
            yield f'{metric}{{projection="{one.name}"}} {value_of(one):g}'
    yield "# EOF"


def _how_far(status: ProjectionStatus) -> str:
    if status.state == "new":
        return f"{status.lag_events:,} events behind"
    behind = "up to date"
    if status.lag_events:
        behind = f"{status.lag_events:,} events and {status.lag_s:,.1f} s behind"
    return (
        f"generation {status.generation} at position {status.position:,}: {behind}, "
        f"{status.rate:,.0f} events/s at last"
    )
