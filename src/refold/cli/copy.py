"""`refold copy`."""

from __future__ import annotations

import click

import refold
from refold.cli import output
from refold.cli.options import command


@command("copy")
@click.argument("journal", type=click.Path(exists=True, dir_okay=False))
def copy_command(url: str, journal: str) -> None:
    """Copy a journal into a new store that it has outgrown.

    Every event stands there as it stood: version, position, times, metadata, and the keys of
    appends. The store must be empty; the journal is only read.

        refold copy calls.jsonl --db agents.db
    """
    with (
        refold.open(journal, mode="read") as source,
        refold.open(url, synchronous="NORMAL") as target,
        output.progress("copying") as tell,
    ):
        count = source.copy_into(target, progress=lambda done, whole: tell(done, whole, ""))
    output.show({"events": count, "store": url}, f"copied {count:,} events to {url}")
