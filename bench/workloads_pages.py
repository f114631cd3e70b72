"""What the pages of `refold ui` take of a large store: under 100 ms and 300 kB each."""

from __future__ import annotations

from bench.dialogues import EVENTS_A_TURN
from bench.plan import Ask, Entry, Scale, Workload


def pages(scale: Scale) -> Workload:
    """Seconds of the processor for each address, asked for once before."""
    turns, long = scale.log // scale.log_streams // EVENTS_A_TURN + 1, scale.turns
    addresses = (
        "/",
        f"/?page={scale.log_streams // 200}",
        "/?q=tool:find_booking with-error:yes",
        "/?q=outcome:completed",
        "/?q=cost-over:0.01",
        "/?q=invoice refund",
        "/conversations/call-00005",
        "/conversations/long-1",
        f"/conversations/long-1?at={long * EVENTS_A_TURN // 2}",
        f"/events/call-00005@{turns * EVENTS_A_TURN // 2}",
        "/events/long-1@100",
    )
    longest = {"address": "/conversations/long-1"}
    built = {"conversations": scale.log_streams, "turns": turns, "turns_long": long}
    return Workload(
        "ui-pages",
        f"pages of a store of {scale.log:,} events in {scale.log_streams:,} conversations, "
        f"and one of {long:,} turns",
        "s",
        [
            Entry(one, Ask("pages", "page", {"address": one, "seconds": scale.seconds}))
            for one in addresses
        ]
        + [Entry("/conversations/long-1 in Chromium", Ask("pages", "opened", longest))],
        prepare=[Ask("pages", "build_pages", built)],
        rounds=3,
    )
