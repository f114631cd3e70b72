"""Recorded events without a store."""

from __future__ import annotations

from collections.abc import Sequence

from refold.core.codec import Row, decode_row, encode_body
from refold.core.event import Registry, default_registry
from refold.core.recorded import Recorded


def as_recorded(
    events: Sequence[object],
    *,
    stream: str = "test-1",
    registry: Registry = default_registry,
    recorded_at_us: int = 0,
) -> list[Recorded]:
    """Events as a store would give them back: encoded, decoded, at versions 0, 1, 2….

    ``events`` are typed events or :class:`refold.Event` values. Raises
    :class:`~refold.errors.InvalidEvent` for what a store would refuse too.
    """
    if not events:
        return []
    row = Row(
        position=1,
        stream=stream,
        version=0,
        event_count=len(events),
        recorded_at=recorded_at_us,
        metadata=None,
        body=encode_body(events, registry).text,
    )
    return decode_row(row, registry)
