"""`refold copy`."""

from __future__ import annotations

import click

import refold
from refold.cli import output
from refold.cli.options import command
from refold.cli.text import address


@command("copy")
@click.argument("source")
@click.argument("target", required=False)
def copy_command(url: str, source: str, target: str | None) -> None:
    """Copy a store into another: journal, file, PostgreSQL.

    Every event stands there as it stood: version, position, times, metadata, branches, and the
    keys of appends; all of it is compared at the end. One that was cut off goes on where it was.
    The store to copy into (by default that of --db) must be empty or hold a part of the copy; the
    source is only read.

        refold copy calls.jsonl --db agents.db
        refold copy agents.db postgresql://agent@db.example/agents
    """
    with (
        refold.open(source, mode="read") as copied,
        refold.open(target or url, synchronous="NORMAL") as into,
        output.progress("copying") as tell,
    ):
        count = copied.copy_into(into, progress=lambda done, whole: tell(done, whole, ""))
    where = address(target or url)
    output.show({"events": count, "store": where}, f"copied {count:,} events to {where}")
