"""`refold stats`."""

from __future__ import annotations

from refold.cli import output
from refold.cli.options import command, opened


@command(
    "stats",
    example="""
refold stats --db agents.db
""",
)
def stats_command(url: str, as_json: bool) -> None:
    """Show what each part of a store takes.

    In bytes, in all and an event. `log` holds the events as they were appended, `segments` those
    that `refold compact` packed.
    """
    with opened(url) as store:
        sizes = store.sizes()
        events = store.log_head()
    total = sum(size.size_bytes for size in sizes)
    if as_json:
        for size in sizes:
            output.json_line(size._asdict())
        output.json_line({"part": "all", "size_bytes": total, "events": events})
        return
    for size in sizes:
        output.line(_row(size.part, size.size_bytes, size.events))
    output.line(_row("all", total, events))


def _row(part: str, size_bytes: int, events: int | None) -> str:
    row = f"{part:<22}{size_bytes:>14,} bytes"
    if not events:
        return row
    return f"{row}{events:>12,} events{size_bytes / events:>10,.1f} bytes an event"
