"""`refold retention`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, no_effect, opened, option
from refold.cli.removing import checked, classes, lines_of, removing, shown
from refold.cli.text import clean, counted
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold.privacy.retention import CategoryKept


@command("retention")
@click.argument("list", required=False, type=click.Choice(["list"]), expose_value=False)
@option("--apply", "applies", is_flag=True, help="Empty what is past its ceiling.")
@option("--dry-run", is_flag=True, help="With --apply: list what would go, and change nothing.")
@option("--by", metavar="NAME", help="By whose word.")
def retention_command(url: str, applies: bool, dry_run: bool, by: str | None) -> int:
    """Show how long what is kept, and empty what is past its time.

    The classes stand in a file of settings (refold.toml), by category, "*" for all others: floor is
    how long events are kept at least, ceiling at most (6y, 18mo, 2w, 90d), why by what rule.
    Nothing goes before its floor has ended, and nothing under a hold. With --apply the personal
    values of what is past its ceiling go; what remains is that it happened. The ceilings of a file
    that is found in a folder count only where it is named (--config).

        refold retention
        refold retention --apply --dry-run --config refold.toml
    """
    from refold.privacy.retention import apply_retention, retention

    if not applies:
        no_effect("without --apply", "dry_run", "by")
        with opened(url) as store:
            for one in retention(store, classes()):
                _show(one)
        return FINE
    with removing(url, "retention", by=by) as (store, how):
        told = apply_retention(store, dry_run=dry_run, **how)
    state = "would be emptied" if dry_run else "emptied"
    said = f"{counted(len(told.changes), 'event')} {state}"
    lines = [*lines_of(told.changes), *checked(told.checks), said]
    output.show({"redaction": told.redaction, **shown(told)}, lines)
    return FINE if told.is_done else FINDING


def _show(one: CategoryKept) -> None:
    kept = one.kept_as
    told = {
        "category": one.category,
        "floor": None if kept is None or kept.floor is None else str(kept.floor),
        "ceiling": None if kept is None or kept.ceiling is None else str(kept.ceiling),
        "why": "" if kept is None else kept.why,
        "events": one.events,
        "due": one.due,
        "held": one.held,
        "under_floor": one.floored,
        "oldest": rfc3339(one.oldest_us),
    }
    spans = f"{told['floor'] or 'no floor'} to {told['ceiling'] or 'no ceiling'}"
    counts = f"{one.due:,} due, {one.held:,} held, {one.floored:,} under the floor"
    line = f"{one.category}  {spans}  {counted(one.events, 'event')}: {counts}  {told['why']}"
    output.show(told, clean(line.rstrip()))
