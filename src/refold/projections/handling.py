"""Rows of the log to calls of a projection's handlers: one decode a row."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec

from refold.core.event import event_id
from refold.core.recorded import Recorded, decode_row
from refold.core.stored import Row
from refold.errors import BackendError, StoreClosed
from refold.projections.projection import Projection
from refold.projections.rows import Raced, Rows

FAR: Final = (1 << 63) - 1
NONE: Final[frozenset[int]] = frozenset()


class Poisoned(Exception):
    """A handler failed on an event; its cause says how."""

    def __init__(self, *, position: int, stream: str, version: int) -> None:
        super().__init__(f"{event_id(stream, version)} at position {position}")
        self.position = position
        self.stream = stream
        self.version = version


def handle(
    projection: Projection,
    rows: Rows,
    row: Row,
    *,
    after: int = 0,
    until: int = FAR,
    without: Collection[int] = NONE,
) -> None:
    """Handle those events of an append that stand after a position and up to another.

    ``without`` are versions to leave out. Raises :class:`Poisoned`, and what the handlers changed
    until then stays in ``rows``; :class:`~refold.errors.Corrupt` where the events are not there.
    """
    position, shift = row.position - 1, row.version - row.position
    (part,), registry = row.parts(), projection.registry
    try:
        for position, event in enumerate(_decoded(projection, row), row.position):
            if not after < position <= until or (without and position + shift in without):
                continue
            if event.__class__ is Recorded:
                projection.step(rows, event)
            elif event.step is not None:
                event.step(rows, event.data)
            elif event.watch is not None:
                at = part.recorded_at if event.occurred_at is None else event.occurred_at
                version = position + shift
                recorded = Recorded(
                    row.stream, version, position, at, event.kind, event, part, row, registry
                )
                event.watch(rows, event.data, recorded)
    except (BackendError, StoreClosed, Raced):
        raise
    except Exception as error:
        version = position + shift
        raise Poisoned(position=position, stream=row.stream, version=version) from error


def _decoded(projection: Projection, row: Row) -> list[Any]:
    """The events as their handlers take them, or as recorded where something is wrong."""
    try:
        events = projection.dispatch.decode(row.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        events = []
    return events if len(events) == row.event_count else decode_row(row, projection.registry)
