"""`refold archive`."""

from __future__ import annotations

from functools import cache
from typing import Literal

import click

from refold.cli import output
from refold.cli.options import command, opened, option
from refold.partitions import Partitions


@command("archive")
@option("--before", required=True, metavar="MONTH", help="The months before this one.")
@option("--to", required=True, metavar="FOLDER", help="Where they are written.")
@option(
    "--format",
    "kept_as",
    type=click.Choice(["packed", "parquet"]),
    default="packed",
    help="parquet needs the extra export.",
)
@option("--detach", is_flag=True, help="Then take them out of the log; their tables are kept.")
@option("--drop", is_flag=True, help="Then drop them.")
def archive_command(
    url: str, before: str, to: str, kept_as: Literal["packed", "parquet"], detach: bool, drop: bool
) -> None:
    """Write the old months of a store in PostgreSQL to files.

    Each month is written, read back, and compared with the store event by event; only then does its
    manifest, which holds the SHA-256 of each file, say that it is there. It may be stopped at any
    moment and run again. A month in which something could still be recorded is refused. The store
    reads on in the folder where its address says ?archive=FOLDER. All tenants' events are written,
    and counted here.

        refold archive --before 2026-01 --to /archive/agents
        refold archive --before 2026-01 --to /archive/agents --drop
    """
    with opened(url, mode="write") as store, output.progress("archive") as tell:
        partitions = Partitions(store)
        events_of = cache(lambda month: partitions.months(month)[0].events)
        told = partitions.archive(
            before, to, format=kept_as, progress=lambda m, done: tell(done, events_of(m), m)
        )
        for one in told:
            if drop:
                partitions.drop(one.month)
            elif detach:
                partitions.detach(one.month)
        if not told:
            output.note(f"nothing to archive: no month before {before} stands in the database")
        for one in partitions.months(*(done.month for done in told)) if told else ():
            shown = f"{one.month}: {one.events:,} events in {one.folder}, {one.state}"
            output.show(one._asdict(), shown)
