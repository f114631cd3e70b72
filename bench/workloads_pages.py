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
        "/compare?a=call-00005&b=call-00006",
        "/compare?a=long-1&b=long-2",
        "/compare?a=long-1&b=long-2&only=differences&page=3",
        "/replays",
        *(f"/replays/brief{of}" for of in ("", "?behind=levels", "?behind=conversations")),
        *("/prompts", "/projections", "/live"),
    )
    longest = {"address": "/conversations/long-1"}
    built = {"conversations": scale.log_streams, "turns": turns, "turns_long": long}
    replayed = {"conversations": scale.log_streams // 50}
    return Workload(
        "ui-pages",
        f"pages of a store of {scale.log:,} events in {scale.log_streams:,} conversations, "
        f"two of {long:,} turns, and a replay of {scale.log_streams // 50:,} of the former",
        "s",
        [
            Entry(one, Ask("pages", "page", {"address": one, "seconds": scale.seconds}))
            for one in addresses
        ]
        + [Entry("/conversations/long-1 in Chromium", Ask("pages", "opened", longest))]
        + [
            Entry(f"{one} made in the background", Ask("pages", "made", {"address": one}))
            for one in ("/replays/brief", "/compare?a=long-1&b=long-2")
        ],
        prepare=[Ask("pages", "build_pages", built), Ask("pages", "replay_pages", replayed)],
        rounds=3,
    )
