"""Envelopes in stored rows out of them again: what a reader gets.

Pure: keys are given, and what is shown where there is none. Everything around a value stays to the
byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.event import event_id
from refold.core.stored import SEPARATOR, Row, decode_body
from refold.errors import Corrupt
from refold.privacy.apart import EventApart, Slot, at_way, filled, taken_apart, with_holes
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
from refold.privacy.together import values_of

Known = Mapping[str, DataKey | str]
"""What the id of a data key stands for: the key, or the text that is shown in its place."""
_NAME: Final = "refold:personal"
"""The member by which an envelope is an object."""
_KEY_ENDS: Final = 33
"""Where the id of a key ends that stands after what an envelope begins with."""
_encode: Final = msgspec.json.Encoder().encode


class _Parts(NamedTuple):
    """The parts of some envelopes, a list for each."""

    keys: list[bytes]
    commitments: list[bytes]
    secrets: list[bytes]


def keys_in(row: Row) -> set[str]:
    """The ids of the data keys that a row's values are under."""
    if not holds_envelopes(row.body):
        return set()
    _, *begun = _utf8(row.body).split(OPENING)
    quoted = {one[: _KEY_ENDS + 1] for one in begun if one[_KEY_ENDS : _KEY_ENDS + 1] == b'"'}
    return {one[1:-1].decode(errors="replace") for one in quoted}


def opened_row(row: Row, known: Known) -> Row:
    """A row with values in the place of envelopes.

    A value that was redacted is shown as such, one without a key as ``known`` says.
    :class:`~refold.errors.Corrupt` names event and place of one that was changed.
    """
    return ClosedRow(row).opened(known) if holds_envelopes(row.body) else row


class ClosedRow:
    """A row taken apart whose values are in envelopes."""

    def __init__(self, row: Row) -> None:
        self._row, self._texts, self._where = row, list[bytes](), list[Any]()
        body, version = _utf8(row.body), row.version
        bodies = list[bytes]()
        try:
            for one in body.split(SEPARATOR) if row.joined else [body]:
                parts = taken_apart(one)
                slots = self._slots(parts, version)
                bodies.append(with_holes(parts, slots) if slots else one)
                version += len(parts)
        except (msgspec.DecodeError, UnicodeError):
            self._texts, bodies = [], [body]  # Whoever decodes it says which cannot be read.
        self._with_holes, self._parts = SEPARATOR.join(bodies), _parts_of(self._texts)

    @property
    def keys(self) -> set[str]:
        """The ids of the data keys that its values are under."""
        if len(self._parts.keys) < max(len(self._texts), 1):
            return keys_in(self._row)
        return {key.decode(errors="replace") for key in {*self._parts.keys} if key}

    def opened(self, known: Known) -> Row:
        """See :func:`opened_row`; gives what was taken apart, so once."""
        text = filled(self._with_holes, self._shown(known))
        return self._row._replace(body=text.decode() if isinstance(self._row.body, str) else text)

    def _slots(self, parts: Sequence[EventApart], version: int) -> list[Slot]:
        slots = list[Slot]()
        for at, part in enumerate(parts, version):
            payload = part.data
            if payload.__class__ is not dict or _NAME in payload:
                self._look_inside(at_way(part, ()), (at, part.tag, ()), slots)
                continue
            for name, value in payload.items():
                if len(value) > len(OPENING):
                    text = bytes(value)
                    if text.startswith(OPENING):
                        slots.append((payload, name, b"", None))
                        self._texts.append(text)
                        self._where.append((at, part.tag, (name,)))
                    elif OPENING in text:
                        self._look_inside((payload, name, text), (at, part.tag, (name,)), slots)
        return slots

    def _look_inside(
        self, holder: tuple[Any, str, bytes], where: tuple[int, str, Path], slots: list[Slot]
    ) -> None:
        """Take the envelopes in a member of a payload, or in all of it."""
        text, (version, kind, way) = holder[2], where
        found = _envelopes(text)
        if found:
            slots.append((*holder, found))
            self._texts += [text[one.start : one.end] for one in found]
            self._where += [(version, kind, (*way, *one.path)) for one in found]

    def _shown(self, known: Known) -> list[bytes]:
        """The JSON texts of what a reader sees in the place of each envelope."""
        stream, parts = self._row.stream, self._parts
        shown = [b""] * len(self._texts)
        by_key: dict[bytes, list[int]] = {}
        for at, (name, secret) in enumerate(zip(parts.keys, parts.secrets, strict=True)):
            if secret:
                by_key.setdefault(name, []).append(at)
        for name, numbers in by_key.items():
            key = known.get(name.decode(errors="replace"))
            if isinstance(key, DataKey) and key.id.encode() == name:
                commitments, secrets = ([some[at] for at in numbers] for some in parts[1:])
                places = [_place_at(*self._where[at][1:]) for at in numbers]
                values = values_of(stream, key, commitments, secrets, places)
                for at, value in zip(numbers, values or (), strict=False):
                    shown[at] = value
        for at, text in enumerate(self._texts):
            if not shown[at]:
                version, kind, way = self._where[at]
                shown[at] = _Opening(stream, version, kind, known).shown(pointer_of(way), text)
        return shown


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


def _parts_of(envelopes: Sequence[bytes]) -> _Parts:
    """What some envelopes hold; nothing where any is none any more.

    What this takes for characters of an envelope may be others: opening one of them tells.
    """
    # {"refold:personal":["KEY","COMMITMENT","SECRET"]} and the next: eight pieces each.
    pieces = b"".join(envelopes).split(b'"')
    between = [*zip(*(pieces[at::8] for at in (2, 4, 6, 8)), strict=False)]
    wanted = [(b":[", b",", b",", b"]}{")] * (len(envelopes) - 1) + [(b":[", b",", b",", b"]}")]
    if between != wanted or len(pieces) % 8 != 1:
        return _Parts([], [], [])
    return _Parts(*(pieces[at::8] for at in (3, 5, 7)))


@lru_cache(maxsize=4096)
def _place_at(kind: str, way: Path) -> bytes:
    return place_in(kind, pointer_of(way))


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
