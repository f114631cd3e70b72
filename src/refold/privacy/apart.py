"""The body of an append taken apart, so that other JSON text can stand in the place of values.

Pure. What stands round the values of a payload stays to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from refold.core.stored import ABSENT, decode_body
from refold.privacy.places import Path, TextSpan, with_replaced

Part = list[Any]
"""An event: its kind and its payload, and where it has any its time and its metadata."""
Slot = tuple[Any, Any, bytes, Sequence[TextSpan] | None]
"""What is to be other text: a member of an object or an element of a list (the holder, and which).
Where it is to have it inside, its text and the places in that; else None."""
encode: Final = msgspec.json.Encoder().encode


def taken_apart(
    body: bytes, kinds: Sequence[str], decode: Callable[[bytes], Sequence[Any]]
) -> list[Part]:
    """The events of a body.

    A payload is JSON text; or an object of the texts of its members, where ``decode`` gives it as
    such and the text that is made of that is the same.
    """
    try:
        parts = _parts(kinds, decode(body))
    except msgspec.ValidationError:  # A payload is no object.
        return _parts(kinds, decode_body(body))
    if encode(parts) != body:
        for part, event in zip(parts, decode_body(body), strict=True):
            if encode(part[1]) != bytes(event.data):  # It has white space, or a name twice.
                part[1] = event.data
    return parts


def at_way(part: Part, way: Path) -> tuple[Any, Any, bytes]:
    """A member of an event's payload, or without a way all of that, as a slot and its text."""
    holder: Any = part[1] if way else part
    name: Any = way[0] if way else 1
    return holder, name, encode(holder[name])


def put_together(parts: Sequence[Part], slots: Iterable[Slot], texts: Iterable[bytes]) -> bytes:
    """The body of some events with texts in their slots, in order."""
    left = iter(texts)
    for holder, name, text, places in slots:
        if places is None:
            made = next(left)
        else:
            made = with_replaced(text, [(place, next(left)) for place in places])
        holder[name] = msgspec.Raw(made)
    return encode(parts)


def _parts(kinds: Sequence[str], events: Sequence[Any]) -> list[Part]:
    return [
        [kind, event.data, *_rest(event)]
        if event.occurred_at is not None or event.metadata is not ABSENT
        else [kind, event.data]
        for kind, event in zip(kinds, events, strict=True)
    ]


def _rest(event: Any) -> tuple[Any, ...]:
    time, metadata = event.occurred_at, event.metadata
    return (time,) if metadata is ABSENT else (time, metadata)
