"""`refold stats`."""

from __future__ import annotations

from refold.cli import output
from refold.cli.options import command, opened
from refold.times import clock_behind_us


@command("stats")
def stats_command(url: str) -> None:
    """Show what each part of a store takes.

    In bytes, in all and an event. `log` holds the events as they were appended, `segments` those
    that `refold compact` packed; in PostgreSQL, of all logs of the schema. "clock_behind_s" is how
    far the clock stands behind the log's last time.

        refold stats --db agents.db
    """
    with opened(url) as store:
        sizes = store.sizes()
        events, behind_s = store.log_head(), clock_behind_us(store) / 1e6
    total = sum(size.size_bytes for size in sizes)
    for size in sizes:
        output.show(size._asdict(), _row(*size))
    said = {"part": "all", "size_bytes": total, "events": events, "clock_behind_s": behind_s}
    behind = [f"the clock is {behind_s:,.0f} seconds behind the log"] if behind_s > 60 else []
    output.show(said, [_row("all", total, events), *behind])


def _row(part: str, size_bytes: int, events: int | None) -> str:
    row = f"{part:<22}{size_bytes:>14,} bytes"
    if not events:
        return row
    return f"{row}{events:>12,} events{size_bytes / events:>10,.1f} bytes an event"
