"""`refold what-if`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click

import refold
from refold.cli import output, printing
from refold.cli.loading import fold_for, fold_option
from refold.cli.options import command, opened, option
from refold.cli.text import clean, counted
from refold.errors import NotFound


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
    with opened(url, mode="read" if save is None else "write") as store:
        before = store.branch(stream)
        after = before.without(*(_event_id(before, wanted) for wanted in without))
        if save is not None:
            after.save(save)
    fold = fold_for(fold_name, before.events)
    kept = {recorded.id for recorded in after}
    gone = [recorded for recorded in before if recorded.id not in kept]
    found = _WhatIf(
        removed=gone,
        groundless=list(groundless(before.events, gone)),
        fold=fold.name,
        operations=refold.diff_states(before.fold(fold).state, after.fold(fold).state),
    )
    (_print_json if as_json else _print_plain)(stream, found, save)


class Groundless(NamedTuple):
    """An event that stays although what it rests on is gone."""

    event: refold.Recorded
    reason: str


def groundless(
    before: Sequence[refold.Recorded], gone: Sequence[refold.Recorded]
) -> Iterator[Groundless]:
    """The events that stay and rest on one that is gone.

    A tool's result or approval rests on its call; any event on those that it names as its basis,
    its messages or its cause.
    """
    types = {recorded.id: recorded.type for recorded in gone}
    calls = _calls(before)
    for recorded in before:
        for basis in _named_by(recorded, calls) if recorded.id not in types else ():
            if basis in types:
                yield Groundless(recorded, f"rests on {basis} ({types[basis]})")


class _WhatIf(NamedTuple):
    removed: list[refold.Recorded]
    groundless: list[Groundless]
    fold: str
    operations: Sequence[Any]


def _calls(events: Sequence[refold.Recorded]) -> dict[str, str]:
    """The call that each result and approval belongs to, by their ids.

    The fold pairs them: agents use a call id again, so that it alone does not tell.
    """
    from refold.conversation import Conversation

    found: dict[str, str] = {}
    for use in Conversation.run(events).state.tool_calls:
        found |= {part.id: use.id for part in (use.answer, use.decision) if part is not None}
    return found


def _named_by(recorded: refold.Recorded, calls: dict[str, str]) -> Iterator[str]:
    """The ids of the events that an event rests on."""
    if recorded.id in calls:
        yield calls[recorded.id]
    data = recorded.data if isinstance(recorded.data, dict) else {}
    for name in ("basis", "messages"):
        named = data.get(name)
        yield from (one for one in named if isinstance(one, str)) if isinstance(named, list) else ()
    if isinstance(cause := recorded.metadata.get("causation"), str):
        yield cause


def _event_id(branch: refold.Branch[refold.Appended], wanted: str) -> str:
    """An id as it is; the id of the event at a version."""
    if not wanted.isdecimal():
        return wanted
    for recorded in branch.events:
        if recorded.version == int(wanted):
            return recorded.id
    last = branch.events[-1].version
    raise NotFound(
        f"{branch.stream!r} has no version {wanted}: its last is {last}",
        stream=branch.stream,
        version=int(wanted),
        last=last,
    )


def _print_json(stream: str, found: _WhatIf, saved: str | None) -> None:
    output.json_line(
        {
            "stream": stream,
            "removed": [printing.event_json(recorded) for recorded in found.removed],
            "groundless": [
                {"id": one.event.id, "type": one.event.type, "reason": one.reason}
                for one in found.groundless
            ],
            "fold": found.fold,
            "state": found.operations,
            "saved": saved,
        }
    )


def _print_plain(stream: str, found: _WhatIf, saved: str | None) -> None:
    output.line(f"{clean(stream)} without")
    printing.print_plain(found.removed)
    output.line(f"state ({found.fold}): {counted(len(found.operations), 'change')}")
    printing.print_operations(found.operations)
    for one in found.groundless:
        named = clean(f"{one.event.id}  {one.event.type}")
        output.line(f"{output.styled(named, fg='yellow')} {one.reason}")
    if saved is not None:
        output.line(f"saved as {clean(saved)}")
