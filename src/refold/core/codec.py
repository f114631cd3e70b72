"""Events to the exact bytes that are stored.

An append's body is a JSON array of events, each ``[tag, payload, occurred_at, metadata]`` with
what is absent at the end left out. ``docs/format.md`` is the whole description.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.clock import to_us
from refold.core.event import Event, checked_tag
from refold.core.fitting import fitting_of
from refold.core.payload import (
    DEPTH_MAX,
    EVENT_BYTES_MAX,
    UNENCODABLE,
    encode_payload,
    encode_unchecked,
    may_be_deep,
    may_hide_a_number,
)
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.core.row import ABSENT, Row, decode_body
from refold.errors import InvalidEvent, RefoldError

EVENTS_PER_APPEND_MAX: Final = 10_000
APPEND_BYTES_MAX: Final = 128 * 1024 * 1024
"""The most that one append to one stream may hold, encoded."""
_OF_COMMAND: Final = b"\x01"
_TEXT: Final = frozenset({str})
_PLAIN: Final = frozenset({str, int, bool})


class Occurred(NamedTuple):
    """The times that the events of an append say of themselves, in microseconds.

    ``first`` and ``last`` are the earliest and latest; ``whole`` when every event says one.
    """

    first: int
    last: int
    whole: bool


class Body(NamedTuple):
    """An encoded append: ``text`` is what is stored, ``kinds`` the tag of each event's kind."""

    text: str
    kinds: tuple[str, ...]
    occurred: Occurred | None = None


def encode_body(events: Sequence[object], registry: Registry) -> Body:
    """The body of an append of typed events and :class:`Event` values.

    Raises :class:`InvalidEvent` naming the event and the path inside its payload.
    """
    _check_list(events)
    return _encoded_at_once(events, registry) or _encoded_one_by_one(events, registry)


def encode_typed(events: Sequence[object], registry: Registry) -> Body | None:
    """The body of typed events alone, each of which fits its class and is in use.

    None where :func:`encode_body` and the checks after it have to say what is wrong, if anything.
    """
    tags = _tags_of(registry)
    try:
        arrays = [(tags[event.__class__], event) for event in events]
        raw = encode_unchecked(arrays)
        kinds = tuple([array[0] for array in arrays])
        must_be_searched = fitting_of(registry).holds_back(raw, kinds)
        if must_be_searched and not _is_bare(raw):
            return None
        text = raw.decode()
    except (*UNENCODABLE, KeyError, msgspec.DecodeError):
        return None
    if not arrays or len(arrays) > EVENTS_PER_APPEND_MAX or len(raw) > EVENT_BYTES_MAX:
        return None
    if must_be_searched and (may_hide_a_number(raw) or _is_deep(raw, len(arrays))):
        return None
    body = Body(text, kinds)
    check_in_use(events, body, registry)
    return body


def check_in_use(events: Sequence[object], body: Body, registry: Registry) -> None:
    """Refuse an event whose type is retired; copies of stored ones stay as they are."""
    if not registry.upcasts.reshaped:
        return
    for index, event in enumerate(events):
        if not (isinstance(event, Event) and isinstance(event.data, msgspec.Raw)):
            registry.check_in_use(body.kinds[index], index=index)


def span_of(occurred: Occurred | None, recorded_at: int) -> tuple[int, int] | tuple[None, None]:
    """The earliest and latest ``occurred_at`` of an append recorded at a moment, as rows say it."""
    if occurred is None:
        return None, None
    if occurred.whole:
        return occurred.first, occurred.last
    return min(occurred.first, recorded_at), max(occurred.last, recorded_at)


def row_of(
    body: Body,
    *,
    position: int,
    stream: str,
    version: int,
    recorded_at: int,
    metadata: str | None = None,
) -> Row:
    """The row of a body at its place."""
    span = span_of(body.occurred, recorded_at)
    count = len(body.kinds)
    return Row(position, stream, version, count, recorded_at, metadata, body.text, *span)


def encode_metadata(metadata: Mapping[str, Any] | None) -> str | None:
    """The JSON text of an append's shared metadata; nothing for an empty one."""
    if not metadata:
        return None
    plain = _encoded_plain(metadata)
    if plain is not None:
        return plain
    return _readable(b'[["",' + _encode_metadata(metadata) + b"]]", ("",)).text[5:-2]


def _encoded_plain(metadata: Mapping[str, Any]) -> str | None:
    """The same for a dict of text, whole numbers and booleans, in which nothing can hide."""
    if metadata.__class__ is not dict or not _PLAIN.issuperset(map(type, metadata.values())):
        return None
    try:
        raw = encode_unchecked(metadata)
    except UNENCODABLE:
        return None
    if len(raw) > EVENT_BYTES_MAX or not _TEXT.issuperset(map(type, metadata)):
        return None
    return raw.decode()


def digest_of(parts: Iterable[tuple[str, str, str | None]]) -> bytes:
    """SHA-256 over what a keyed append stores: stream, body and metadata of each of its parts.

    Each text has its length before it, in UTF-8.
    """
    digest = hashlib.sha256()
    for part in parts:
        for text in part:
            encoded = (text or "").encode()
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
    return digest.digest()


def digest_of_command(stream: str, command: bytes) -> bytes:
    """What a command's append is known by: SHA-256 over it and its stream, after a byte 1."""
    digest = hashlib.sha256()
    for text in (stream.encode(), command):
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return _OF_COMMAND + digest.digest()


def is_of_command(digest: bytes) -> bool:
    """Whether a stored digest is that of a command, which cannot be told from the events."""
    return len(digest) == hashlib.sha256().digest_size + 1 and digest.startswith(_OF_COMMAND)


def copied(recorded: Recorded) -> Event:
    """A recorded event as one to append again, its bytes and times unchanged.

    Its metadata says which event it was, unless that was never stored.
    """
    stored = recorded.position > 0
    return Event(
        recorded.stored_kind.tag,
        msgspec.Raw(recorded.raw),
        metadata={**recorded.metadata, **({"copied_from": recorded.origin_id} if stored else {})},
        occurred_at=recorded.occurred_at_us,
    )


def _check_list(events: object) -> None:
    if not isinstance(events, list) and (
        not isinstance(events, Sequence) or isinstance(events, str | bytes)
    ):
        raise InvalidEvent(f"events must be a list of events, not {type(events).__name__}")
    if not events:
        raise InvalidEvent("an append needs at least one event")
    if len(events) > EVENTS_PER_APPEND_MAX:
        raise InvalidEvent(
            f"{len(events)} events in one append, over {EVENTS_PER_APPEND_MAX}: split them"
        )


def _encoded_at_once(events: Sequence[object], registry: Registry) -> Body | None:
    """The body by one call of the encoder, with the same bytes as one by one.

    None where the events must be looked into: one may be unlike those that this can take, or hold
    what cannot be stored.
    """
    try:
        arrays = _arrays_of(events, _tags_of(registry))
        raw = encode_unchecked(arrays)
        if len(raw) > EVENT_BYTES_MAX or may_hide_a_number(raw) or _is_deep(raw, len(arrays)):
            return None
    except (*UNENCODABLE, KeyError, RefoldError, msgspec.DecodeError):
        return None
    return _readable(raw, tuple([array[0] for array in arrays]))


def _is_deep(raw: bytes, events: int) -> bool:
    """Whether a payload or metadata of an encoded body may nest too deep."""
    # Every event takes two, its array's and its payload's: only the rest can make one deep.
    if raw.count(b"[") + raw.count(b"{") - 2 * events <= DEPTH_MAX:
        return False
    stored = decode_body(raw)
    return any(
        may_be_deep(bytes(part)) for event in stored for part in (event.data, event.metadata)
    )


def _is_bare(raw: bytes) -> bool:
    """Whether the events of a body say nothing of themselves but their payload.

    Where they were given nothing else, a ``msgspec.Raw`` among their fields says it.
    """
    return all(event.occurred_at is None and event.metadata is ABSENT for event in decode_body(raw))


def _arrays_of(events: Sequence[object], tags: Mapping[type, str]) -> list[tuple[Any, ...]]:
    """The arrays that events are stored as; KeyError when one is of another kind than these."""
    try:
        return [(tags[event.__class__], event) for event in events]
    except KeyError:
        return [
            _array_of(event, tags) if isinstance(event, Event) else (tags[event.__class__], event)
            for event in events
        ]


def _array_of(event: Event, tags: Mapping[type, str]) -> tuple[Any, ...]:
    data, at, metadata = event.data, event.occurred_at, event.metadata
    tag = tags.get(data.__class__)
    if tag is None and data.__class__ is not dict:
        raise KeyError(data.__class__)
    if event.type or tag is None:
        tag = checked_tag(event.type, event.schema)
    if at is None and not metadata:
        return tag, data
    at_us = None if at is None else to_us(at)
    if not metadata:
        return tag, data, at_us
    if metadata.__class__ is not dict:
        raise KeyError(metadata.__class__)
    return tag, data, at_us, metadata


def _tags_of(registry: Registry) -> Mapping[type, str]:
    """The tag of each event class that the encoder writes as it stands, kept until it changes."""
    kept: tuple[int, dict[type, str]] | None = registry.__dict__.get("_tags")
    if kept is None or kept[0] != registry.revision:
        classes = [registry.class_of(kind) for kind in registry.kinds()]
        tags = {
            cls: registry.kind_of_class(cls).tag
            for cls in classes
            if issubclass(cls, msgspec.Struct) and not hasattr(cls, "model_dump")
        }
        kept = registry.__dict__["_tags"] = (registry.revision, tags)
    return kept[1]


def _encoded_one_by_one(events: Sequence[object], registry: Registry) -> Body:
    tags: list[str] = []
    parts: list[bytes] = []
    for event in events:
        try:
            if isinstance(event, Event):
                tag = _tag_of(event, registry)
                parts.append(_opened(tag) + _encode_event(event))
            else:
                tag = registry.kind_of(event).tag
                parts.append(_opened(tag) + encode_payload(event) + b"]")
        except InvalidEvent as error:
            raise InvalidEvent(
                f"event {len(tags)}: {error.reason}", path=error.path, index=len(tags)
            ) from error.__cause__
        tags.append(tag)
    return _readable(b"[" + b",".join(parts) + b"]", tuple(tags))


def _encode_event(event: Event) -> bytes:
    """Payload, time and metadata of an event that brings them, and the end of its array."""
    payload = encode_payload(event.data)
    if event.occurred_at is None and not event.metadata:
        return payload + b"]"
    at = b"null" if event.occurred_at is None else b"%d" % to_us(event.occurred_at)
    if not event.metadata:
        return payload + b"," + at + b"]"
    return payload + b"," + at + b"," + _encode_metadata(event.metadata) + b"]"


def _tag_of(event: Event, registry: Registry) -> str:
    if event.type == "":
        return registry.kind_of(event.data).tag
    return checked_tag(event.type, event.schema)


@lru_cache(maxsize=4096)
def _opened(tag: str) -> bytes:
    return b"[" + encode_unchecked(tag) + b","


def _encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"metadata must be a mapping, not {type(metadata).__name__}")
    return encode_payload(dict(metadata), what="metadata")


def _readable(raw: bytes, tags: tuple[str, ...]) -> Body:
    """The body, refused unless it can be read back: a ``msgspec.Raw`` may hold anything."""
    if len(raw) > APPEND_BYTES_MAX:
        raise InvalidEvent(f"an append of {len(raw)} bytes, over {APPEND_BYTES_MAX}: split it")
    try:
        text = raw.decode()
        stored = decode_body(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"a msgspec.Raw of the append is not JSON: {error}") from error
    if len(stored) != len(tags):
        raise InvalidEvent("a msgspec.Raw of the append is more than one JSON value")
    times = [event.occurred_at for event in stored if event.occurred_at is not None]
    if not times:
        return Body(text, tags)
    return Body(text, tags, Occurred(min(times), max(times), len(times) == len(tags)))
