"""How projections stand, as OpenMetrics text, https://openmetrics.io."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from refold.projections.projector import ProjectionStatus

METRICS: Final = {
    "position": "The last position of the log that is in the rows.",
    "lag_events": "Positions of the log that are not in the rows yet.",
    "lag_seconds": "How long ago the first event that is not in the rows was recorded.",
    "rate": "Positions a second at the last moves.",
    "parked_streams": "Streams that were set aside because an event failed.",
    "changed": "1 where the projection has to be rebuilt.",
}


def metrics(found: Sequence[ProjectionStatus]) -> Iterator[str]:
    """The lines: a sample a projection and metric."""
    for name, said in METRICS.items():
        metric, unit = f"refold_projection_{name}", name.rpartition("_")[2]
        yield f"# TYPE {metric} gauge"
        if unit in ("events", "seconds"):
            yield f"# UNIT {metric} {unit}"
        yield f"# HELP {metric} {said}"
        for one in found:
            counted = {"lag_seconds": one.lag_s, "parked_streams": len(one.parked)}
            measured = one._asdict() | counted | {"changed": one.state == "changed"}
            yield f'{metric}{{projection="{one.name}"}} {measured[name]:g}'
    yield "# EOF"
