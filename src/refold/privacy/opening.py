"""Envelopes in stored rows out of them again: what a reader gets.

Pure: keys are given, and what is shown where there is none. Everything around a value stays to the
byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from refold.core.event import event_id
from refold.core.stored import SEPARATOR, Row, StoredEvent, decode_body
from refold.errors import Corrupt
from refold.privacy.envelope import (
    OPENING,
    REDACTED,
    Damaged,
    DataKey,
    Salted,
    bound_to,
    holds_envelopes,
    opened,
    parsed,
)
from refold.privacy.places import members_at, spans, with_replaced
from refold.privacy.protecting import decode_events, with_payload

Known = Mapping[str, DataKey | str]
"""What the id of a data key stands for: the key, or the text that is shown in its place."""
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
    body, version, bodies = _utf8(row.body), row.version, []
    for one in body.split(SEPARATOR) if row.joined else [body]:
        try:
            texts, events = decode_events(one), decode_body(one)
        except (msgspec.DecodeError, UnicodeError):
            return row  # Whoever decodes it says which append cannot be read.
        bodies.append(_opened_body(row.stream, version, zip(texts, events, strict=True), known))
        version += len(events)
    text = SEPARATOR.join(bodies)
    return row._replace(body=text.decode() if isinstance(row.body, str) else text)


def fields_of(row: Row, version: int, known: Known) -> dict[str, Salted | str]:
    """The personal values of an event of a row, each with its salt, by their commitments.

    Of one that cannot be opened, the text that is shown in its place.
    """
    event = decode_body(_utf8(row.body))[version - row.version]
    payload, opening = bytes(event.data), _Opening(row.stream, version, event.tag, known)
    found: dict[str, Salted | str] = {}
    for span in spans(payload, lambda _, start: payload.startswith(OPENING, start)):
        text = payload[span.start : span.end]
        said = opening.opened(span.pointer, text)
        envelope = parsed(text)
        if envelope is not None:
            found[envelope.commitment.decode()] = said
    return found


def _opened_body(
    stream: str, version: int, events: Iterable[tuple[Any, StoredEvent]], known: Known
) -> bytes:
    made = []
    for place, (text, event) in enumerate(events, version):
        payload = bytes(event.data)
        if OPENING in payload:
            opening = _Opening(stream, place, event.tag, known)
            text = with_payload(bytes(text), event.tag, payload, opening.payload(payload))
        made.append(text)
    return b"[" + b",".join(made) + b"]"


def _signs_in(payload: bytes) -> Iterator[bytes]:
    """What stands before each envelope, back to a quote: of a member its name."""
    at = payload.find(OPENING)
    while at >= 0:
        yield payload[payload.rfind(b'"', 0, max(at - 2, 0)) : at] or b'"":'
        at = payload.find(OPENING, at + len(OPENING))


class _Opening:
    """One event whose envelopes are opened."""

    def __init__(self, stream: str, version: int, kind: str, known: Known) -> None:
        self._id, self._known = (stream, version), known
        self._bound = bound_to(stream, kind)

    def payload(self, payload: bytes) -> bytes:
        """A payload with values in the place of its envelopes."""
        found = members_at(payload, _signs_in(payload))
        if found is None or len(found) != payload.count(OPENING):  # Some are deeper.
            found = spans(payload, lambda _, start: payload.startswith(OPENING, start))
        shown = [(one, self._shown(one.pointer, payload[one.start : one.end])) for one in found]
        return with_replaced(payload, shown)

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
            key = self._known.get(envelope.key.decode(), "") if envelope.key else None
            if key == "":
                raise Damaged(f"{envelope.key.decode()} is no data key of this store")
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
