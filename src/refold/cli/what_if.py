"""`refold what-if`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from refold.cli import output, printing
from refold.cli.loading import fold_for, fold_option
from refold.cli.options import command, opened, option
from refold.cli.text import clean, counted

if TYPE_CHECKING:
    from refold.conversation.what_if import WhatIf


@command(
    "what-if",
    example="""
refold what-if call-42 --without call-42@3
refold what-if call-42 --without 3 --without 4 --save call-42~no-lookup
""",
)
@click.argument("stream")
@option(
    "--without",
    multiple=True,
    required=True,
    metavar="EVENT_ID",
    help="Leave this event out: its id or its version. May be given several times.",
)
@fold_option
@option("--save", metavar="NAME", help="Keep the branch as a stream; name it such as call-42~b.")
def what_if_command(
    url: str,
    as_json: bool,
    stream: str,
    without: tuple[str, ...],
    fold_name: str | None,
    save: str | None,
) -> None:
    """Leave events out of a stream; show what changes.

    The changes of its state, and the events that lose what they rest on. The stream itself stays as
    it is. What the agent said later is taken as recorded: to ask it again, use `refold replay`.
    """
    from refold.conversation.what_if import what_if

    with opened(url, mode="read" if save is None else "write") as store:
        found = what_if(store.branch(stream), without=without)
        if save is not None:
            found.after.save(save)
    fold = fold_for(fold_name, found.before.events)
    operations = found.changes(fold)
    if not as_json:
        _print_plain(stream, found, fold.name, operations, save)
        return
    output.json_line(
        {
            "stream": stream,
            "removed": [printing.event_json(recorded) for recorded in found.removed],
            "groundless": [
                {"id": one.event.id, "type": one.event.type, "reason": one.reason}
                for one in found.groundless
            ],
            "fold": fold.name,
            "state": operations,
            "saved": save,
        }
    )


def _print_plain(
    stream: str,
    found: WhatIf[Any],
    fold: str,
    operations: Sequence[Any],
    saved: str | None,
) -> None:
    output.line(f"{clean(stream)} without")
    printing.print_plain(found.removed)
    output.line(f"state ({fold}): {counted(len(operations), 'change')}")
    printing.print_operations(operations)
    for one in found.groundless:
        named = clean(f"{one.event.id}  {one.event.type}")
        output.line(f"{output.styled(named, fg='yellow')} {one.reason}")
    if saved is not None:
        output.line(f"saved as {clean(saved)}")
