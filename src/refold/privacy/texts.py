"""The texts of a log, as they are looked through: an event each, or several that hold one text.

A large request stands in pieces before its event, and an answer in pieces as it came; a passage may
be cut by their borders, so each of them is looked through as one text.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

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
_MAGIC: Final = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
"""How answers begin that were packed, and do not say so."""
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
    """A text, and the events that hold it: one, or several that hold a part of it each.

    ``is_closed``: it is compressed in a way that nothing here undoes, and so cannot be looked into.
    """

    events: Sequence[LookedEvent]
    text: str
    is_json: bool = True
    is_closed: bool = False

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
            yield _answer(events)


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


def _answer(events: Sequence[LookedEvent]) -> Text:
    """What an answer says, out of its compression where that can be undone here."""
    data, packing = b"", ""
    for event in events:
        said = _decode(event.plain)
        data += b64decode(said.get("lead", "")) + said.get("text", "").encode()
        data += b64decode(said.get("rest", ""))
        headers = {name.lower(): one for name, one in said.get("headers", {}).items()}
        packing = packing or str(headers.get("content-encoding", ""))
    if not packing:
        packing = next((name for name, begins in _MAGIC.items() if data.startswith(begins)), "")
    whole = _unpacked(data, packing)
    is_closed = packing not in ("", "identity") and whole in (b"", data)
    said_there = (data if is_closed else whole).decode(errors="surrogateescape")
    return Text(events, said_there, is_json=False, is_closed=is_closed)


def _unpacked(data: bytes, packing: str) -> bytes:
    """Bytes without the compression that their headers name, as far as they go."""
    import httpx2  # Late: few answers need it.

    headers, parts = {"content-encoding": packing}, list[bytes]()
    with suppress(httpx2.DecodingError):  # It was cut: what could be unpacked is there.
        answer = httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(data))
        parts.extend(answer.iter_bytes())
    return b"".join(parts)


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
