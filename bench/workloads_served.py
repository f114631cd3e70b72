"""What an append takes by HTTP, by callers that keep their connections."""

from __future__ import annotations

from bench.plan import Ask, Entry, Scale, Workload


def served(scale: Scale) -> Workload:
    """Seconds of the server's processor for an append, beside the store called directly."""
    how = {"seconds": scale.seconds * 8}
    return Workload(
        "serve-append",
        "64 callers append one event each: by `refold serve` with connections kept, and directly",
        "s",
        [
            Entry("refold serve", Ask("served", "by_http", how)),
            Entry("the store itself", Ask("served", "directly", how)),
        ],
        rounds=3,
    )
