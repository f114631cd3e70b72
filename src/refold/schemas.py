"""How the shapes of stored events change: retired types, and a survey of what a store holds.

Classes and upcasters are registered with :func:`refold.event` and :func:`refold.upcast`; what is
here goes with them::

    from refold.schemas import retire

    retire("mood.guessed", reason="it was never right")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from refold.core.event import Kind, checked_kind
from refold.core.jsonvalue import read
from refold.core.payload import encode_payload
from refold.core.recorded import Recorded, unrecorded
from refold.core.registry import Registry, default_registry
from refold.errors import RefoldError

__all__ = ["retire", "survey", "tried"]

retire: Final = default_registry.retire


class ReadAs(msgspec.Struct, frozen=True):
    """A payload as it is read: under which type and schema, and the payload."""

    type: str
    schema: int
    data: Any


class Example(msgspec.Struct, frozen=True):
    """A payload as it is stored, and as what it is read; ``id`` is its event's."""

    id: str
    before: Any
    after: list[ReadAs]


class StepTaken(msgspec.Struct, frozen=True):
    """A step on the way from a stored schema: ``by`` names the function.

    ``into`` holds the types that a split makes; empty for an upcaster.
    """

    schema: int
    by: str
    into: tuple[str, ...] = ()


class StoredSchema(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one type that are stored in one schema.

    ``events`` is how many, ``example`` the first that can be read. ``reads_as`` are type and
    schema after upcasting, ``splits_into`` the types that they are split into. ``cls`` is the
    class that they are read as, None for none; ``retired`` why the type is. ``unreadable`` of the
    events cannot be read as what they should be, and ``finding`` says why, or what else is wrong;
    None: all is well.
    """

    type: str
    schema: int
    events: int
    reads_as: str
    splits_into: tuple[str, ...] = ()
    cls: str | None = None
    steps: list[StepTaken] = []
    retired: str | None = None
    example: Example | None = None
    unreadable: int = 0
    finding: str | None = None


def survey(events: Iterable[Recorded], registry: Registry) -> list[StoredSchema]:
    """Each type and schema among some events, and each that only the registry has a step for.

    Every event is read as its class, or as data where it has none.
    """
    found: dict[Kind, _Tally] = {}
    for recorded in events:
        kind = recorded.stored_kind
        tally = found.get(kind)
        if tally is None:
            tally = found[kind] = _Tally()
        tally.add(recorded, registry)
    stored = {kind.type for kind in found}
    retired = registry.upcasts.retirements().keys()
    known = {kind for kind, _ in registry.upcasts.steps() if kind.type not in retired}
    known |= {Kind(name) for name in retired - stored}
    return [
        _stored_schema(kind, registry, found.get(kind)) for kind in sorted(found.keys() | known)
    ]


def tried(tag: str, payload: Any, registry: Registry) -> Example:
    """What a payload would be read as, were it stored as a type and schema (``x``, ``x.v2``).

    Raises :class:`~refold.errors.UpcastFailed`, or :class:`~refold.errors.CodecError` where it
    does not fit its class.
    """
    raw = encode_payload(payload)
    whole = unrecorded(checked_kind(tag, 1), raw, registry)
    _read(whole, registry)
    return _example(whole)


def _taken_from(kind: Kind, registry: Registry) -> list[StepTaken]:
    """The steps that events of a kind take, in order."""
    last = registry.current(kind).schema
    ahead = [
        (of.schema, step)
        for of, step in registry.upcasts.steps()
        if of.type == kind.type and kind.schema <= of.schema <= last
    ]
    return [StepTaken(schema, _path_of(step.function), step.into) for schema, step in ahead]


class _Tally:
    """What is counted of one kind."""

    def __init__(self) -> None:
        self.first: Recorded | None = None
        self.events = 0
        self.unreadable = 0
        self.why: str | None = None

    def add(self, recorded: Recorded, registry: Registry) -> None:
        self.events += 1
        try:
            _read(recorded, registry)
        except RefoldError as error:
            self._failed(error.message)
        except Exception as error:  # The classes are the user's own, and may raise anything.
            self._failed(f"{recorded.id} cannot be read: {error!r}")
        else:
            self.first = self.first or recorded

    def _failed(self, why: str) -> None:
        self.unreadable += 1
        self.why = self.why or why


def _stored_schema(kind: Kind, registry: Registry, tally: _Tally | None) -> StoredSchema:
    current = registry.current(kind)
    retired = registry.upcasts.retirements().get(kind.type)
    split = registry.upcasts.step_of(current)
    why = tally.why if tally else None
    return StoredSchema(
        type=kind.type,
        schema=kind.schema,
        events=tally.events if tally else 0,
        reads_as=current.tag,
        splits_into=split.into if split and retired is None else (),
        cls=_path_of(registry.class_of(current)) if registry.has_class(current) else None,
        steps=[] if retired else _taken_from(kind, registry),
        retired=retired,
        example=_example(tally.first) if tally and tally.first else None,
        unreadable=tally.unreadable if tally else 0,
        finding=why or (_gap(kind, registry) if tally and retired is None else None),
    )


def _read(recorded: Recorded, registry: Registry) -> None:
    """Read an event as what it counts as; raises where that fails."""
    for part in recorded.parts():
        _ = part.event if registry.has_class(part.kind) else part.data


def _example(recorded: Recorded) -> Example:
    parts = [ReadAs(part.type, part.schema, part.data) for part in recorded.parts()]
    return Example(recorded.id, read(recorded.raw), parts)


def _gap(kind: Kind, registry: Registry) -> str | None:
    """Why no class or step of a type that is known leads from a stored schema; None: one does."""
    newest = registry.newest(kind.type)
    current = registry.current(kind)
    split = registry.upcasts.step_of(current)
    if newest == 0 or split is not None or registry.has_class(current):
        return None
    if kind.schema > newest:
        return f"schema {kind.schema} is newer than the newest that is known here, {newest}"
    classes = [str(known.schema) for known in registry.kinds() if known.type == kind.type]
    if not classes:
        return None
    return f"it is read as {current.tag}, but there is a class for schema {', '.join(classes)} only"


def _path_of(of: type | Callable[..., Any]) -> str:
    name = getattr(of, "__qualname__", type(of).__qualname__)
    return f"{of.__module__}.{name}"
