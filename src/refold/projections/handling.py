"""Rows of the log to calls of a projection's handlers: one decode a row.

A body is decoded as a list of a tagged union made for the projection: events that it handles
become their classes, all others are skipped by the decoder. A row with an old shape goes the slow
way through :class:`~refold.core.recorded.Recorded`, to the same calls.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec

from refold.core.dispatch import Dispatch, Handler
from refold.core.event import event_id
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry
from refold.core.stored import Row
from refold.errors import BackendError, StoreClosed, UnknownEventType
from refold.projections.projection import Projection
from refold.projections.rows import Raced, Rows

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
        every = projection.every is not None
        self._dispatch = Dispatch(projection.handlers, self._registry, self._whole, every=every)

    def decoded(self, row: Row) -> list[Any]:
        """The events of one append for :meth:`run`; :class:`Corrupt` where they are not there."""
        try:
            events = self._dispatch.decode(row.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return decode_row(row, self._registry)
        if len(events) != row.event_count:
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
        position = row.position - 1
        shift = row.version - row.position
        try:
            for index, event in enumerate(events):
                position += 1
                if not after < position <= until or (without and position + shift in without):
                    continue
                if event.__class__ is Recorded:
                    self.step(rows, event)
                elif event.step is not None:
                    event.step(rows, event.data)
                elif event.watch is not None:
                    recorded = Recorded(row, index, event, event.kind, self._registry)
                    event.watch(rows, event.data, recorded)
        except (BackendError, StoreClosed, Raced):
            raise
        except Exception as error:
            version = position + shift
            raise Poisoned(position=position, stream=row.stream, version=version) from error

    def _whole(self, rows: Rows, _: msgspec.Raw, recorded: Recorded) -> None:
        self.step(rows, recorded)

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
