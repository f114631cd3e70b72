"""Where two values, or what would be stored of two lists of events, differ: a line a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any, Final

from msgspec.json import decode

from refold.core.clock import rfc3339
from refold.core.patch import pointer
from refold.core.recorded import Recorded

LINES_MAX: Final = 10
CHARS_MAX: Final = 400

_ABSENT: Final = object()


def cut(line: str) -> str:
    """A line short enough to be read."""
    return line if len(line) <= CHARS_MAX else f"{line[:CHARS_MAX]}…"


def shown(recorded: Recorded) -> str:
    """An event as it would be stored; its metadata and time where it has its own."""
    line = f"  {recorded.stored_kind.tag} {cut(recorded.raw.decode())}"
    if recorded.metadata:
        line += f" metadata={cut(repr(dict(recorded.metadata)))}"
    if recorded.occurred_at_us != recorded.recorded_at_us:
        line += f" occurred_at={_time(recorded)}"
    return line


def of_events(expected: Sequence[Recorded], got: Sequence[Recorded]) -> list[str]:
    """The places in which two lists of events differ."""
    pairs = enumerate(zip_longest(expected, got))
    return _lines(
        (f"event {index}{where}", one, other)
        for index, (before, after) in pairs
        for where, one, other in _event_places(before, after)
    )


def of_values(expected: object, got: object) -> list[str]:
    """The places in which two values of JSON's kinds differ."""
    return _lines(_places((), expected, got))


def _event_places(
    expected: Recorded | None, got: Recorded | None
) -> Iterator[tuple[str, object, object]]:
    if expected is None or got is None or expected.stored_kind != got.stored_kind:
        yield "", _kind(expected), _kind(got)
        return
    for where, one, other in _places((), decode(expected.raw), decode(got.raw)):
        yield f" at {where or 'its root'}", one, other
    for where, one, other in _places((), expected.metadata, got.metadata):
        yield f" in its metadata at {where or 'the root'}", one, other
    if expected.occurred_at_us != got.occurred_at_us:
        yield " in its time", _time(expected), _time(got)


def _time(recorded: Recorded) -> object:
    return _Bare(rfc3339(recorded.occurred_at_us))


def _kind(recorded: Recorded | None) -> object:
    return _ABSENT if recorded is None else _Bare(recorded.stored_kind.tag)


class _Bare(str):
    """Text that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _places(path: tuple[str, ...], expected: Any, got: Any) -> Iterator[tuple[str, object, object]]:
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key in dict.fromkeys((*expected, *got)):
            one, other = expected.get(key, _ABSENT), got.get(key, _ABSENT)
            yield from _places((*path, str(key)), one, other)
    elif isinstance(expected, list) and isinstance(got, list):
        for index, (one, other) in enumerate(zip_longest(expected, got, fillvalue=_ABSENT)):
            yield from _places((*path, str(index)), one, other)
    elif expected is not got and expected != got:
        yield pointer(path), expected, got


def _lines(places: Iterator[tuple[str, object, object]]) -> list[str]:
    found = list(islice(places, LINES_MAX + 1))
    lines = [
        f"  {where or 'it'}: expected {_value(expected)}, got {_value(got)}"
        for where, expected, got in found[:LINES_MAX]
    ]
    return [*lines, "  …"] if len(found) > LINES_MAX else lines


def _value(value: object) -> str:
    return "nothing" if value is _ABSENT else cut(repr(value))
