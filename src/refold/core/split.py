"""What a stored event counts as: itself, the events that a split makes of it, or nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from refold.core.event import Event, Kind, checked_tag
from refold.core.jsonvalue import number
from refold.core.payload import encode_payload
from refold.core.registry import Registry
from refold.core.upcast import Step, failed
from refold.errors import RefoldError

SPLITS_DEEP_MAX: Final = 16
"""How often what a split made may be split again."""
_decode = msgspec.json.Decoder(float_hook=number).decode
_kind_of = lru_cache(maxsize=4096)(Kind.parse)


def parted(
    kind: Kind, raw: bytes, registry: Registry, *, event_id: str, depth: int = 0
) -> list[tuple[Kind, bytes]]:
    """The kinds and payloads that a stored event counts as, in order.

    Raises :class:`~refold.errors.UpcastFailed` where a step is missing, fails, or gives what it
    must not.
    """
    if not registry.becomes(kind):
        return []
    current = registry.current(kind)
    step = registry.upcasts.step_of(current)
    if step is None or not step.into:
        return [(kind, raw)]
    if depth == SPLITS_DEEP_MAX:
        raise failed(current, event_id, f"it was split {SPLITS_DEEP_MAX} times over")
    try:
        data = _decode(raw)
    except (ValueError, RecursionError) as error:
        raise failed(current, event_id, f"its payload cannot be read: {error}") from error
    data = registry.upcast_data(kind, data, event_id=event_id)
    parts: list[tuple[Kind, bytes]] = []
    for event in registry.upcasts.split(current, data, event_id=event_id):
        part, payload = _part(event, step, current, registry, event_id)
        parts += parted(part, payload, registry, event_id=event_id, depth=depth + 1)
    return parts


def _part(
    event: object, step: Step, kind: Kind, registry: Registry, event_id: str
) -> tuple[Kind, bytes]:
    """The kind and payload of an event that a split gave."""
    data = event.data if isinstance(event, Event) else event
    if isinstance(event, Event) and (event.metadata or event.occurred_at is not None):
        raise failed(kind, event_id, "a part has the time and metadata of the whole")
    try:
        if isinstance(event, Event) and event.type:
            part = _kind_of(checked_tag(event.type, event.schema))
        else:
            part = registry.kind_of(data)
        payload = encode_payload(data)
    except RefoldError as error:
        raise failed(kind, event_id, error.message) from error
    if part.type not in step.into:
        raise failed(kind, event_id, f"it gave {part.type!r}, which into= does not name")
    return part, payload
