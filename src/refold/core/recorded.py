"""An event as stored: its place in the log, its exact bytes, and what they say."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Any, Final

import msgspec

from refold.core.clock import EARLIEST_US, LATEST_US, from_us
from refold.core.event import Kind
from refold.core.jsonvalue import number
from refold.core.registry import Registry
from refold.core.split import parted
from refold.core.stored import ABSENT, Part, Row, StoredEvent, corrupt, decode_body, text_or_none
from refold.errors import CodecError, Corrupt, UsageError, shown

_decode = msgspec.json.Decoder(float_hook=number).decode
_as_json = lru_cache(maxsize=64)(msgspec.json.encode)
_decode_object = msgspec.json.Decoder(dict[str, Any], float_hook=number).decode
_decoder_of: Any = lru_cache(maxsize=1024)(partial(msgspec.json.Decoder, float_hook=number))

UNSAVED_POSITION: Final = 0
"""The position of an event that is only in memory."""


class StoredEvents(msgspec.Struct, dict=True):
    """The events of a row as stored, decoded when one of them is first asked for its bytes."""

    row: Row

    @cached_property
    def events(self) -> list[StoredEvent]:
        """All of them, in order."""
        return [event for append in self.row.appends() for event in decode_body(append.body)]


class Recorded(msgspec.Struct, dict=True, eq=False, weakref=True):
    """An event of the log, decoded as far as it is asked for.

    ``position`` is its place in the whole log from 1 (0: not in the log, an event of an unsaved
    branch); ``version`` its place in ``stream`` from 0; ``id`` is ``stream@version``.
    ``occurred_at_us`` and ``recorded_at_us`` are microseconds UTC. ``raw`` holds the exact stored
    bytes of the payload, ``stored_kind`` the type and schema they were written under.
    ``whole`` is set on what :meth:`parts` gives of an event that is split: the event as stored.
    """

    stream: str
    version: int
    position: int
    occurred_at_us: int
    _stored: Any
    """The event as it stands in its row: a :class:`StoredEvent`, or one like it."""
    _append: Part
    _registry: Registry
    _stored_events: StoredEvents | None = None
    """Those of its row, shared by all of it, where ``_stored`` may hold no bytes."""
    whole: Recorded | None = None

    @property
    def stored_kind(self) -> Kind:
        """The type and schema that it was written under."""
        kind: Kind = self._stored.kind
        return kind

    @property
    def recorded_at_us(self) -> int:
        """When the log accepted it, in microseconds UTC."""
        return self._append.recorded_at

    @cached_property
    def raw(self) -> bytes:
        """The exact stored bytes of the payload."""
        data = self._stored.data
        shared = self._stored_events
        if shared and data.__class__ is not msgspec.Raw:  # It was decoded to its class on the way.
            data = shared.events[self.version - shared.row.version].data
        return bytes(data)

    @property
    def id(self) -> str:
        """``stream@version``, unique and stable."""
        return f"{self.stream}@{self.version}"

    @property
    def origin_id(self) -> str:
        """The id of the event that a saved branch copied, else its own."""
        own = self._stored.metadata
        if own is not ABSENT and b'"copied_from"' in bytes(own):
            return str(self.metadata.get("copied_from", self.id))
        return f"{self.stream}@{self.version}"

    @property
    def type(self) -> str:
        """The event type, without its schema number."""
        return self.stored_kind.type

    @property
    def kind(self) -> Kind:
        """Type and current schema: what :attr:`data` and :attr:`event` are in."""
        return self._registry.current(self.stored_kind)

    @property
    def schema(self) -> int:
        """The schema number of :attr:`data`, after upcasting."""
        return self.kind.schema

    @cached_property
    def data(self) -> Any:
        """The payload as JSON values, brought to the current schema."""
        return self.decoded()

    def decoded(self) -> Any:
        """What :attr:`data` says, decoded anew: the caller's own, to change at will."""
        return self._registry.upcast_data(self.stored_kind, self._json(), event_id=self.id)

    def _json(self) -> Any:
        try:
            return _decode(self.raw)
        except (ValueError, RecursionError) as error:
            raise self._unreadable("payload", error) from error

    def _unreadable(self, part: str, error: Exception) -> Corrupt:
        why = f"the {part} of {self.id} cannot be read: {error}; run `refold doctor`"
        return Corrupt(why, stream=self.stream, version=self.version)

    @cached_property
    def event(self) -> Any:
        """The payload as an instance of its registered class.

        Raises :class:`~refold.errors.UnknownEventType` when no class is registered,
        :class:`~refold.errors.CodecError` when the payload does not fit the class.
        """
        return self.to_class(self._registry.class_of(self.kind))

    @cached_property
    def events(self) -> list[Any]:
        """The events that this one counts as, typed: one, unless it is split or retired."""
        return [part.event for part in self.parts()]

    def parts(self, *, among: Container[str] | None = None) -> Sequence[Recorded]:
        """What this event counts as, in order: itself, unless its type is split or retired.

        The parts of a split event are recorded events at its place and times, with types and
        payloads of their own; a retired event has none. ``among`` leaves out other types, and
        splits nothing where none of these can come of it. Folds, projections, transcripts and
        differences go by this. Raises :class:`~refold.errors.UpcastFailed`.
        """
        if self.stored_kind.type not in self._registry.upcasts.reshaped or self.whole is not None:
            return (self,) if among is None or self.type in among else ()
        becomes = self._registry.becomes(self.stored_kind)
        if among is not None and not any(type_name in among for type_name in becomes):
            return ()
        found = parted(self.stored_kind, self.raw, self._registry, event_id=self.id)
        return [
            self if raw is self.raw else self._part(kind, raw)
            for kind, raw in found
            if among is None or kind.type in among
        ]

    def to_class(self, cls: Any) -> Any:
        """The payload as an instance of ``cls``."""
        try:
            if hasattr(cls, "model_validate"):
                return cls.model_validate(self.decoded())
            if self.kind == self.stored_kind:
                return _decoder_of(cls).decode(self.raw)
            return msgspec.convert(self.decoded(), cls, str_keys=True)
        except (ValueError, RecursionError) as error:
            raise CodecError(
                f"{self.id} does not fit {cls.__name__}: {error}", id=self.id, type=self.type
            ) from error

    def _part(self, kind: Kind, raw: bytes) -> Recorded:
        return msgspec.structs.replace(self, _stored=self._stored_as(kind, raw), whole=self)

    def _stored_as(self, kind: Kind, raw: bytes) -> StoredEvent:
        own = self._stored
        return StoredEvent(kind.tag, msgspec.Raw(raw), own.occurred_at, own.metadata)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with its own stored bytes, without the others of its row."""
        place = (self.stream, self.version, self.position, self.occurred_at_us)
        stored = self._stored_as(self.stored_kind, self.raw)
        return Recorded, (*place, stored, self._append, self._registry, None, self.whole)

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What the append said of all its events, and what it said of this one on top."""
        try:
            shared = _decode_object(text_or_none(self._append.metadata) or b"{}")
            own = _decode_object(text_or_none(self._stored.metadata) or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._unreadable("metadata", error) from error
        return {**shared, **own}

    def noted(self, name: str) -> Any:
        """One value of :attr:`metadata`; None where it is not there, found without decoding."""
        quoted = _as_json(name)
        for raw in (self._append.metadata, self._stored.metadata):
            if raw is not ABSENT and quoted in bytes(raw):
                return self.metadata.get(name)
        return None

    @property
    def cause(self) -> dict[str, str]:
        """The metadata of what this event causes: ``causation``, its id, and ``correlation``.

        The correlation goes on from its own metadata; where that has none, it begins with this.
        """
        return {"causation": self.id, "correlation": str(self.metadata.get("correlation", self.id))}

    @property
    def occurred_at(self) -> datetime:
        """When it happened by the recorder's word (aware, UTC)."""
        return from_us(self.occurred_at_us)

    @property
    def recorded_at(self) -> datetime:
        """When the log accepted it (aware, UTC); never goes backwards along positions."""
        return from_us(self.recorded_at_us)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recorded):
            return NotImplemented
        return _identity(self) == _identity(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.id, self.raw))

    def __repr__(self) -> str:
        return f"<{self.id} {self.stored_kind.tag} position={self.position}>"


def decode_row(row: Row, registry: Registry) -> list[Recorded]:
    """The events of a stored row; :class:`Corrupt` when its bytes are not what it says."""
    return [
        Recorded(
            append.stream,
            append.version + index,
            append.position + index if append.position else UNSAVED_POSITION,
            part.now if stored.occurred_at is None else stored.occurred_at,
            stored,
            part,
            registry,
        )
        for append in row.appends()
        for part in append.parts()
        for index, stored in enumerate(_checked_events(append))
    ]


def _checked_events(append: Row) -> list[StoredEvent]:
    try:
        stored = decode_body(append.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise corrupt(append, str(error)) from error
    if len(stored) != append.event_count:
        why = f"it holds {len(stored)} events where {append.event_count} were recorded"
        raise corrupt(append, why)
    if not EARLIEST_US <= append.recorded_at <= LATEST_US:
        raise corrupt(append, f"{append.recorded_at} microseconds is outside the years 1 to 9999")
    return stored


def unrecorded(kind: Kind, raw: bytes, registry: Registry) -> Recorded:
    """An event that stands nowhere, with a payload of a kind."""
    stored = StoredEvent(kind.tag, msgspec.Raw(raw))
    row = Row(UNSAVED_POSITION, "unrecorded", 0, 1, 0, None, b"")
    (part,) = row.parts()
    return Recorded(row.stream, 0, UNSAVED_POSITION, 0, stored, part, registry)


def history_of(events: object, *, call: str) -> Iterator[Recorded]:
    """The recorded events that ``call`` was given; :class:`UsageError` for anything else."""
    if isinstance(events, str) or not isinstance(events, Iterable):
        raise UsageError(
            f"{call} takes a history, such as store.read(stream) or a branch, not {shown(events)}",
            call=call,
        )
    for event in events:
        if not isinstance(event, Recorded):
            raise UsageError(
                f"{call} takes recorded events, such as store.read(stream) gives, not a "
                f"{type(event).__name__}",
                call=call,
            )
        yield event


def parts_of(history: Iterable[Recorded]) -> Iterator[Recorded]:
    """The events of a history with each that is split as its parts, and none that is retired."""
    return (part for recorded in history for part in recorded.parts())


def _identity(recorded: Recorded) -> tuple[object, ...]:
    times = recorded.occurred_at_us, recorded.recorded_at_us
    what = recorded.stored_kind, recorded.raw, recorded.metadata
    return recorded.position, recorded.id, *times, *what
