"""`refold erase`."""

from __future__ import annotations

from typing import Any

import click

from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, option
from refold.cli.removing import checked, lines_of, removing, removing_options, shown
from refold.cli.text import counted
from refold.times import rfc3339


@command("erase")
@click.argument("subject")
@option(
    "--personal",
    multiple=True,
    metavar="TYPE=POINTER,…",
    help="What is personal in events of a type; TYPE= for nothing.",
)
@removing_options
def erase_command(
    url: str, subject: str, personal: tuple[str, ...], dry_run: bool, **by_whom: Any
) -> int:
    """Erase a person: their key, and what stands in the clear.

    The subject is whom the metadata of events name, else the stream. The data key of the subject is
    destroyed, values in the clear that are declared personal go from the streams, branches and
    replays, and whatever was made of them: snapshots, read models, packed segments, archives. It is
    recorded before, without a name, and after, with what answered and what did not; done is only
    said when every part has answered. A hold refuses it; what a floor of retention keeps is told
    with its date. Cut off, it is taken up by calling it again. Exits with 1 until it is done.

        refold erase ann@example.com --reason "asked by mail" --by dpo --dry-run
        refold erase ann@example.com --reason "asked by mail" --personal order.placed=/name
    """
    from refold.privacy.erasure import BACKUPS, erase

    said = (one.partition("=") for one in personal)
    fields = {name: [one for one in text.split(",") if one] for name, _, text in said}
    with removing(url, "erasure", **by_whom) as (store, how):
        told = erase(store, subject, fields=fields, dry_run=dry_run, **how)
    kept = [{"event": name, "until": rfc3339(until)} for name, until in told.kept]
    result = {**told._asdict(), **shown(told), "kept": kept, "done": told.is_done and not dry_run}
    events = counted(len(told.changes), "event")
    state = "erased" if told.is_finished else "NOT ERASED YET"
    state += " but for what is LEFT" * (told.is_finished and not told.is_done)
    lines = [
        *lines_of(told.changes),
        *(f"{one['event']}  kept by law until {one['until']}" for one in kept),
        *checked(told.checks),
        f"{events} would change" if dry_run else f"{told.subject}: {state}, {events} changed",
    ]
    output.show(result, lines)
    output.note(BACKUPS)
    return FINE if dry_run or told.is_done else FINDING
