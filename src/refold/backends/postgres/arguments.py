"""A plan as the arguments of the function that stores it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from refold.backends.plan import Plan
from refold.backends.postgres.queries import LAST_POSITION
from refold.core.event import Kind
from refold.core.expected import NO_EVENTS
from refold.core.query import Condition

COLUMNS: Final = 15
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
    columns: list[list[Any] | None]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * COLUMNS
    for place in (5, 14):  # Keys and tags: most commits have none.
        if not any(columns[place] or ()):
            columns[place] = None
    return columns


@lru_cache(maxsize=10_000)
def _types(kinds: tuple[str, ...]) -> str:
    return _SEPARATOR.join(sorted({Kind.parse(kind).type for kind in kinds}))


def as_listed(condition: Condition, after: int) -> list[Any]:
    """A condition as the function takes it: items of tags and types, and after which position."""
    items = [[item.tags, sorted(item.types)] for item in condition.query.items]
    return [items, min(after, LAST_POSITION)]
