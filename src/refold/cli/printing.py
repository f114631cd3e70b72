"""What the commands print of a store: events, differences, transcripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import msgspec

import refold
from refold.cli import output
from refold.cli.text import clean, one_line
from refold.jsontext import exact
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
        "data": exact(recorded.data),
        "metadata": exact(recorded.metadata),
    }


def change_json(change: refold.Change) -> dict[str, Any]:
    """A change with the whole events on both sides."""
    return {
        "kind": change.kind,
        "before": None if change.before is None else event_json(change.before),
        "after": None if change.after is None else event_json(change.after),
        "patch": exact(change.patch),
    }


def print_events(events: Iterable[refold.Recorded]) -> int:
    """A line an event: position, when it happened, id, type, and as much payload as fits.

    With ``--json`` the whole event. Gives how many.
    """
    count = 0
    for recorded in events:
        output.show(event_json(recorded), event_lines([recorded]))
        count += 1
    return count


def event_lines(events: Iterable[refold.Recorded]) -> Iterator[str]:
    """Each event on a line."""
    for recorded in events:
        place = f"{recorded.position:>6}  {rfc3339(recorded.occurred_at_us)[:19]}"
        named = clean(f"{recorded.id}  {recorded.type}")
        payload = _payload(recorded, len(place) + len(named) + 4)
        yield f"{output.styled(place, dim=True)}  {output.styled(named, bold=True)}  {payload}"


def change_lines(changes: Iterable[refold.Change]) -> Iterator[str]:
    """Removed events with a minus, added ones with a plus, changed ones with what changed."""
    for change in changes:
        match change:
            case refold.Change(before=None, after=refold.Recorded() as added):
                yield _signed("+", added, fg="green")
            case refold.Change(before=refold.Recorded() as removed, after=None):
                yield _signed("-", removed, fg="red")
            case refold.Change(before=refold.Recorded() as before, after=refold.Recorded() as now):
                yield output.styled(clean(f"~ {before.id} > {now.id}  {now.type}"), fg="yellow")
                yield from operation_lines(change.patch)


def operation_lines(operations: Iterable[Any]) -> Iterator[str]:
    """The operations of a patch, one a line: the path, what was there, what is there now."""
    for operation in operations:
        where = operation.path or "/"
        room = max((output.width() - len(where) - 12) // 2, PAYLOAD_WIDTH_MIN)
        old, new = _shown(operation.before, room), _shown(operation.value, room)
        match operation.op:
            case "add":
                what = f"+ {new}"
            case "remove":
                what = f"- {old}"
            case "replace":
                what = f"{old} > {new}"
            case name:
                what = f"{name} {_shown(operation.from_, room)}"
        yield f"    {clean(where)}: {what}"


def _shown(value: object, room: int) -> str:
    return "" if value is msgspec.UNSET else one_line(output.compact(exact(value)), room)


def _signed(sign: str, recorded: refold.Recorded, *, fg: str) -> str:
    named = clean(f"{sign} {recorded.id}  {recorded.type}")
    return f"{output.styled(named, fg=fg)}  {_payload(recorded, len(named) + 2)}"


def _payload(recorded: refold.Recorded, taken: int) -> str:
    """As much of a payload as fits beside what is ``taken`` of the line."""
    room = max(output.width(output.UNBROKEN) - taken, PAYLOAD_WIDTH_MIN)
    return one_line(output.compact(exact(recorded.data)), room)


def transcript_lines(lines: Sequence[Line]) -> Iterator[str]:
    """The lines under the day that they were said on; long text is broken to fit a terminal."""
    from refold.conversation.transcript import WHO_CHARS_MAX

    who_width = max((len(one_line(line.who, WHO_CHARS_MAX)) for line in lines), default=0)
    day = ""
    for line in lines:
        date, _, time = line.at.partition("T")
        if date != day:
            day = date
            yield output.styled(day, dim=True)
        yield from _rows(line, time[:8], who_width)


def _rows(line: Line, time: str, who_width: int) -> Iterator[str]:
    version = line.id.rpartition("@")[2]
    who = one_line(line.who, who_width)
    margin = " " * (4 + 2 + len(time) + 2 + who_width + 2)
    head = f"{output.styled(f'{version:>4}  {time}', dim=True)}  "
    head += output.styled(f"{who:<{who_width}}", **_STYLES.get(line.type, {"dim": True}))
    first, *more = _broken(clean(line.text), output.width(output.UNBROKEN) - len(margin))
    yield f"{head}  {first}".rstrip()
    yield from (f"{margin}{rest}".rstrip() for rest in more)


def _broken(text: str, room: int) -> list[str]:
    room = max(room, _TEXT_WIDTH_MIN)
    rows = [[one] if len(one) <= room else wrap(one, room) for one in text.split("\n")]
    return [part for row in rows for part in row]


def detail(cost: Decimal | None, failed: int) -> str:
    """What stands beside the bar: money so far, and failures."""
    from refold.replay.wording import money

    spent = "" if cost is None else money(cost)
    return f"{spent}  {failed} failed".lstrip() if failed else spent
