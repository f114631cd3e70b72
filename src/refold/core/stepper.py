"""Folding stored bodies straight to state: one decode a row, no objects in between.

A body is decoded as a list of a tagged union made for the fold: events that it handles become
their classes, all others are skipped by the decoder. Tags that were not seen before are added to
the union when they turn up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any, Generic, TypeVar

import msgspec

from refold.core.event import Kind
from refold.core.fold import Fold
from refold.core.recorded import Recorded
from refold.core.row import Row, corrupt, decode_row

S = TypeVar("S")
_Step = Callable[[Any, Any], Any]


class _Tagged(msgspec.Struct, array_like=True):
    tag: str


_decode_tags = msgspec.json.Decoder(list[_Tagged]).decode


def stepper_of(fold: Fold[S]) -> Stepper[S]:
    """The stepper of a fold, kept until a step, class or upcaster is added: making one is slow."""
    made_for = (len(fold.handlers), fold.registry.revision)
    stepper: Stepper[S] | None = fold.__dict__.get("_stepper")
    if stepper is None or stepper.made_for != made_for:
        stepper = fold.__dict__["_stepper"] = Stepper(fold, made_for)
    return stepper


class Stepper(Generic[S]):
    """Applies whole rows to a state of one fold; threads may share it."""

    def __init__(self, fold: Fold[S], made_for: tuple[int, int]) -> None:
        self.made_for = made_for
        self._fold = fold
        self._learning = threading.Lock()
        self._wrappers: dict[str, type] = {}
        self._steps: dict[type, _Step] = {}
        self._decode: Callable[[str | bytes], list[Any]] | None = None
        self.wants_recorded = any(h.wants_recorded for h in fold.handlers.values())

    def apply(self, state: S, row: Row, *, first: int, last: int) -> S:
        """The state after the events of a row that stand at versions first..last."""
        state, version = self.hurried(state, row, first=first, last=last)
        if version is not None and version == row.last_version + 1:
            return state
        events = self.decoded(row)
        if version is None:
            raise corrupt(row, f"it does not hold {row.event_count} events")
        return self.run(state, events, row, first=max(first, version), last=last)

    def hurried(self, state: S, row: Row, *, first: int, last: int) -> tuple[S, int | None]:
        """The same as far as events go straight to the state, and the version where that ends.

        It stops at an append with an event of a kind that was not met yet, or that must be looked
        into, or that is damaged. None where the row does not hold as many events as it
        says: the state is wrong then. An append is decoded when the one before it has been
        folded, so that its events take the place in memory of those that are done with.
        """
        decode, steps, version = self._decode, self._steps, row.version
        if decode is None or self.wants_recorded:
            return state, version
        for body in row.bodies():
            try:
                events = decode(body)
            except msgspec.DecodeError:
                return state, version if version <= row.last_version else None
            begin, version = version, version + len(events)
            if begin < first or version > last + 1:
                events = events[max(first - begin, 0) : max(last + 1 - begin, 0)]
            for event in events:
                step = steps.get(event.__class__)
                if step is not None:
                    state = step(state, event.data)
                    if state is None:
                        self._fold.checked(state, "an event")
        return state, version if version == row.last_version + 1 else None

    def decoded(self, row: Row) -> list[Any]:
        """The events of a row, for :meth:`run`: what its steps take, or recorded events."""
        events = None if self.wants_recorded else self._decoded(row)
        if events is None or len(events) != row.event_count:
            return decode_row(row, self._fold.registry)
        return events

    def run(self, state: S, events: list[Any], row: Row, *, first: int, last: int) -> S:
        """The state after those decoded events of a row that stand at versions first..last."""
        wanted = events[max(first - row.version, 0) : max(last - row.version + 1, 0)]
        if wanted and wanted[0].__class__ is Recorded:
            for recorded in wanted:
                state = self._fold.step(state, recorded)
            return state
        steps = self._steps
        for event in wanted:
            step = steps.get(event.__class__)
            if step is not None:
                state = step(state, event.data)
                if state is None:
                    self._fold.checked(state, "an event")
        return state

    def _decoded(self, row: Row) -> list[Any] | None:
        """The typed events, or None where the slow way must find out what is wrong."""
        try:
            if self._decode is not None:
                return _with(self._decode, row)
        except msgspec.DecodeError:
            pass
        try:
            if self._learn({event.tag for event in _with(_decode_tags, row)}) and self._decode:
                return _with(self._decode, row)
        except msgspec.DecodeError:
            pass
        return None

    def _learn(self, tags: set[str]) -> bool:
        """Whether the union has all these tags now; it has none that need upcasting."""
        with self._learning:
            new = tags - self._wrappers.keys()
            wrappers = {tag: self._wrapper(tag) for tag in sorted(new)}
            if not all(wrappers.values()):
                return False
            self._wrappers.update((tag, made) for tag, made in wrappers.items() if made)
            if new:
                union = reduce(or_, self._wrappers.values())
                self._decode = msgspec.json.Decoder(list[union]).decode  # type: ignore[valid-type]
            return True

    def _wrapper(self, tag: str) -> type | None:
        kind = Kind.parse(tag)
        handler = self._fold.handlers.get(kind.type)
        registry = self._fold.registry
        if registry.becomes(kind).isdisjoint(self._fold.handlers):
            return msgspec.defstruct("Skipped", [], tag=tag, array_like=True)
        if registry.current(kind) != kind or registry.upcasts.step_of(kind) is not None:
            return None  # To be upcast or split.
        assert handler is not None
        if handler.schema not in (None, kind.schema):
            return None  # To be refused.
        if hasattr(handler.target, "model_validate"):
            return None
        wrapper = msgspec.defstruct(
            "Handled", [("data", handler.target or Any)], tag=tag, array_like=True, gc=False
        )
        self._steps[wrapper] = handler.evolve
        return wrapper


def _with(decode: Callable[[str | bytes], list[Any]], row: Row) -> list[Any]:
    return list(chain.from_iterable(map(decode, row.bodies())))
