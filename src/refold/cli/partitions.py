"""`refold partitions`."""

from __future__ import annotations

from functools import partial

import click

from refold.cli import output
from refold.cli.groups import Listing
from refold.cli.options import command, group, int_option, opened, option
from refold.partitions import Month, Partitions


@group("partitions", cls=Listing)
def partitions_command() -> None:
    """Keep the months of a store in PostgreSQL: made ahead, taken out, brought back.

    refold partitions
    refold partitions create --months 12
    refold partitions detach 2026-01
    """


subcommand = partial(command, group=partitions_command)
writing = partial(opened, mode="write")
folder_option = option(
    "--archive", metavar="FOLDER", help="Where it is archived.  [default: where it was written to]"
)


@subcommand("list")
def list_(url: str) -> None:
    """Show each month: its appends, events and bytes, and whether it is in the log.

    These are of all tenants; positions are those of the tenant of the address.

    "default" takes what has no partition, and should be empty: `refold partitions create` moves
    what stands there. A month that is "detached" is out of the log and its table is kept; of one
    that is "dropped", its archive alone.

        refold partitions list --db postgresql://agent@db.example/agents
    """
    with opened(url) as store:
        for one in Partitions(store).months():
            output.show(one._asdict(), _row(one))


@subcommand("create")
@int_option("--months", 0, 120, default=2, help="So many beyond this one.")
def create(url: str, months: int) -> None:
    """Make the partitions of this month and of those to come.

    The store makes two ahead by itself. What stands in the default partition is moved to a month of
    its own: nobody reads or appends meanwhile.

        refold partitions create --months 12
    """
    with writing(url) as store:
        made = Partitions(store).create(months)
    output.show({"made": made}, f"made {', '.join(made)}" if made else "all of them stood")


@subcommand("detach")
@click.argument("month")
def detach(url: str, month: str) -> None:
    """Take a month that is over out of the log; its table is kept.

    Positions, streams, keys and expected versions stay as they are. Who reads what was in it gets
    an error that says where it is, or reads on in its archive (?archive=FOLDER in the address).
    Appends go on.

        refold partitions detach 2026-01
    """
    with writing(url) as store:
        Partitions(store).detach(month)
        (one,) = Partitions(store).months(month)
    was = "" if one.state == "detached" else ": its table was dropped before"
    output.show({"detached": month, "state": one.state}, f"detached {month}{was}")


@subcommand("attach")
@click.argument("month")
@folder_option
def attach(url: str, month: str, archive: str | None) -> None:
    """Bring a month back into the log, from its table or its archive.

    refold partitions attach 2026-01
    refold partitions attach 2026-01 --archive /archive/agents
    """
    with writing(url) as store:
        Partitions(store).attach(month, archive=archive)
    output.show({"attached": month}, f"attached {month}")


@subcommand("drop")
@click.argument("month")
@folder_option
def drop(url: str, month: str, archive: str | None) -> None:
    """Drop a month that was archived; detaches it first.

    Refused unless `refold archive` has written it, read it back and compared it; each file is
    hashed again before the table goes.

        refold partitions drop 2026-01
    """
    with writing(url) as store:
        Partitions(store).drop(month, archive=archive)
    output.show({"dropped": month}, f"dropped {month}")


def _row(one: Month) -> str:
    row = f"{one.month:<9}{one.state:<9}{one.appends:>12,} appends{one.events:>12,} events"
    row += f"{one.size_bytes:>16,} bytes"
    row += f"  positions {one.first:,} to {one.last:,}" if one.first is not None else ""
    if one.month == "default" and one.appends:
        return f"{row}: `refold partitions create` moves them"
    if one.state == "dropped" and one.folder is None:
        return f"{row}: its table is gone, and it was never archived"
    return row + (f"  archived in {one.folder}" if one.folder else "")
