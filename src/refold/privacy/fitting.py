"""What can stand in an event in the place of a value, such that it is read as before."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from refold.core.registry import Registry
from refold.errors import UsageError
from refold.privacy.places import Path, TextSpan, with_replaced
from refold.privacy.texts import LookedEvent

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.decode


def is_at(path: Path, here: Path, _start: int) -> bool:
    """Whether a value is the one at the end of a way: for :func:`refold.privacy.places.spans`."""
    return here == path


def fitting(
    registry: Registry, event: LookedEvent, payload: bytes, span: TextSpan, mark: str
) -> bytes:
    """A payload with a mark in the place of a value; where its class reads none, an empty value."""
    empty = {b"[": b"[]", b"{": b"{}"}.get(payload[span.start : span.start + 1], b"null")
    for instead in (_encode(mark), empty, b"null"):
        made = with_replaced(payload, [(span, instead)])
        if can_be_read(registry, event, made):
            return made
    raise unreadable(event)


def can_be_read(registry: Registry, event: LookedEvent, payload: bytes) -> bool:
    """Whether the class of an event reads a payload, where it reads what is stored now."""
    kind = event.stored.kind
    if not registry.has_class(kind) or registry.current(kind) != kind:
        return True
    cls = registry.class_of(kind)
    return not _fits(cls, event.plain) or _fits(cls, payload)


def _fits(cls: Any, payload: bytes) -> bool:
    try:
        if hasattr(cls, "model_validate"):
            cls.model_validate(_decode(payload))
        else:
            msgspec.json.decode(payload, type=cls)
    except (ValueError, RecursionError):
        return False
    return True


def unreadable(event: LookedEvent) -> UsageError:
    """The error for an event that would be no event of its class any more."""
    return UsageError(
        f"without that, {event.id} could not be read as its class: let the class take none there",
        id=event.id,
    )
