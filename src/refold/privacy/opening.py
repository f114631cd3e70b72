"""Envelopes in stored rows out of them again: what a reader gets.

Pure: keys are given, and what is shown where there is none. Everything around a value stays to the
byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from refold.core.event import event_id
from refold.core.stored import ABSENT, SEPARATOR, OccurredAt, Row, decode_body
from refold.errors import Corrupt
from refold.privacy.apart import Part, Slot, at_way, put_together, taken_apart
from refold.privacy.envelope import (
    OPENING,
    REDACTED,
    Damaged,
    DataKey,
    Salted,
    holds_envelopes,
    opened,
    parsed,
    place_in,
)
from refold.privacy.places import Path, TextSpan, pointer_of, spans


class _Event(msgspec.Struct, array_like=True, frozen=True):
    """A stored event whose payload is an object, as the text of its members."""

    tag: str
    data: dict[str, msgspec.Raw]
    occurred_at: OccurredAt = None
    metadata: msgspec.Raw = ABSENT


_decode_members: Final = msgspec.json.Decoder(list[_Event]).decode
Known = Mapping[str, DataKey | str]
"""What the id of a data key stands for: the key, or the text that is shown in its place."""
_NAME: Final = "refold:personal"
"""The member by which an envelope is an object."""
_KEYS: Final = re.compile(re.escape(OPENING) + rb'"([0-9a-f]{32})"')
_encode: Final = msgspec.json.Encoder().encode


def keys_in(row: Row) -> set[str]:
    """The ids of the data keys that a row's values are under."""
    if not holds_envelopes(row.body):
        return set()
    return {key.decode() for key in _KEYS.findall(_utf8(row.body))}


def opened_row(row: Row, known: Known) -> Row:
    """A row with values in the place of envelopes.

    A value that was redacted is shown as such, one without a key as ``known`` says.
    :class:`~refold.errors.Corrupt` names event and place of one that was changed.
    """
    if not holds_envelopes(row.body):
        return row
    version, bodies = row.version, []
    for body in _utf8(row.body).split(SEPARATOR) if row.joined else [_utf8(row.body)]:
        try:
            kinds = [event.tag for event in decode_body(body)]
        except (msgspec.DecodeError, UnicodeError):
            return row  # Whoever decodes it says which append cannot be read.
        bodies.append(_opened_body(row.stream, version, body, kinds, known))
        version += len(kinds)
    text = SEPARATOR.join(bodies)
    return row._replace(body=text.decode() if isinstance(row.body, str) else text)


def fields_of(row: Row, version: int, known: Known) -> dict[str, Salted | str]:
    """The personal values of an event of a row, each with its salt, by their commitments.

    Of one that cannot be opened, the text that is shown in its place.
    """
    event = decode_body(_utf8(row.body))[version - row.version]
    payload, opening = bytes(event.data), _Opening(row.stream, version, event.tag, known)
    found: dict[str, Salted | str] = {}
    for span in _envelopes(payload):
        text = payload[span.start : span.end]
        said = opening.opened(span.pointer, text)
        envelope = parsed(text)
        if envelope is not None:
            found[envelope.commitment.decode()] = said
    return found


def damaged_in(row: Row, known: Known) -> Iterator[Corrupt]:
    """Each personal value of an append that was changed, with its event and place."""
    for version, event in enumerate(decode_body(_utf8(row.body)), row.version):
        payload, opening = bytes(event.data), _Opening(row.stream, version, event.tag, known)
        for span in _envelopes(payload):
            try:
                opening.opened(span.pointer, payload[span.start : span.end])
            except Corrupt as damage:
                yield damage


def _opened_body(
    stream: str, version: int, body: bytes, kinds: Sequence[str], known: Known
) -> bytes:
    if OPENING not in body:
        return body
    parts = taken_apart(body, kinds, _decode_members)
    slots, texts = list[Slot](), list[bytes]()
    for place, part in enumerate(parts, version):
        opening = _Opening(stream, place, part[0], known)
        for holder, name, text, way in _long_texts(part):
            if text.startswith(OPENING):
                texts.append(opening.shown(pointer_of(way), text))
                slots.append((holder, name, text, None))
            elif OPENING in text:
                found = _envelopes(text)
                pointers = [pointer_of((*way, *one.path)) for one in found]
                texts += [
                    opening.shown(pointer, text[one.start : one.end])
                    for pointer, one in zip(pointers, found, strict=True)
                ]
                slots.append((holder, name, text, found))
    return put_together(parts, slots, texts)


def _long_texts(part: Part) -> Iterator[tuple[Any, Any, bytes, Path]]:
    """The members of an event's payload, or all of it, that can hold an envelope."""
    payload = part[1]
    if payload.__class__ is not dict or _NAME in payload:
        yield (*at_way(part, ()), ())
    else:
        for name, value in payload.items():
            if len(value) > len(OPENING):
                yield payload, name, bytes(value), (name,)


def _envelopes(text: bytes) -> list[TextSpan]:
    """Where the envelopes in a text stand."""
    return spans(text, lambda _, start: text.startswith(OPENING, start))


class _Opening:
    """One event whose envelopes are opened."""

    def __init__(self, stream: str, version: int, kind: str, known: Known) -> None:
        self._stream, self._version, self._kind, self._known = stream, version, kind, known

    def shown(self, pointer: bytes, text: bytes) -> bytes:
        """The JSON text of what a reader sees in the place of an envelope."""
        found = self.opened(pointer, text)
        return found.value if isinstance(found, Salted) else _encode(found)

    def opened(self, pointer: bytes, text: bytes) -> Salted | str:
        """What stands in an envelope, or the text that is shown in its place."""
        try:
            envelope = parsed(text)
            if envelope is None:
                raise Damaged("it is no envelope any more")
            if not envelope.secret:
                return REDACTED
            key = self._known.get(envelope.key.decode(), "") if envelope.key else None
            if key == "":
                raise Damaged(f"{envelope.key.decode()} is no data key of this store")
            if isinstance(key, str):
                return key
            return opened(envelope, self._stream, place_in(self._kind, pointer), key)
        except Damaged as damage:
            raise self._corrupt(pointer, damage) from damage

    def _corrupt(self, pointer: bytes, damage: Damaged) -> Corrupt:
        stream, version = self._stream, self._version
        return Corrupt(
            f"the personal value {pointer.decode()} of {event_id(stream, version)} cannot be read: "
            f"{damage}; `refold verify --deep` says what else differs",
            stream=stream,
            version=version,
            pointer=pointer.decode(),
        )


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
