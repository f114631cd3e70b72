"""An event as stored: its place in the log, its exact bytes, and what they say."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from refold.core.clock import from_us
from refold.core.event import Kind, event_id
from refold.core.parts import parted
from refold.core.registry import Registry
from refold.errors import CodecError, Corrupt, UsageError

_decode = msgspec.json.decode
_as_json = lru_cache(maxsize=64)(msgspec.json.encode)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class Recorded:
    """An event of the log, decoded as far as it is asked for.

    ``position`` is its place in the whole log from 1 (0: not in the log, an event of an unsaved
    branch); ``version`` its place in ``stream`` from 0; ``id`` is ``stream@version``.
    ``occurred_at_us`` and ``recorded_at_us`` are microseconds UTC. ``raw`` holds the exact stored
    bytes of the payload, ``stored_kind`` the type and schema they were written under.
    ``whole`` is set on what :meth:`parts` gives of an event that is split: the event as stored.
    """

    def __init__(
        self,
        *,
        position: int,
        stream: str,
        version: int,
        stored_kind: Kind,
        occurred_at_us: int,
        recorded_at_us: int,
        raw: bytes,
        shared_metadata: bytes | None,
        own_metadata: bytes | None,
        registry: Registry,
    ) -> None:
        self.position = position
        self.stream = stream
        self.version = version
        self.stored_kind = stored_kind
        self.occurred_at_us = occurred_at_us
        self.recorded_at_us = recorded_at_us
        self.raw = raw
        self._shared_metadata = shared_metadata
        self._own_metadata = own_metadata
        self._registry = registry
        self.whole: Recorded | None = None

    @property
    def id(self) -> str:
        """``stream@version``, unique and stable."""
        return event_id(self.stream, self.version)

    @property
    def origin_id(self) -> str:
        """The id of the event that a saved branch copied, else its own."""
        if self._own_metadata and b'"copied_from"' in self._own_metadata:
            return str(self.metadata.get("copied_from", self.id))
        return self.id

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
            raise Corrupt(
                f"the payload of {self.id} cannot be read: {error}; run `refold doctor`",
                stream=self.stream,
                version=self.version,
            ) from error

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
                return _decode(self.raw, type=cls)
            return msgspec.convert(self.decoded(), cls, str_keys=True)
        except (ValueError, RecursionError) as error:
            raise CodecError(
                f"{self.id} does not fit {cls.__name__}: {error}", id=self.id, type=self.type
            ) from error

    def _part(self, kind: Kind, raw: bytes) -> Recorded:
        part = Recorded(
            position=self.position,
            stream=self.stream,
            version=self.version,
            stored_kind=kind,
            occurred_at_us=self.occurred_at_us,
            recorded_at_us=self.recorded_at_us,
            raw=raw,
            shared_metadata=self._shared_metadata,
            own_metadata=self._own_metadata,
            registry=self._registry,
        )
        part.whole = self
        return part

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What the append said of all its events, and what it said of this one on top."""
        try:
            shared = _decode_object(self._shared_metadata) if self._shared_metadata else {}
            own = _decode_object(self._own_metadata) if self._own_metadata else {}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Corrupt(
                f"the metadata of {self.id} cannot be read: {error}; run `refold doctor`",
                stream=self.stream,
                version=self.version,
            ) from error
        return {**shared, **own}

    def noted(self, name: str) -> Any:
        """One value of :attr:`metadata`; None where it is not there, found without decoding."""
        quoted = _as_json(name)
        for raw in (self._own_metadata, self._shared_metadata):
            if raw is not None and quoted in raw:
                return self.metadata.get(name)
        return None

    @property
    def cause(self) -> dict[str, str]:
        """The metadata of what this event causes: ``causation``, its id, and ``correlation``.

        The correlation goes on from its own metadata; where that has none, it begins with this.
        """
        return {
            "causation": self.id,
            "correlation": str(self.metadata.get("correlation", self.id)),
        }

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

    def __hash__(self) -> int:
        return hash((self.id, self.raw))

    def __repr__(self) -> str:
        return f"<{self.id} {self.stored_kind.tag} position={self.position}>"


def unrecorded(kind: Kind, raw: bytes, registry: Registry) -> Recorded:
    """An event that stands nowhere, with a payload of a kind."""
    return Recorded(
        position=0,
        stream="unrecorded",
        version=0,
        stored_kind=kind,
        occurred_at_us=0,
        recorded_at_us=0,
        raw=raw,
        shared_metadata=None,
        own_metadata=None,
        registry=registry,
    )


def history_of(events: object, *, call: str) -> Iterator[Recorded]:
    """The recorded events that ``call`` was given; :class:`UsageError` for anything else."""
    if isinstance(events, str) or not isinstance(events, Iterable):
        raise UsageError(
            f"{call} takes a history, such as store.read(stream) or a branch, not {events!r:.99}",
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
    return (
        recorded.position,
        recorded.id,
        recorded.stored_kind,
        recorded.occurred_at_us,
        recorded.recorded_at_us,
        recorded.raw,
        recorded.metadata,
    )
