"""Where two values, or what would be stored of two lists of events, differ: a line a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any, Final

from msgspec.json import decode

from refold.core.clock import rfc3339
from refold.core.jsonvalue import pointer
from refold.core.recorded import Recorded

LINES_MAX: Final = 10
CHARS_MAX: Final = 400

_ABSENT: Final = object()

Place = tuple[str, str, str]
"""Where, and what is shown of the expected value and of the other."""


def cut(line: str) -> str:
    """A line short enough to be read."""
    return line if len(line) <= CHARS_MAX else f"{line[:CHARS_MAX]}…"


def shown(recorded: Recorded) -> str:
    """An event as it would be stored; its metadata and time where it has its own."""
    line = f"  {recorded.stored_kind.tag} {cut(recorded.raw.decode())}"
    if recorded.metadata:
        line += f" metadata={cut(repr(dict(recorded.metadata)))}"
    if recorded.occurred_at_us != recorded.recorded_at_us:
        line += f" occurred_at={rfc3339(recorded.occurred_at_us)}"
    return line


def of_events(expected: Sequence[Recorded], got: Sequence[Recorded]) -> list[str]:
    """The places in which two lists of events differ."""
    return _lines(
        (f"event {index}{where}", one, other)
        for index, (before, after) in enumerate(zip_longest(expected, got))
        for where, one, other in _event_places(before, after)
    )


def of_values(expected: object, got: object) -> list[str]:
    """The places in which two values of JSON's kinds differ."""
    return _lines(_places((), expected, got))


def _event_places(expected: Recorded | None, got: Recorded | None) -> Iterator[Place]:
    if expected is None or got is None or expected.stored_kind != got.stored_kind:
        yield "", _kind(expected), _kind(got)
        return
    for where, one, other in _places((), decode(expected.raw), decode(got.raw)):
        yield f" at {where or 'its root'}", one, other
    for where, one, other in _places((), expected.metadata, got.metadata):
        yield f" in its metadata at {where or 'the root'}", one, other
    if expected.occurred_at_us != got.occurred_at_us:
        yield " in its time", rfc3339(expected.occurred_at_us), rfc3339(got.occurred_at_us)


def _kind(recorded: Recorded | None) -> str:
    return _value(_ABSENT) if recorded is None else recorded.stored_kind.tag


def _places(path: tuple[str, ...], expected: Any, got: Any) -> Iterator[Place]:
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key in dict.fromkeys((*expected, *got)):
            one, other = expected.get(key, _ABSENT), got.get(key, _ABSENT)
            yield from _places((*path, str(key)), one, other)
    elif isinstance(expected, list) and isinstance(got, list):
        for index, (one, other) in enumerate(zip_longest(expected, got, fillvalue=_ABSENT)):
            yield from _places((*path, str(index)), one, other)
    elif expected is not got and expected != got:
        yield pointer(path), _value(expected), _value(got)


def _lines(places: Iterator[Place]) -> list[str]:
    found = islice(places, LINES_MAX + 1)
    lines = [f"  {where or 'it'}: expected {one}, got {other}" for where, one, other in found]
    return [*lines[:LINES_MAX], "  …"] if len(lines) > LINES_MAX else lines


def _value(value: object) -> str:
    return "nothing" if value is _ABSENT else cut(repr(value))
