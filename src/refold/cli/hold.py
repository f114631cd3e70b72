"""`refold hold`: what is held stays, whatever else was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from refold.cli import output
from refold.cli.groups import Listing
from refold.cli.options import command, group, opened, option
from refold.cli.text import clean
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold.privacy.policy import Hold

reason_option = option("--reason", required=True, metavar="TEXT", help="Why.")
by_option = option("--by", metavar="NAME", help="By whose word.")


@group("hold", cls=Listing)
def hold_command() -> None:
    """Place and release legal holds, and list those in force.

    What a hold covers is neither redacted nor erased, nor emptied when its time has passed. Without
    a command: list them.

        refold hold place ann@example.com --reason "claim 2026-7" --by legal
        refold hold
        refold hold release hold-1 --reason "settled"
    """


@command("place", group=hold_command)
@click.argument("subject", required=False, default="")
@option("--category", default="", metavar="NAME", help="All streams of this category, instead.")
@reason_option
@by_option
def place(url: str, subject: str, category: str, reason: str, by: str | None) -> None:
    """Hold what a store has of a subject, a stream, or a category.

    It is recorded by a pseudonym; the reason is kept as it is given: name nobody in it.

        refold hold place ann@example.com --reason "claim 2026-7" --by legal
        refold hold place --category call --reason "audit of 2026"
    """
    from refold.privacy.holds import place_hold

    with opened(url, mode="write") as store:
        _show(place_hold(store, subject, category=category, reason=reason, by=by))


@command("release", group=hold_command)
@click.argument("hold")
@reason_option
@by_option
def release(url: str, hold: str, reason: str, by: str | None) -> None:
    """End a hold.

    refold hold release hold-1 --reason "settled" --by legal
    """
    from refold.privacy.holds import release_hold

    with opened(url, mode="write") as store:
        release_hold(store, hold, reason=reason, by=by)
    output.show({"released": hold}, f"{clean(hold)} released")


@command("list", group=hold_command)
def list_holds(url: str) -> None:
    """List the holds in force.

    refold hold list --json
    """
    from refold.privacy.holds import holds

    with opened(url) as store:
        found = holds(store)
    for one in found:
        _show(one)
    if not found:
        output.note("nothing is held")


def _show(hold: Hold) -> None:
    what = f"category {hold.category}" if hold.category else hold.subject
    told = {**hold._asdict(), "placed_at": rfc3339(hold.placed_at_us)}
    del told["placed_at_us"]
    output.show(told, clean(f"{hold.name}  {what}  since {told['placed_at'][:10]}: {hold.reason}"))
