"""Recorded events without a store."""

from __future__ import annotations

from collections.abc import Sequence

from refold.core.encode import encode_one_by_one, row_of
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry, default_registry


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
    body = encode_one_by_one(events, registry, are_old=True)
    row = row_of(body, position=1, stream=stream, version=0, recorded_at=recorded_at_us)
    return decode_row(row, registry)
