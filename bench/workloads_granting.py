"""What it takes to be granted a request of a replay on a cluster."""

from __future__ import annotations

from bench.plan import Ask, Entry, Scale, Workload


def granting(scale: Scale) -> Workload:
    """Processor seconds of who asks and of the actor that grants, with a budget and without."""
    entries = [
        Entry(
            f"{who}, {'tokens bounded' if bounded else 'no bound'}",
            Ask("granting", "granted", {"who": who, "bounded": bounded, "count": 5 * scale.calls}),
        )
        for bounded in (True, False)
        for who in ("actor", "worker")
    ]
    title = "processor time of a request of 2 kB that one actor grants, 50 at a time"
    return Workload("replay-granting", title, "s", entries, rounds=3)
