"""`refold what-if`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from refold.cli import output, printing
from refold.cli.loading import fold_for, fold_option
from refold.cli.options import command, opened, option
from refold.cli.reading import reading_options
from refold.cli.suggest import resolved
from refold.cli.text import clean, counted

if TYPE_CHECKING:
    from refold import Recorded
    from refold.conversation.what_if import WhatIf


@command("what-if")
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
@reading_options
def what_if_command(
    url: str, stream: str, without: tuple[str, ...], fold_name: str | None, save: str | None
) -> None:
    """Leave events out of a stream; show what changes.

    The changes of its state, the events that lose what they rest on, and those that cannot have
    happened then, such as a payment of money that was not there. The stream itself stays as it is.
    What the agent said later is taken as recorded: to ask it again, use `refold replay`.

        refold what-if call-42 --without call-42@3
        refold what-if call-42 --without 3 --without 4 --save call-42~no-lookup
    """
    from refold.conversation.what_if import what_if

    with opened(url, mode="read" if save is None else "write") as store:
        stream = resolved(store, stream)
        found = what_if(store.branch(stream), without=without)
        if save is not None:
            found.after.save(save)
    fold = fold_for(fold_name, found.before.events)
    operations = found.changes(fold)
    impossible = list(_impossible(found))
    said = {
        "stream": stream,
        "removed": [printing.event_json(recorded) for recorded in found.removed],
        "groundless": [
            {"id": one.event.id, "type": one.event.type, "reason": one.reason}
            for one in found.groundless
        ],
        "impossible": [
            {"id": one.id, "type": one.type, "reason": reason} for one, reason in impossible
        ],
        "fold": fold.name,
        "state": operations,
        "saved": save,
    }
    output.show(said, _lines(stream, found, fold.name, operations, impossible, save))


def _impossible(found: WhatIf) -> Iterator[tuple[Recorded, str]]:
    """What cannot have happened then: by the wallet, and by the guards of installed packages."""
    from refold.ledger.hindsight import by_guards, impossible

    for one in impossible(found.before, found.after):
        yield one.event, str(one.rejection)
    yield from by_guards(found.before, found.after)


def _lines(
    stream: str,
    found: WhatIf,
    fold: str,
    operations: Sequence[Any],
    impossible: Sequence[tuple[Recorded, str]],
    saved: str | None,
) -> Iterator[str]:
    yield f"{clean(stream)} without"
    yield from printing.event_lines(found.removed)
    yield f"state ({fold}): {counted(len(operations), 'change')}"
    yield from printing.operation_lines(operations)
    for one in found.groundless:
        named = clean(f"{one.event.id}  {one.event.type}")
        yield f"{output.styled(named, fg='yellow')} {one.reason}"
    for event, reason in impossible:
        named = clean(f"{event.id}  {event.type}")
        yield f"{output.styled(named, fg='red')} cannot have happened: {clean(reason)}"
    if saved is not None:
        yield f"saved as {clean(saved)}"
