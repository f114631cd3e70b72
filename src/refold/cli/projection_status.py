"""How projections stand, for people, programs and OpenMetrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def as_object(status: ProjectionStatus) -> dict[str, Any]:
    """A status as a JSON object."""
    found = status._asdict()
    found["parked"] = [
        {
            "stream": one.stream,
            "event": one.id,
            "position": one.position,
            "error": one.error,
            "attempts": one.attempts,
        }
        for one in status.parked
    ]
    return found


def summary(status: ProjectionStatus) -> str:
    """A few lines for a person."""
    lines = [f"{status.name}  {_how_far(status)}"]
    if status.state in _WORDS:
        lines.append(f"  {_WORDS[status.state].format(name=status.name)}")
    if status.filling_position is not None:
        lines.append(f"  a rebuild has come to position {status.filling_position:,}")
    if status.previous is not None:
        lines.append(f"  generation {status.previous} is kept until it is confirmed")
    shown = status.parked[:PARKED_SHOWN_MAX]
    lines += [f"  set aside: {one.id} ({one.attempts} attempts): {one.error}" for one in shown]
    if len(status.parked) > len(shown):
        lines.append(f"  and {len(status.parked) - len(shown):,} more streams set aside")
    return "\n".join(clean(line) for line in lines)


def metrics(found: Sequence[ProjectionStatus]) -> str:
    """OpenMetrics text, https://openmetrics.io: one sample a projection and metric."""
    lines: list[str] = []
    for name, unit, said, value in _METRICS:
        lines.append(f"# TYPE {name} gauge")
        lines += [f"# UNIT {name} {unit}"] if unit else []
        lines.append(f"# HELP {name} {said}")
        lines += [f'{name}{{projection="{one.name}"}} {value(one):g}' for one in found]
    return "\n".join([*lines, "# EOF"])


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


_METRICS: Final[list[tuple[str, str, str, Callable[[ProjectionStatus], float]]]] = [
    (
        "refold_projection_position",
        "",
        "The last position of the log that is in the rows.",
        lambda one: one.position,
    ),
    (
        "refold_projection_lag_events",
        "events",
        "Positions of the log that are not in the rows yet.",
        lambda one: one.lag_events,
    ),
    (
        "refold_projection_lag_seconds",
        "seconds",
        "How long ago the first event that is not in the rows was recorded.",
        lambda one: one.lag_s,
    ),
    (
        "refold_projection_rate",
        "",
        "Positions a second at the last moves.",
        lambda one: one.rate,
    ),
    (
        "refold_projection_parked_streams",
        "",
        "Streams that were set aside because an event failed.",
        lambda one: len(one.parked),
    ),
    (
        "refold_projection_changed",
        "",
        "1 where the projection has to be rebuilt.",
        lambda one: one.state == "changed",
    ),
]
