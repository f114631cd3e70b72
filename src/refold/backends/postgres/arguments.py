"""A plan as the arguments of the function that stores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from refold.backends.plan import Accepted, Needs, Plan
from refold.backends.postgres.arrays import Blobs, Numbers, Texts
from refold.backends.postgres.queries import LAST_POSITION
from refold.core.event import Kind
from refold.core.expected import NO_EVENTS
from refold.core.query import Condition
from refold.ports import CLOCK_STREAM

_COLUMNS: Final[Sequence[Callable[[Any], list[Any]]]] = (
    *(Texts, Numbers, Numbers, Numbers, Texts, Texts, Blobs, Texts, Texts),
    *(Numbers, Numbers, list, Texts, Numbers, Texts),
)
_ALWAYS: Final = frozenset((0, 1, 2, 3, 4, 8))
"""Columns that every append has a value in."""
_SEPARATOR: Final = "\x1f"
"""Between names that are sent as one text: none holds a control character."""


def as_columns(planned: Plan) -> list[list[Any] | None]:
    """The appends of a plan, column by column; None for one that all of them lack."""
    rows = []
    begun: set[str] = set()
    for write, offset, version, key, digest in planned.places:
        stream, _, kinds, metadata, body, fork, occurred, tags = write
        is_new = stream not in begun and planned.known.heads.get(stream, NO_EVENTS) == NO_EVENTS
        begun.add(stream)
        parent, forked_at = fork if fork is not None and is_new else (None, None)
        rows.append(
            (
                *(stream, offset, version, len(kinds), _types(kinds), key, digest, metadata, body),
                *(occurred or (None, None, None)),
                *(parent, forked_at, _SEPARATOR.join(tags) if tags else None),
            )
        )
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    return [
        made(column) if place in _ALWAYS or column.count(None) < len(column) else None
        for place, (made, column) in enumerate(zip(_COLUMNS, columns, strict=True))
    ]


def as_one(planned: Plan, wanted: Needs) -> list[Any] | None:
    """A plan as the arguments of the function for a lone append; None for what needs the other."""
    if len(planned.places) != 1 or len(wanted.streams) != 1 or wanted.keys or wanted.conditions:
        return None
    write, _, version, _, _ = planned.places[0]
    stream, _, kinds, metadata, body, _, occurred, tags = write
    if occurred is not None or tags or stream == CLOCK_STREAM:
        return None
    return [stream, version - 1, len(kinds), _types(kinds), metadata, body]


def as_times(planned: Plan, clocks: Sequence[int], last_at: int | None) -> tuple[Numbers, Numbers]:
    """When each append is recorded, and what the clock said where it stood behind that.

    ``clocks`` says it of each batch, ``last_at`` when the last before them was recorded; what
    begins time again is the first of them.
    """
    recorded, behind = Numbers(), Numbers()
    for decision, clock in zip(planned.decisions, clocks, strict=True):
        if not isinstance(decision, Accepted) or decision.duplicate:
            continue
        restarts = decision.places[0].write.stream == CLOCK_STREAM
        last_at = clock if restarts or last_at is None else max(last_at, clock)
        recorded += [last_at] * len(decision.places)
        behind += [None if clock == last_at else clock] * len(decision.places)
    return recorded, behind


@lru_cache(maxsize=10_000)
def _types(kinds: tuple[str, ...]) -> str:
    return _SEPARATOR.join(sorted({Kind.parse(kind).type for kind in kinds}))


def as_listed(condition: Condition, after: int) -> list[Any]:
    """A condition as the function takes it: items of tags and types, and after which position."""
    items = [[item.tags, sorted(item.types)] for item in condition.query.items]
    return [items, min(after, LAST_POSITION)]
