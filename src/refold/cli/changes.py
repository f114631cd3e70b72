"""Differences as they are printed: of events and of states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

import refold
from refold.cli import output
from refold.cli.events import as_json
from refold.cli.text import clean, one_line

VALUE_WIDTH_MIN = 20


def change_json(change: refold.Change) -> dict[str, Any]:
    """A change with the whole events on both sides."""
    return {
        "kind": change.kind,
        "before": None if change.before is None else as_json(change.before),
        "after": None if change.after is None else as_json(change.after),
        "patch": change.patch,
    }


def print_changes(changes: Iterable[refold.Change]) -> None:
    """Removed events with a minus, added ones with a plus, changed ones with what changed."""
    for change in changes:
        if change.before is not None and change.after is not None:
            named = f"{change.before.id} > {change.after.id}  {change.after.type}"
            output.line(output.styled(f"~ {clean(named)}", fg="yellow"))
            print_operations(change.patch)
        elif change.before is not None:
            _print_event("-", change.before, fg="red")
        elif change.after is not None:
            _print_event("+", change.after, fg="green")


def print_operations(operations: Iterable[Any]) -> None:
    """The operations of a patch, one a line: the path, what was there, what is there now."""
    for operation in operations:
        where = operation.path or "/"
        room = max((output.width() - len(where) - 12) // 2, VALUE_WIDTH_MIN)
        old, new = _shown(operation.before, room), _shown(operation.value, room)
        match operation.op:
            case "add":
                output.line(f"    {clean(where)}: + {new}")
            case "remove":
                output.line(f"    {clean(where)}: - {old}")
            case "replace":
                output.line(f"    {clean(where)}: {old} > {new}")
            case name:
                output.line(f"    {clean(where)}: {name} {_shown(operation.from_, room)}")


def _shown(value: object, room: int) -> str:
    return "" if value is msgspec.UNSET else one_line(output.compact(value), room)


def _print_event(sign: str, recorded: refold.Recorded, *, fg: str) -> None:
    named = clean(f"{sign} {recorded.id}  {recorded.type}")
    room = max(output.width() - len(named) - 2, VALUE_WIDTH_MIN)
    payload = one_line(output.compact(recorded.data), room)
    output.line(f"{output.styled(named, fg=fg)}  {payload}")
