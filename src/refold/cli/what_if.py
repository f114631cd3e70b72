"""`refold what-if`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import click

import refold
from refold.cli import changes, events, output
from refold.cli.folds import fold_for, fold_option
from refold.cli.options import command, option
from refold.cli.text import clean


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
def what_if(
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
    with refold.open(url, mode="read" if save is None else "write") as store:
        before = store.branch(stream)
        after = before.without(*(_event_id(before, wanted) for wanted in without))
        if save is not None:
            after.save(save)
    fold = fold_for(fold_name, before.events)
    kept = {recorded.id for recorded in after}
    gone = [recorded for recorded in before if recorded.id not in kept]
    found = _WhatIf(
        removed=gone,
        groundless=list(groundless(gone, after.events)),
        fold=fold.name,
        operations=refold.diff_states(before.fold(fold).state, after.fold(fold).state),
    )
    (_print_json if as_json else _print_plain)(stream, found, save)


class Groundless(NamedTuple):
    """An event that stays although what it rests on is gone."""

    event: refold.Recorded
    reason: str


def groundless(
    gone: Sequence[refold.Recorded], kept: Iterable[refold.Recorded]
) -> Iterator[Groundless]:
    """The kept events that rest on one that is gone.

    A tool's result or approval rests on its call; any event on those that it names as its basis,
    its messages or its cause.
    """
    types = {recorded.id: recorded.type for recorded in gone}
    calls = {e.data["call_id"]: e.id for e in gone if e.type == "tool.call"}
    for recorded in kept:
        for basis in _named_by(recorded, calls):
            if basis in types:
                yield Groundless(recorded, f"rests on {basis} ({types[basis]})")


class _WhatIf(NamedTuple):
    removed: list[refold.Recorded]
    groundless: list[Groundless]
    fold: str
    operations: Sequence[Any]


def _named_by(recorded: refold.Recorded, calls: dict[str, str]) -> Iterator[str]:
    """The ids of the events that an event says it rests on."""
    data = recorded.data if isinstance(recorded.data, dict) else {}
    if recorded.type in ("tool.result", "tool.decided") and data.get("call_id") in calls:
        yield calls[data["call_id"]]
    for name in ("basis", "messages"):
        named = data.get(name)
        yield from (one for one in named if isinstance(one, str)) if isinstance(named, list) else ()
    if isinstance(cause := recorded.metadata.get("causation"), str):
        yield cause


def _event_id(branch: refold.Branch[refold.Appended], wanted: str) -> str:
    """An id as it is; the id of the event at a version."""
    for recorded in branch.events if wanted.isdigit() else ():
        if recorded.version == int(wanted):
            return recorded.id
    return wanted


def _print_json(stream: str, found: _WhatIf, saved: str | None) -> None:
    output.json_line(
        {
            "stream": stream,
            "removed": [events.as_json(recorded) for recorded in found.removed],
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
    events.print_plain(found.removed)
    output.line(f"state ({found.fold}): {len(found.operations)} changes")
    changes.print_operations(found.operations)
    for one in found.groundless:
        named = clean(f"{one.event.id}  {one.event.type}")
        output.line(f"{output.styled(named, fg='yellow')} {one.reason}")
    if saved is not None:
        output.line(f"saved as {clean(saved)}")
