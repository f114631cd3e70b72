"""`refold compact`."""

from __future__ import annotations

import refold
from refold.cli import output
from refold.cli.options import command, time_option

_OTHERS = (
    "only refold reads what is packed: the view events tells others so in an error,\n"
    "`refold sql` asks all, events_unpacked has the rest (docs/how-to/read-with-sql.md)"
)


@command("compact")
@time_option("--before", help="Only what was recorded before then.")
def compact_command(url: str, before: int | None) -> None:
    """Pack old events, to a third or less.

    Appends of a stream are packed together and read as before, by every command and by SQL through
    refold. Other programs cannot unpack them: for these the view events fails from then on, and
    events_unpacked has the rest. Writers and readers go on meanwhile, and it may be stopped at any
    moment.

        refold compact --before 7d
        refold compact --db agents.db
    """
    with refold.open(url, mode="write") as store, output.progress("compact") as tell:

        def packing(done: int, in_all: int) -> None:
            if not done:
                output.note(_OTHERS)
            tell(done, in_all, "packing")

        events, segments = packed = store.compact(recorded_before=before, progress=packing)
    output.show(packed._asdict(), f"packed {events:,} events into {segments:,} segments")
