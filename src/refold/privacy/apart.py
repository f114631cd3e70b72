"""The body of an append taken apart, so that other JSON text can stand in the place of values.

Pure. What stands round the values of a payload stays to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final

import msgspec

from refold.core.stored import ABSENT, OccurredAt, decode_body
from refold.privacy.places import Path, TextSpan, with_replaced


class EventApart(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """An event: its kind and its payload.

    The payload is an object of the texts of its members, where the text that is made of that is
    the same; else its text. (None of it can refer back to itself: no collector needs to look.)
    """

    tag: str
    data: Any


class _BareApart(EventApart):
    data: dict[str, msgspec.Raw]


class _TimedApart(EventApart):
    occurred_at: int | None


class NotedApart(_TimedApart):
    """An event that has metadata of its own."""

    metadata: msgspec.Raw


class _Event(msgspec.Struct, array_like=True, gc=False):
    """A stored event whose payload is an object, as the text of its members."""

    tag: str
    data: dict[str, msgspec.Raw]
    occurred_at: OccurredAt = None
    metadata: msgspec.Raw = ABSENT


Slot = tuple[Any, str, bytes, Sequence[TextSpan] | None]
"""What is to be other text: a member of an object, or ``data`` of a part (the holder, and which).
Where it is to have it inside, its text and the places in that; else None."""
encode: Final = msgspec.json.Encoder().encode
_decode_bare: Final = msgspec.json.Decoder(list[_BareApart]).decode
_decode_events: Final = msgspec.json.Decoder(list[_Event]).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
HOLE: Final = b"\x1f"
"""Stands where a text is to be put in: a character that JSON text cannot hold."""
_HOLE: Final = msgspec.Raw(HOLE)


def taken_apart(body: bytes) -> list[Any]:
    """The events of a body, each a :class:`EventApart`."""
    for read in (_decode_bare, _with_times):
        with suppress(msgspec.ValidationError):
            parts: list[Any] = read(body)
            if encode(parts) == body:
                return parts
    # A payload is no object, or it has white space or a name twice.
    return [_part(event, _apart(event.data)) for event in decode_body(body)]


def at_way(part: EventApart, way: Path) -> tuple[Any, str, bytes]:
    """A member of an event's payload, or without a way all of that, as a slot and its text."""
    if way:
        return part.data, way[0], bytes(part.data[way[0]])
    return part, "data", encode(part.data)


def with_holes(parts: Sequence[EventApart], slots: Iterable[Slot]) -> bytes:
    """The body of some events with one hole for each text that is to be put in, in order."""
    for holder, name, text, places in slots:
        made = _HOLE
        if places is not None:
            made = msgspec.Raw(with_replaced(text, [(place, HOLE) for place in places]))
        if holder.__class__ is dict:
            holder[name] = made
        else:
            setattr(holder, name, made)
    return encode(parts)


def filled(text: bytes, texts: Iterable[bytes]) -> bytes:
    """A text with others in its holes, in order."""
    return b"".join(chain.from_iterable(zip(text.split(HOLE), [*texts, b""], strict=True)))


def _with_times(body: bytes) -> list[EventApart]:
    return [_part(event, event.data) for event in _decode_events(body)]


def _part(event: Any, data: Any) -> EventApart:
    if event.metadata is not ABSENT:
        return NotedApart(event.tag, data, event.occurred_at, event.metadata)
    return (
        EventApart(event.tag, data)
        if event.occurred_at is None
        else _TimedApart(event.tag, data, event.occurred_at)
    )


def _apart(payload: msgspec.Raw) -> dict[str, msgspec.Raw] | msgspec.Raw:
    with suppress(msgspec.ValidationError):
        members = _decode_members(payload)
        if encode(members) == bytes(payload):
            return members
    return payload
