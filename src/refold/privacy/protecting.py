"""Personal values of an append into envelopes: a body to a body.

Pure: keys and random bytes are given. The text is changed where personal values stand, and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from refold.core.stored import StoredEvent, decode_body
from refold.errors import InvalidEvent
from refold.privacy.envelope import OPENING, DataKey, bound_to, envelope_of
from refold.privacy.fields import EVERY, Fields, FieldTable
from refold.privacy.places import Path, pointer_of, spans, with_replaced

Draw = Callable[[], bytes]
"""Gives 44 random bytes that nothing else ever gets."""
Close = Callable[[bytes, bytes], bytes]
"""The envelope of a value, by its JSON Pointer and its JSON text."""
_RESERVED: Final = (
    'it holds {"refold:personal":[…, which stands for a personal value: only refold makes these'
)
decode_events: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


def protected_body(
    body: str,
    stream: str,
    table: FieldTable,
    key_of: Callable[[StoredEvent], DataKey | None],
    draw: Draw,
    found: Mapping[int, Sequence[str]] = {},
) -> str:
    """The body of an append with its personal values in envelopes.

    ``found`` are JSON Pointers to more of them, by the event's index.
    :class:`~refold.errors.InvalidEvent` (code ``reserved``) where an event holds what would be read
    as one.
    """
    raw = body.encode()
    events = decode_body(raw) if table or found or OPENING in raw else []
    if OPENING in raw:
        index = next((n for n, one in enumerate(events) if OPENING in bytes(one.data)), 0)
        raise InvalidEvent(f"event {index}: {_RESERVED}", index=index, code="reserved")
    wanted = [table.of(event.tag) for event in events]
    for index, pointers in found.items():
        wanted[index] = Fields.joined(wanted[index], pointers)
    if not any(wanted):
        return body
    texts: list[Any] = decode_events(raw)
    for index, (event, fields) in enumerate(zip(events, wanted, strict=True)):
        if fields is not None:
            payload = bytes(event.data)
            close = _closing(bound_to(stream, event.tag), key_of(event), draw)
            made = protected(payload, fields, close)
            if made is not payload:
                texts[index] = with_payload(bytes(texts[index]), event.tag, payload, made)
    return (b"[" + b",".join(texts) + b"]").decode()


def _closing(bound: bytes, key: DataKey | None, draw: Draw) -> Close:
    def close(pointer: bytes, value: bytes) -> bytes:
        return envelope_of(value, bound, pointer, key, draw())

    return close


def protected(payload: bytes, fields: Fields, close: Close) -> bytes:
    """A payload with its personal values closed; the same object where it has none."""
    names = fields.names
    members = None if names is None else members_of(payload)
    if names is not None and members is not None:
        if EVERY not in names and names.isdisjoint(members):
            return payload
        return joined_members(
            {
                name: close(pointer_of((name,)), bytes(value))
                if name in names or EVERY in names
                else value
                for name, value in members.items()
            }
        )
    is_alone = payload[:1] not in (b"{", b"[")

    def is_personal(path: Path, _start: int) -> bool:
        return (path != () or is_alone) and fields.are_at(path)

    found = spans(payload, is_personal)
    made = [(span, close(span.pointer, payload[span.start : span.end])) for span in found]
    return with_replaced(payload, made) if made else payload


def members_of(payload: bytes) -> Mapping[str, Any] | None:
    """The members of a payload that is written as :func:`joined_members` writes it; None else.

    White space, an escape in a name and a name that stands twice each make the text longer than
    what it is read as.
    """
    try:
        members = _decode_members(payload)
    except msgspec.DecodeError:
        return None
    length = sum([len(name.encode()) + len(value) + 4 for name, value in members.items()])
    return members if members and len(payload) == length + 1 else None


def joined_members(members: Mapping[str, Any]) -> bytes:
    """The text of an object, of names that need no escapes and the text of each value."""
    return b"{%b}" % b",".join(
        [b'"%b":%b' % (name.encode(), value) for name, value in members.items()]
    )


def with_payload(event: bytes, tag: str, before: bytes, after: bytes) -> bytes:
    """The text of a stored event with another payload."""
    start = len(_encode(tag)) + 2
    end = start + len(before)
    if event[start:end] == before:
        return event[:start] + after + event[end:]
    (span,) = spans(event, lambda path, _start: path == ("1",))  # Written with white space.
    return with_replaced(event, [(span, after)])
