"""Events to the exact bytes that are stored, and back.

An append's body is a JSON array of events, each ``[tag, payload, occurred_at, metadata]`` with
what is absent at the end left out. ``docs/format.md`` is the whole description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from itertools import islice
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.clock import to_us
from refold.core.event import Event, Kind, Registry, checked_tag
from refold.core.recorded import Recorded
from refold.errors import Corrupt, InvalidEvent

EVENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""The largest payload of one event, encoded."""
EVENTS_PER_APPEND_MAX: Final = 10_000
DEPTH_MAX: Final = 128
"""How deep a payload may nest: far below where any JSON reader gives up."""

_encode = msgspec.json.Encoder().encode


class Body(NamedTuple):
    """An encoded append: ``text`` is what is stored, ``tags`` the tag of each event."""

    text: str
    tags: tuple[str, ...]


class Part(msgspec.Struct, array_like=True, frozen=True):
    """One append of a row that holds several; ``metadata`` is its JSON text."""

    position: int
    event_count: int
    recorded_at: int
    metadata: msgspec.Raw = msgspec.Raw(b"")


class Row(NamedTuple):
    """Appends as a backend keeps them: events of one stream with versions side by side.

    Usually one append: ``position`` and ``version`` are those of its first event, ``recorded_at``
    is in microseconds, ``metadata`` and ``body`` are JSON text, as ``str`` or UTF-8. A packed row
    holds several appends: ``body`` joins their events, and ``packed_parts`` is a JSON array with
    each one's :class:`Part`; then ``metadata`` is not used.
    """

    position: int
    stream: str
    version: int
    event_count: int
    recorded_at: int
    metadata: str | bytes | None
    body: str | bytes
    packed_parts: bytes | None = None

    @property
    def last_version(self) -> int:
        """The version of its last event."""
        return self.version + self.event_count - 1

    def parts(self) -> list[Part]:
        """Its appends, in order."""
        if self.packed_parts is not None:
            try:
                return _decode_parts(self.packed_parts)
            except msgspec.DecodeError as error:
                raise _corrupt(self, str(error)) from error
        metadata = self.metadata or b""
        raw = metadata.encode() if isinstance(metadata, str) else metadata
        return [Part(self.position, self.event_count, self.recorded_at, msgspec.Raw(raw))]

    def position_of(self, version: int) -> int:
        """The position of one of its events."""
        index = version - self.version
        if self.packed_parts is None:
            return self.position + index
        for part in self.parts():
            if index < part.event_count:
                return part.position + index
            index -= part.event_count
        raise _corrupt(self, f"version {version} is not in it")


_decode_parts = msgspec.json.Decoder(list[Part]).decode


class StoredEvent(msgspec.Struct, array_like=True, frozen=True):
    """One element of a body; the payload is kept as the bytes it is stored as."""

    tag: str
    data: msgspec.Raw
    occurred_at: int | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"")


_decode_body = msgspec.json.Decoder(list[StoredEvent]).decode


def encode_body(events: Sequence[object], registry: Registry) -> Body:
    """The body of an append of typed events and :class:`Event` values.

    Raises :class:`InvalidEvent` naming the event and the path inside its payload.
    """
    if not isinstance(events, Sequence) or isinstance(events, str | bytes):
        raise InvalidEvent(f"events must be a list of events, not {type(events).__name__}")
    if not events:
        raise InvalidEvent("an append needs at least one event")
    if len(events) > EVENTS_PER_APPEND_MAX:
        raise InvalidEvent(
            f"{len(events)} events in one append, over {EVENTS_PER_APPEND_MAX}: split them"
        )
    tags: list[str] = []
    parts: list[bytes] = []
    for index, event in enumerate(events):
        try:
            tag, part = _encode_event(event, registry)
        except InvalidEvent as error:
            raise InvalidEvent(
                f"event {index}: {error.reason}", path=error.path, index=index
            ) from error.__cause__
        tags.append(tag)
        parts.append(part)
    return _readable(b"[" + b",".join(parts) + b"]", tuple(tags))


def encode_metadata(metadata: Mapping[str, Any] | None) -> str | None:
    """The JSON text of an append's shared metadata; nothing for an empty one."""
    if not metadata:
        return None
    return _readable(b'[["",' + _encode_metadata(metadata) + b"]]", ("",)).text[5:-2]


def encode_payload(payload: Any, *, what: str = "payload") -> bytes:
    """The exact bytes of a payload; :class:`InvalidEvent` says what cannot be stored and where."""
    payload = _plain(payload)
    try:
        raw = _encode(payload)
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise _refusal(payload, error) from error
    if b"null" in raw or b"NaN" in raw or b"nfinity" in raw or _may_nest_deep(raw):
        # JSON has no NaN: the encoder writes null for it, so look only where one may be.
        for path, leaf in walk(payload):
            _check_leaf(path, leaf)
    if len(raw) > EVENT_BYTES_MAX:
        path, size_bytes = _largest_part(payload)
        raise InvalidEvent(
            f"{what} is {len(raw)} bytes, over {EVENT_BYTES_MAX}; its largest part is "
            f"{size_bytes} bytes",
            path=path,
        )
    return raw


def decode_row(row: Row, registry: Registry) -> list[Recorded]:
    """The events of a stored row; :class:`Corrupt` when its bytes are not what it says."""
    try:
        stored = _decode_body(row.body)
        parts = row.parts()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _corrupt(row, str(error)) from error
    if not len(stored) == row.event_count == sum(part.event_count for part in parts):
        raise _corrupt(row, f"it holds {len(stored)} events where {row.event_count} were recorded")
    events = enumerate(stored, row.version)
    return [
        _recorded(row.stream, version, part.position + index, event, part, registry)
        for part in parts
        for index, (version, event) in enumerate(islice(events, part.event_count))
    ]


def _recorded(
    stream: str, version: int, position: int, event: StoredEvent, part: Part, registry: Registry
) -> Recorded:
    return Recorded(
        position=position,
        stream=stream,
        version=version,
        stored_kind=Kind.parse(event.tag),
        occurred_at_us=part.recorded_at if event.occurred_at is None else event.occurred_at,
        recorded_at_us=part.recorded_at,
        raw=bytes(event.data),
        shared_metadata=bytes(part.metadata),
        own_metadata=bytes(event.metadata),
        registry=registry,
    )


def copied(recorded: Recorded) -> Event:
    """A recorded event as one to append again, its bytes and times unchanged."""
    return Event(
        recorded.stored_kind.tag,
        msgspec.Raw(recorded.raw),
        metadata=recorded.metadata,
        occurred_at=recorded.occurred_at_us,
    )


def walk(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every leaf of a payload with its JSON Pointer; refuses what nests too deep.

    The keys of a dict count as a leaf too: a dict of them alone.
    """
    children = _children(value)
    if children is None:
        yield path, value
        return
    if depth == DEPTH_MAX:
        raise InvalidEvent(f"the payload nests deeper than {DEPTH_MAX} levels", path=path)
    if isinstance(value, dict):
        yield path, dict.fromkeys(value)
    for key, child in children:
        yield from walk(child, f"{path}/{_escaped(key)}", depth + 1)


def _encode_event(event: object, registry: Registry) -> tuple[str, bytes]:
    match event:
        case Event(type="", data=typed, metadata=metadata, occurred_at=occurred_at):
            tag = registry.kind_of(typed).tag
            data = typed
        case Event(type=name, data=data, metadata=metadata, occurred_at=occurred_at):
            tag = checked_tag(name, event.schema)
        case _:
            tag, data, metadata, occurred_at = registry.kind_of(event).tag, event, None, None
    part = b'["' + tag.encode() + b'",' if tag.isalnum() else b"[" + _encode(tag) + b","
    part += encode_payload(data)
    at = None if occurred_at is None else to_us(occurred_at)
    if metadata:
        return tag, part + b"," + _encode(at) + b"," + _encode_metadata(metadata) + b"]"
    return tag, part + b"]" if at is None else part + b",%d]" % at


def _encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"metadata must be a mapping, not {type(metadata).__name__}")
    return encode_payload(dict(metadata), what="metadata")


def _plain(payload: Any) -> Any:
    return payload.model_dump() if hasattr(payload, "model_dump") else payload


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    """The parts of whatever becomes a JSON object or array; None for a leaf."""
    if isinstance(value, dict):
        return ((str(key), child) for key, child in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((str(index), child) for index, child in enumerate(value))
    if isinstance(value, Enum):
        return _children(value.value)
    names = _field_names(value)
    if names is None:
        return None
    return ((name, getattr(value, name)) for name in names if hasattr(value, name))


def _field_names(value: Any) -> Sequence[str] | None:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in fields(value)]
    made_by_attrs = getattr(type(value), "__attrs_attrs__", None)
    return None if made_by_attrs is None else [field.name for field in made_by_attrs]


def _check_leaf(path: str, leaf: Any) -> None:
    if isinstance(leaf, Enum):
        leaf = leaf.value
    if isinstance(leaf, float) and not isfinite(leaf):
        raise InvalidEvent(f"{leaf} cannot be stored: JSON has no such number", path=path)
    if isinstance(leaf, Decimal) and not leaf.is_finite():
        raise InvalidEvent(f"Decimal {leaf} cannot be stored: it is not a number", path=path)


def _refusal(payload: Any, error: Exception) -> InvalidEvent:
    """The error for a payload that the encoder refused, with the path of the culprit."""
    for path, leaf in walk(payload):
        try:
            _encode(leaf)
        except (TypeError, ValueError, AttributeError, OverflowError) as cause:
            return InvalidEvent(
                f"a value of type {type(leaf).__name__} cannot be stored: {cause}", path=path
            )
    return InvalidEvent(f"the payload cannot be stored: {error}")


def _readable(body: bytes, tags: tuple[str, ...]) -> Body:
    """The body, refused unless it can be read back: a ``msgspec.Raw`` may hold anything."""
    try:
        text = body.decode()
        stored = _decode_body(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"a msgspec.Raw of the append is not JSON: {error}") from error
    if len(stored) != len(tags):
        raise InvalidEvent("a msgspec.Raw of the append is more than one JSON value")
    return Body(text, tags)


def _may_nest_deep(raw: bytes) -> bool:
    return raw.count(b"[") + raw.count(b"{") > DEPTH_MAX


def _largest_part(value: Any) -> tuple[str, int]:
    return max(
        ((path, len(_encode(leaf))) for path, leaf in walk(value)),
        key=lambda part: part[1],
        default=("", 0),
    )


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _corrupt(row: Row, why: str) -> Corrupt:
    return Corrupt(
        f"the append at position {row.position} ({row.stream}@{row.version}) cannot be read: "
        f"{why}; run `refold doctor`",
        position=row.position,
        stream=row.stream,
    )
