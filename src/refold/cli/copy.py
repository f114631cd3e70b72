"""`refold copy`."""

from __future__ import annotations

from pathlib import Path

import click

import refold
from refold.cli import output
from refold.cli.options import command
from refold.cli.text import address
from refold.errors import UsageError


@command("copy")
@click.argument("source")
@click.argument("target", required=False)
def copy_command(url: str, source: str, target: str | None) -> None:
    """Copy a store into another: journal, file, PostgreSQL.

    Every event stands there as it stood: version, position, times, metadata, branches, and the
    keys of appends; all of it is compared at the end, and so are the seals of a sealed log. What
    is encrypted stays so, and its wrapped keys go along. One that was cut off goes on where it
    was. The store to copy into (by default that of --db) must be empty or hold a part of the copy;
    the source is only read.

        refold copy calls.jsonl --db agents.db
        refold copy agents.db postgresql://agent@db.example/agents
    """
    from refold.privacy.copying import copy_keys

    _check_apart(source, target or url)
    with (
        refold.open(source, mode="read") as copied,
        refold.open(target or url, synchronous="NORMAL") as into,
        output.progress("copying") as tell,
    ):
        copy_keys(copied, into)  # First, so that whoever reads what comes can; at last all others.
        count = copied.copy_into(into, progress=lambda done, whole: tell(done, whole, ""))
        copy_keys(copied, into)
        sealed = _copied_seals(copied, into)
    where = address(target or url)
    said = f"copied {count:,} events to {where}"
    output.show(
        {"events": count, "sealed": sealed, "store": where},
        said if sealed is None else f"{said}, and the seals of {sealed:,}",
    )


def _check_apart(source: str, target: str) -> None:
    """Refuse to copy a store into itself: all of it is there, and nothing was copied."""
    places = [Path(one.removeprefix("sqlite:///")) for one in (source, target)]
    both = all(place.exists() for place in places)
    if source == target or (both and places[0].samefile(places[1])):
        raise UsageError(f"{address(target)} would be copied into itself: name another store")


def _copied_seals(copied: refold.Store, into: refold.Store) -> int | None:
    """How many sealed events have their seals in the copy; None where none are sealed."""
    from refold.audit.tables import can_be_sealed, is_sealed

    if not is_sealed(copied):
        return None
    if not can_be_sealed(into):
        output.note("the seals stay where they are: a journal keeps none")
        return None
    from refold.audit import copy_seals

    return copy_seals(copied, into)
