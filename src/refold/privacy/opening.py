"""Envelopes in stored rows out of them again: what a reader gets.

Pure: keys are given, and what is shown where there is none. Everything around a value stays to the
byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.event import event_id
from refold.core.stored import SEPARATOR, Row, decode_body
from refold.errors import Corrupt
from refold.privacy.envelope import (
    OPENING,
    REDACTED,
    Damaged,
    DataKey,
    Salted,
    bound_to,
    opened,
    parsed,
)
from refold.privacy.places import pointer_of, spans, with_replaced
from refold.privacy.protecting import decode_events, joined_members, members_of, with_payload

Known = Mapping[str, DataKey | str]
"""What the id of a data key stands for: the key, or the text that is shown in its place."""
_KEYS: Final = re.compile(re.escape(OPENING) + rb'"([0-9a-f]{32})"')
_encode: Final = msgspec.json.Encoder().encode


class Field(NamedTuple):
    """A personal value that can be shown and proved: its place, salt and JSON text."""

    pointer: str
    salt: bytes
    value: bytes


def keys_in(row: Row) -> set[str]:
    """The ids of the data keys that a row's values are under."""
    if not holds_envelopes(row):
        return set()
    return {key.decode() for key in _KEYS.findall(_utf8(row.body))}


def holds_envelopes(row: Row) -> bool:
    """Whether a row holds any personal value."""
    body = row.body
    return OPENING in body if isinstance(body, bytes) else _OPENING in body


_OPENING: Final = OPENING.decode()


def opened_row(row: Row, known: Known) -> Row:
    """A row with values in the place of envelopes.

    A value that was redacted is shown as such, one without a key as ``known`` says.
    :class:`~refold.errors.Corrupt` names event and place of one that was changed.
    """
    if not holds_envelopes(row):
        return row
    body, version, bodies = _utf8(row.body), row.version, []
    for one in body.split(SEPARATOR) if row.joined else [body]:
        events = decode_events(one)
        bodies.append(_opened_body(row.stream, version, one, events, known))
        version += len(events)
    text = SEPARATOR.join(bodies)
    return row._replace(body=text.decode() if isinstance(row.body, str) else text)


def fields_of(stream: str, version: int, kind: str, payload: bytes, known: Known) -> list[Field]:
    """The values of a payload that can be opened, each with what proves it."""
    event = _Opening(stream, version, kind, known)
    found = spans(payload, lambda _, start: payload.startswith(OPENING, start))
    fields = []
    for span in found:
        salted = event.opened(span.pointer, payload[span.start : span.end])
        if isinstance(salted, Salted):
            fields.append(Field(span.pointer.decode(), salted.salt, salted.value))
    return fields


def _opened_body(
    stream: str, version: int, body: bytes, texts: Sequence[Any], known: Known
) -> bytes:
    made: list[Any] = list(texts)
    for index, event in enumerate(decode_body(body)):
        payload = bytes(event.data)
        if OPENING in payload:
            opening = _Opening(stream, version + index, event.tag, known)
            text = bytes(texts[index])
            made[index] = with_payload(text, event.tag, payload, opening.payload(payload))
    return b"[" + b",".join(made) + b"]"


class _Opening:
    """One event whose envelopes are opened."""

    def __init__(self, stream: str, version: int, kind: str, known: Known) -> None:
        self._id, self._known = (stream, version), known
        self._bound = bound_to(stream, kind)

    def payload(self, payload: bytes) -> bytes:
        """A payload with values in the place of its envelopes."""
        members = members_of(payload)
        if members is not None:
            made = {name: bytes(value) for name, value in members.items()}
            closed = [name for name, value in made.items() if value.startswith(OPENING)]
            if len(closed) == payload.count(OPENING):
                for name in closed:
                    made[name] = self._shown(pointer_of((name,)), made[name])
                return joined_members(made)
        found = spans(payload, lambda _, start: payload.startswith(OPENING, start))
        return with_replaced(
            payload,
            [(span, self._shown(span.pointer, payload[span.start : span.end])) for span in found],
        )

    def _shown(self, pointer: bytes, text: bytes) -> bytes:
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
            key = self._known[envelope.key.decode()] if envelope.key else None
            return key if isinstance(key, str) else opened(envelope, self._bound, pointer, key)
        except Damaged as damage:
            raise self._corrupt(pointer, damage) from damage

    def _corrupt(self, pointer: bytes, damage: Damaged) -> Corrupt:
        stream, version = self._id
        return Corrupt(
            f"the personal value {pointer.decode()} of {event_id(stream, version)} cannot be read: "
            f"{damage}; `refold verify --deep` says what else differs",
            stream=stream,
            version=version,
            pointer=pointer.decode(),
        )


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
