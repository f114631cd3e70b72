"""Rows of the log to calls of a projection's handlers: one decode a row.

A body is decoded as a list of a tagged union made for the projection: events that it handles
become their classes, all others are skipped by the decoder. A row with an old shape goes the slow
way through :class:`~refold.core.recorded.Recorded`, to the same calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.event import Kind, event_id
from refold.core.fold import Handler
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.core.row import Row, StoredEvent, decode_body, decode_row, text_or_none
from refold.errors import BackendError, StoreClosed, UnknownEventType
from refold.projections.projection import Projection
from refold.projections.rows import Raced, Rows

_ABSENT: Final = msgspec.Raw(b"")
_FAR: Final = (1 << 63) - 1
NONE: Final[frozenset[int]] = frozenset()


class Poisoned(Exception):
    """A handler failed on an event; its cause says how."""

    def __init__(self, *, position: int, stream: str, version: int) -> None:
        super().__init__(f"{event_id(stream, version)} at position {position}")
        self.position = position
        self.stream = stream
        self.version = version

    @property
    def id(self) -> str:
        """The id of the event."""
        return event_id(self.stream, self.version)


class _Tagged(msgspec.Struct, array_like=True):
    tag: str


class _Step(NamedTuple):
    """What is done with events of one tag; ``kind`` where they are wanted with their place."""

    call: Callable[..., None]
    kind: Kind | None
    is_every: bool = False


class _Placed(Recorded):
    """A recorded event whose payload was decoded already: its bytes are looked up if need be.

    Made by setting what :class:`Recorded` holds at once: one is made for every event.
    """

    def __init__(self, held: dict[str, Any]) -> None:
        self.__dict__ = held

    def __getattr__(self, name: str) -> Any:
        if name != "raw":
            raise AttributeError(name)
        self.raw = raw = bytes(self._stored(self._row)[self.position - self._row.position].data)
        return raw


_decode_tags = msgspec.json.Decoder(list[_Tagged]).decode


def handling_of(projection: Projection) -> Handling:
    """How a projection handles rows, kept until a handler, class or upcaster is added."""
    made_for = (
        len(projection.handlers),
        projection.every is not None,
        projection.registry.revision,
    )
    kept: Handling | None = projection.__dict__.get("_handling")
    if kept is None or kept.made_for != made_for:
        kept = projection.__dict__["_handling"] = Handling(projection, made_for)
    return kept


class Handling:
    """Calls the handlers of one projection; threads may share it."""

    def __init__(self, projection: Projection, made_for: tuple[int, bool, int]) -> None:
        self.made_for = made_for
        self._projection = projection
        self._registry: Registry = projection.registry
        self._learning = threading.Lock()
        self._wrappers: dict[str, type] = {}
        self._steps: dict[type, _Step] = {}
        self._decode: Callable[[str | bytes], list[Any]] | None = None
        self._looked_up: tuple[Row, list[StoredEvent]] | None = None

    def decoded(self, row: Row) -> list[Any]:
        """The events of one append for :meth:`run`; :class:`Corrupt` where they are not there."""
        events = self._decoded(row)
        if events is None or len(events) != row.event_count:
            return decode_row(row, self._registry)
        return events

    def run(
        self,
        rows: Rows,
        row: Row,
        events: list[Any],
        *,
        after: int = 0,
        until: int = _FAR,
        without: Collection[int] = NONE,
    ) -> None:
        """Handle those events of a row that stand after a position and up to another.

        ``without`` are versions to leave out. Raises :class:`Poisoned`; what the handlers changed
        until then stays in ``rows``.
        """
        steps = self._steps
        position = row.position - 1
        shift = row.version - row.position
        try:
            for event in events:
                position += 1
                step = steps.get(event.__class__)
                if step is None and event.__class__ is not Recorded:
                    continue
                if not after < position <= until or (without and position + shift in without):
                    continue
                if step is None:
                    self.step(rows, event)
                    continue
                call, kind, is_every = step
                if kind is None:
                    call(rows, event.data)
                elif is_every:
                    call(rows, self._placed(kind, event, row, position))
                else:
                    call(rows, event.data, self._placed(kind, event, row, position))
        except (BackendError, StoreClosed, Raced):
            raise
        except Exception as error:
            version = position + shift
            raise Poisoned(position=position, stream=row.stream, version=version) from error

    def step(self, rows: Rows, recorded: Recorded) -> None:
        """Handle one recorded event: each part, where it is split."""
        handlers, every = self._projection.handlers, self._projection.every
        for part in recorded.parts(among=handlers if every is None else None):
            handler = handlers.get(part.type)
            if handler is None:
                if every is not None:
                    every.evolve(rows, part)
                continue
            event = part.decoded() if handler.target is None else _typed(part, handler)
            given = (event, part) if handler.wants_recorded else (event,)
            handler.evolve(rows, *given)

    def _placed(self, kind: Kind, event: Any, row: Row, position: int) -> Recorded:
        own, shared = event.metadata, row.metadata
        occurred_at = event.occurred_at
        return _Placed(
            {
                "position": position,
                "stream": row.stream,
                "version": row.version + position - row.position,
                "stored_kind": kind,
                "occurred_at_us": row.recorded_at if occurred_at is None else occurred_at,
                "recorded_at_us": row.recorded_at,
                "whole": None,
                "_shared_metadata": shared.encode() if isinstance(shared, str) else shared,
                "_own_metadata": None if own is _ABSENT else text_or_none(own),
                "_registry": self._registry,
                "_row": row,
                "_stored": self._stored_events,
            }
        )

    def _stored_events(self, row: Row) -> list[StoredEvent]:
        """The events of a row as they are stored; those of the last one asked for are kept."""
        kept = self._looked_up
        if kept is None or kept[0] is not row:
            kept = self._looked_up = (row, decode_body(row.body))
        return kept[1]

    def _decoded(self, row: Row) -> list[Any] | None:
        """The typed events, or None where the slow way must find out what is wrong."""
        try:
            if self._decode is not None:
                return self._decode(row.body)
        except msgspec.DecodeError:
            pass
        try:
            if self._learn({event.tag for event in _decode_tags(row.body)}) and self._decode:
                return self._decode(row.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        return None

    def _learn(self, tags: set[str]) -> bool:
        """Whether the union has all these tags now; it has none that need upcasting."""
        with self._learning:
            new = sorted(tags - self._wrappers.keys())
            made = [(tag, self._wrapper(tag)) for tag in new]
            for tag, found in made:
                if found is None:
                    return False
                wrapper, step = found
                if step is not None:
                    self._steps[wrapper] = step
                self._wrappers[tag] = wrapper
            if new:
                union = reduce(or_, self._wrappers.values())
                self._decode = msgspec.json.Decoder(list[union]).decode  # type: ignore[valid-type]
            return bool(self._wrappers)

    def _wrapper(self, tag: str) -> tuple[type, _Step | None] | None:
        """The class that events of a tag are decoded to, and its step; None for the slow way."""
        kind = Kind.parse(tag)
        handlers, every = self._projection.handlers, self._projection.every
        becomes = self._registry.becomes(kind)
        unwanted = every is None and becomes.isdisjoint(handlers)
        if unwanted or not becomes:
            return _struct("Skipped", [], tag), None
        if self._registry.current(kind) != kind or self._registry.upcasts.step_of(kind) is not None:
            return None  # To be upcast or split.
        handler = handlers.get(kind.type, every)
        assert handler is not None
        if handler.schema not in (None, kind.schema) or hasattr(handler.target, "model_validate"):
            return None
        if handler is every:
            return _struct("Every", _WHOLE, tag), _Step(handler.evolve, kind, is_every=True)
        data = ("data", handler.target or Any)
        if handler.wants_recorded:
            return _struct("Placed", [data, *_WHOLE[1:]], tag), _Step(handler.evolve, kind)
        return _struct("Handled", [data], tag), _Step(handler.evolve, None)


_WHOLE: Final[list[tuple[Any, ...]]] = [
    ("data", msgspec.Raw),
    ("occurred_at", int | None, None),
    ("metadata", msgspec.Raw, _ABSENT),
]


def _struct(name: str, fields: list[Any], tag: str) -> type:
    return msgspec.defstruct(name, fields, tag=tag, array_like=True, gc=False)


def _typed(recorded: Recorded, handler: Handler) -> Any:
    assert handler.target is not None
    if recorded.schema != handler.schema:
        raise UnknownEventType(
            f"{recorded.id} is {recorded.type!r} schema {recorded.schema}, but the handler is for "
            f"{handler.target.__name__}, schema {handler.schema}: handle the newest class",
            id=recorded.id,
            type=recorded.type,
            schema=recorded.schema,
        )
    return recorded.to_class(handler.target)
