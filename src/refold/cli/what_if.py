"""`refold what-if`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from refold.cli import endpoint, output, printing
from refold.cli.asking_again import (
    asked_again,
    asking_options,
    candidate_of,
    lines_of,
    said_of,
)
from refold.cli.given import events_given
from refold.cli.loading import fold_for, fold_option
from refold.cli.options import Decorator, command, no_effect, opened, option, read_by
from refold.cli.reading import reading_options
from refold.cli.suggest import resolved
from refold.cli.text import clean, counted
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold import Recorded
    from refold.conversation.what_if import WhatIf
    from refold.replay.again import AskedAgain


def _put(name: str, parameter: str, said: str) -> Decorator:
    """An option that names an event, and what is put there."""
    pair = read_by(_pair)
    return option(
        name, parameter, type=pair, multiple=True, metavar="EVENT_ID=JSON|@FILE", help=said
    )


def _pair(text: str) -> tuple[str, str]:
    event, equals, value = text.partition("=")
    if not (event and equals and value):
        raise click.BadParameter(f"{text!r} is not EVENT_ID=JSON, nor EVENT_ID=@FILE")
    return event, value


def _events(pairs: Sequence[tuple[str, str]], name: str) -> dict[str, Any]:
    given = endpoint.by_name(pairs, name)
    return {event: events_given(text, option=name) for event, text in given.items()}


@command("what-if")
@click.argument("stream")
@option(
    "--without",
    multiple=True,
    metavar="EVENT_ID",
    help="Leave this event out: its id or its version. May be given several times.",
)
@_put("--replace", "replacing", "Put events in the place of this one: JSON, or @file.")
@_put("--add", "adding", "Put events after this one: JSON, or @file.")
@option("--ask", "asks", is_flag=True, help="Ask the next decision again, with it and without.")
@asking_options
@fold_option
@option("--save", metavar="NAME", help="Keep the branch as a stream; name it such as call-42~b.")
@reading_options
def what_if_command(
    url: str,
    stream: str,
    without: tuple[str, ...],
    replacing: tuple[tuple[str, str], ...],
    adding: tuple[tuple[str, str], ...],
    fold_name: str | None,
    save: str | None,
    asks: bool,
    **how: Any,
) -> None:
    """Show what changes without some events of a stream, or with others.

    The changes of its state, the events that lose what they rest on, or did not know of what is
    new, and those that cannot have happened then, such as a payment of money that was not there.
    The stream itself stays as it is.
    What the agent said later is taken as recorded. With --ask the first decision that rests on what
    was changed (else the first after it) is asked again, --samples times as it would have been and
    as often as it was, in turn: how often which calls come on each side, and whether the change
    moved that by more than noise. The answers are kept, so the same command asks what is missing.

        refold what-if call-42 --without call-42@3
        refold what-if call-42 --without 3 --without 4 --save call-42~no-lookup
        refold what-if call-42 --replace '5={"type": "tool.result", "data": {"result": "none"}}'
        refold what-if call-42 --without 3 --ask --model openai:small --samples 8
    """
    from refold.conversation.what_if import what_if

    if not (without or replacing or adding):
        raise UsageError("say what is to be otherwise: --without, --replace or --add")
    changed: dict[str, Any] = {
        "replacing": _events(replacing, "--replace"),
        "adding": _events(adding, "--add"),
    }
    if not asks:
        no_effect("without --ask", *how)
    writes = asks or save is not None
    candidate = candidate_of(how) if asks else None
    to = "" if candidate is None else candidate.url
    asked = None
    with opened(url, mode="write" if writes else "read", destination=to) as store:
        stream = resolved(store, stream)
        if candidate is not None:
            endpoint.check_meant(store, {stream: None})
        found = what_if(store.branch(stream), without=without, **changed)
        if save is not None:
            found.after.save(save)
        if candidate is not None:
            asked = asked_again(store, found, candidate, how)
    _show(stream, found, fold_name, save, asked)


def _show(
    stream: str, found: WhatIf, fold_name: str | None, save: str | None, asked: AskedAgain | None
) -> None:
    fold = fold_for(fold_name, found.before.events)
    operations = found.changes(fold)
    impossible = list(_impossible(found))
    said = {
        "stream": stream,
        "removed": [printing.event_json(recorded) for recorded in found.removed],
        "added": [printing.event_json(recorded) for recorded in found.added],
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
        "asked": asked and said_of(asked),
    }
    lines = [*_lines(stream, found, fold.name, operations, impossible, save)]
    output.show(said, [*lines, *lines_of(asked)] if asked else lines)


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
    for words, events in (("without", found.removed), ("with", found.added)):
        if events:
            yield f"{clean(stream)} {words}"
            yield from printing.event_lines(events)
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
