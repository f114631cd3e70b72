"""The texts of a log, as they are looked through: an event each, or several that hold one text.

A large request stands in pieces before its event, and an answer in pieces as it came; a passage may
be cut by their borders, so each of them is looked through as one text.
"""

from __future__ import annotations

import gzip
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold.archive.packed import zstd
from refold.audit.entry import stored_events
from refold.audit.reading import first_version
from refold.core.event import event_id
from refold.core.payload import EVENT_BYTES_MAX
from refold.core.stored import Row, StoredEvent
from refold.ports import Backend
from refold.privacy.envelope import REDACTED
from refold.privacy.passages import Passage, apply, edits

EVENTS_PER_PAGE: Final = 1_000
FAR: Final = (1 << 62) - 1
HISTORY: Final = "history:"
"""How tags begin that are digests of all that a captured conversation had said so far."""
Open = Callable[[Row], Row]
"""Gives a stored row with values in the place of envelopes."""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class LookedEvent(NamedTuple):
    """An event that is looked through: as it is stored, and with its values ``plain``."""

    row: Row
    stored: StoredEvent
    version: int
    position: int
    plain: bytes

    @property
    def id(self) -> str:
        """``stream@version``, by its own stream."""
        return event_id(self.row.stream, self.version)

    @property
    def type(self) -> str:
        """The type of the event."""
        return self.stored.kind.type

    @property
    def has_digest(self) -> bool:
        """Whether a tag of its append tells whether a guess at the conversation is right."""
        return f'"{HISTORY}'.encode() in _utf8(self.row.metadata or b"")

    def noted(self, name: str) -> Any:
        """A value of its metadata, its own before its append's; None where there is none."""
        for text in (bytes(self.stored.metadata), _utf8(self.row.metadata or b"")):
            if b'"%b"' % name.encode() in text and (said := _decode(text).get(name)) is not None:
                return said
        return None


class Text(NamedTuple):
    """A text, and the events that hold it: one, or several that hold a part of it each."""

    events: Sequence[LookedEvent]
    text: str
    is_json: bool = True

    def without(self, passages: Sequence[Passage]) -> dict[int, bytes]:
        """The payloads that change where passages go, by position; none where none stands here."""
        made = edits(self.text, passages, is_json=self.is_json)
        text = apply(self.text, made)
        (first, *_), last = self.events, self.events[-1]
        if not self.is_json:
            return _answers(self.events, text) if made else {}
        if len(self.events) > 1:
            return _pieces(self.events[:-1], text) if made else {}
        if first.type == "wire.request" and b'"base64":"' in first.plain:
            text = _without_in_base64(text, passages)
        return {last.position: text.encode()} if text.encode() != first.plain else {}


def texts_in(log: Backend, streams: Iterable[str], opened: Open) -> Iterator[Text]:
    """The texts of streams, a stream after another, each in order."""
    for stream in streams:
        pieces: list[LookedEvent] = []
        answers: dict[Any, list[LookedEvent]] = {}
        for event in looked(log, stream, opened):
            match event.type:
                case "wire.piece":
                    pieces.append(event)
                    continue
                case "wire.answer":
                    answers.setdefault(event.noted("call"), []).append(event)
                    continue
            if pieces:
                joined = "".join(_decode(one.plain)["text"] for one in pieces)
                yield Text([*pieces, event], joined)
                pieces = []
            yield Text([event], event.plain.decode())
        yield from (Text([one], one.plain.decode()) for one in pieces)
        for events in answers.values():
            yield Text(events, _answer(events), is_json=False)


def looked(log: Backend, stream: str, opened: Open, *, first: int = 0) -> Iterator[LookedEvent]:
    """The events of a stream alone, in order, from a version on or a little before it."""
    for row in rows_of(log, stream, first=first):
        pairs = zip(stored_events(row), stored_events(opened(row)), strict=True)
        for at, (stored, plain) in enumerate(pairs):
            yield LookedEvent(row, stored, row.version + at, row.position + at, bytes(plain.data))


def rows_of(log: Backend, stream: str, *, first: int = 0) -> Iterator[Row]:
    """The appends of a stream alone, in order, from a version on or a little before it."""
    version = max(first, first_version(log, stream))
    while found := log.rows(
        stream, first=version, last=FAR, backward=False, events_max=EVENTS_PER_PAGE
    ):
        for row in (append for one in found for append in one.appends()):
            yield row
            version = row.last_version + 1


def _pieces(pieces: Sequence[LookedEvent], text: str) -> dict[int, bytes]:
    """A text in as many pieces as before."""
    size = -(-len(text) // len(pieces))
    return {
        one.position: _encode({"text": text[at * size : (at + 1) * size]})
        for at, one in enumerate(pieces)
    }


def _answers(events: Sequence[LookedEvent], text: str) -> dict[int, bytes]:
    """The text of an answer, in the first of its events; nothing of it in the others."""
    if len(text) * 4 > EVENT_BYTES_MAX:
        text = REDACTED
    made = {}
    for event in events:
        said = _decode(event.plain)
        said = {name: one for name, one in said.items() if name not in ("text", "lead", "rest")}
        if event is events[0]:
            headers = said.get("headers", {}).items()
            said["headers"] = {n: one for n, one in headers if n.lower() != "content-encoding"}
            said |= _held(text)
        if "hash" in said:
            said["hash"] = REDACTED
        made[event.position] = _encode(said)
    return made


def _held(text: str) -> dict[str, str]:
    """Bytes as an answer holds them: as text, in base64 where they are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"rest": b64encode(text.encode(errors="surrogateescape")).decode()}
    return {"text": text}


def _answer(events: Sequence[LookedEvent]) -> str:
    """What an answer says, out of its compression where that is known here."""
    data = b""
    for event in events:
        said = _decode(event.plain)
        data += b64decode(said.get("lead", "")) + said.get("text", "").encode()
        data += b64decode(said.get("rest", ""))
    return _uncompressed(data).decode(errors="surrogateescape")


def _uncompressed(data: bytes) -> bytes:
    """Data out of its compression; as they are where they are cut off, or in another."""
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            return bytes(zstd().decompress(data))
    except Exception:  # Whatever each of them raises for what it cannot read.
        return data
    return data


def _without_in_base64(text: str, passages: Sequence[Passage]) -> str:
    """The form of a request whose body is no UTF-8."""
    said = _decode(text)
    body = b64decode(said["base64"]).decode(errors="surrogateescape")
    made = edits(body, passages, is_json=False)
    if not made:
        return text
    body = apply(body, made)
    said["base64"] = b64encode(body.encode(errors="surrogateescape")).decode()
    return _encode(said).decode()


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
