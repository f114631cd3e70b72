"""Personal values of an append into envelopes: a body to a body.

Pure: keys and random bytes are given. The text is changed where personal values stand, and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from refold.core.stored import StoredEvent, decode_body
from refold.errors import InvalidEvent
from refold.privacy.envelope import OPENING, DataKey, bound_to, envelope_of
from refold.privacy.fields import Fields, FieldTable
from refold.privacy.places import Path, TextSpan, members_at, spans, with_replaced

Draw = Callable[[], bytes]
"""Gives 44 random bytes that nothing else ever gets."""
Close = Callable[[bytes, bytes], bytes]
"""The envelope of a value, by its JSON Pointer and its JSON text."""
_RESERVED: Final = (
    'it holds {"refold:personal":[…, which stands for a personal value: only refold makes these'
)
decode_events: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
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
    found = _found(payload, fields)
    made = [(one, close(one.pointer, payload[one.start : one.end])) for one in found]
    return with_replaced(payload, made) if made else payload


def _found(payload: bytes, fields: Fields) -> list[TextSpan]:
    if fields.signs:
        members = members_at(payload, fields.signs)
        if members is not None:
            return members
    is_alone = payload[:1] not in (b"{", b"[")

    def is_personal(path: Path, _start: int) -> bool:
        return (path != () or is_alone) and fields.are_at(path)

    return spans(payload, is_personal)


def with_payload(event: bytes, tag: str, before: bytes, after: bytes) -> bytes:
    """The text of a stored event with another payload."""
    start = _tag_length(tag)
    end = start + len(before)
    if event[start:end] == before:
        return event[:start] + after + event[end:]
    (span,) = spans(event, lambda path, _start: path == ("1",))  # Written with white space.
    return with_replaced(event, [(span, after)])


@lru_cache(maxsize=4096)
def _tag_length(tag: str) -> int:
    """How much of an event's text comes before its payload."""
    return len(_encode(tag)) + 2
