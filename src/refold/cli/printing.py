"""What the commands print of a store: events, differences, transcripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import msgspec

import refold
from refold.cli import output
from refold.cli.text import clean, one_line
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold.conversation.transcript import Line

PAYLOAD_WIDTH_MIN: Final = 20
_STYLES: Final[dict[str, dict[str, Any]]] = {
    "user.utterance": {"fg": "cyan", "bold": True},
    "agent.utterance": {"fg": "green", "bold": True},
    "tool.call": {"fg": "yellow"},
    "tool.result": {"fg": "yellow"},
    "playback.interrupted": {"fg": "red"},
}
_TEXT_WIDTH_MIN: Final = 24


def event_json(recorded: refold.Recorded) -> dict[str, Any]:
    """The object that ``--json`` prints for an event; its keys are a promise."""
    return {
        "position": recorded.position,
        "stream": recorded.stream,
        "version": recorded.version,
        "id": recorded.id,
        "type": recorded.type,
        "schema": recorded.schema,
        "occurred_at": rfc3339(recorded.occurred_at_us),
        "recorded_at": rfc3339(recorded.recorded_at_us),
        "data": recorded.data,
        "metadata": recorded.metadata,
    }


def print_json(events: Iterable[refold.Recorded]) -> int:
    """One object a line; how many."""
    count = 0
    for recorded in events:
        output.json_line(event_json(recorded))
        count += 1
    return count


def print_plain(events: Iterable[refold.Recorded]) -> int:
    """One line an event: position, when it happened, id, type, and as much payload as fits.

    Gives how many.
    """
    width, count = output.width(), 0
    for recorded in events:
        output.line(_line(recorded, width))
        count += 1
    return count


def _line(recorded: refold.Recorded, width: int) -> str:
    place = f"{recorded.position:>6}  {rfc3339(recorded.occurred_at_us)[:19]}"
    named = clean(f"{recorded.id}  {recorded.type}")
    left = max(width - len(place) - len(named) - 4, PAYLOAD_WIDTH_MIN)
    payload = one_line(output.compact(recorded.data), left)
    return f"{output.styled(place, dim=True)}  {output.styled(named, bold=True)}  {payload}"


# -- differences ------------------------------------------------------------------------------


def change_json(change: refold.Change) -> dict[str, Any]:
    """A change with the whole events on both sides."""
    return {
        "kind": change.kind,
        "before": None if change.before is None else event_json(change.before),
        "after": None if change.after is None else event_json(change.after),
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
        room = max((output.width() - len(where) - 12) // 2, PAYLOAD_WIDTH_MIN)
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
    room = max(output.width() - len(named) - 2, PAYLOAD_WIDTH_MIN)
    payload = one_line(output.compact(recorded.data), room)
    output.line(f"{output.styled(named, fg=fg)}  {payload}")


# -- transcripts ------------------------------------------------------------------------------


def print_transcript(lines: Sequence[Line]) -> None:
    """The lines under the day that they were said on; long text is broken to fit a terminal."""
    who_width = max((len(clean(line.who)) for line in lines), default=0)
    day = ""
    for line in lines:
        date, _, time = line.at.partition("T")
        if date != day:
            day = date
            output.line(output.styled(day, dim=True))
        for row in _rows(line, time[:8], who_width):
            output.line(row)


def _rows(line: Line, time: str, who_width: int) -> Iterator[str]:
    version = line.id.rpartition("@")[2]
    who = clean(line.who)
    margin = " " * (4 + 2 + len(time) + 2 + who_width + 2)
    head = f"{output.styled(f'{version:>4}  {time}', dim=True)}  "
    head += output.styled(f"{who:<{who_width}}", **_STYLES.get(line.type, {"dim": True}))
    first, *more = _broken(clean(line.text), output.columns() - len(margin))
    yield f"{head}  {first}".rstrip()
    yield from (f"{margin}{rest}".rstrip() for rest in more)


def _broken(text: str, room: int) -> list[str]:
    room = max(room, _TEXT_WIDTH_MIN)
    rows = [[one] if len(one) <= room else wrap(one, room) for one in text.split("\n")]
    return [part for row in rows for part in row]
