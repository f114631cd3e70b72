"""Events as they are printed: one JSON object, or one line for a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from refold import Recorded
from refold.cli import output
from refold.cli.text import clean, one_line
from refold.times import rfc3339

PAYLOAD_WIDTH_MIN: Final = 20


def as_json(recorded: Recorded) -> dict[str, Any]:
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


def print_json(events: Iterable[Recorded]) -> int:
    """One object a line; how many."""
    count = 0
    for recorded in events:
        output.json_line(as_json(recorded))
        count += 1
    return count


def print_plain(events: Iterable[Recorded]) -> int:
    """One line an event: position, when it happened, id, type, and as much payload as fits.

    Gives how many.
    """
    width, count = output.width(), 0
    for recorded in events:
        output.line(_line(recorded, width))
        count += 1
    return count


def _line(recorded: Recorded, width: int) -> str:
    place = f"{recorded.position:>6}  {rfc3339(recorded.occurred_at_us)[:19]}"
    named = clean(f"{recorded.id}  {recorded.type}")
    left = max(width - len(place) - len(named) - 4, PAYLOAD_WIDTH_MIN)
    payload = one_line(output.compact(recorded.data), left)
    return f"{output.styled(place, dim=True)}  {output.styled(named, bold=True)}  {payload}"
