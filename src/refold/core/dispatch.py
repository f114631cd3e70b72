"""Stored bodies straight to the functions that take their events: one decode an append.

A body is decoded as a list of a tagged union. It has one class a tag, made when the tag turns up,
that says as what its payload is decoded and which function takes it. What nobody takes is skipped
by the decoder; what must be looked into first (an old shape, a class that msgspec cannot make) is
handed on as it is stored, as a recorded event.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, reduce
from itertools import chain
from operator import or_
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.event import Kind
from refold.core.jsonvalue import number
from refold.core.registry import Registry
from refold.core.stored import ABSENT, OccurredAt
from refold.errors import UsageError, shown

Decode = Callable[[str | bytes], list[Any]]


class Handler(NamedTuple):
    """What takes the events of one type: ``target`` is their class (None: a plain dict)."""

    evolve: Callable[..., Any]
    target: type | None
    wants_recorded: bool
    schema: int | None
    wants_place: bool = False


def register(
    handlers: dict[str, Handler],
    function: Callable[..., Any],
    events: Iterable[type | str],
    registry: Registry,
    *,
    owner: str,
) -> None:
    """Let a function take the events of these classes or type names.

    It is given the recorded event too where it has three arguments by place, and where it must
    have four, the id that the event has wherever it was copied to and when it occurred. Raises
    :class:`~refold.errors.UsageError` for what is neither, for a type that is taken already, and
    for what is no function.
    """
    if not callable(function):
        raise UsageError(f"{owner} is given functions, not {shown(function)}")
    named, needed = arguments_by_place(function)
    wants_place = needed == named == 4
    for event in events:
        if isinstance(event, str):
            target, kind, schema = None, Kind.parse(event), None
        elif isinstance(event, type):
            target, kind = event, registry.kind_of_class(event)
            schema = kind.schema
        else:
            raise UsageError(f"{owner} takes event classes and type names, not {shown(event)}")
        if kind.type in handlers:
            raise UsageError(f"{owner} has something that takes {kind.type!r} already")
        wants_recorded = named > 2 and not wants_place
        handlers[kind.type] = Handler(function, target, wants_recorded, schema, wants_place)


def arguments_by_place(function: Callable[..., Any]) -> tuple[int, int]:
    """How many arguments by place a function names, and needs; none where it does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0, 0
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [parameter.default for parameter in parameters if parameter.kind in by_place]
    return len(named), named.count(inspect.Parameter.empty)


class _Tagged(msgspec.Struct, array_like=True):
    tag: str


_decode_tags: Final = msgspec.json.Decoder(list[_Tagged]).decode
_decode_tags_of_bodies: Final = msgspec.json.Decoder(list[list[_Tagged]]).decode


class _Known:
    """The classes of the tags that were met, and what decodes by them: a body, several at once."""

    def __init__(self, wrappers: Mapping[str, type]) -> None:
        self.wrappers = wrappers
        events: Any = list[reduce(or_, wrappers.values())]  # type: ignore[misc]
        self.body: Decode = msgspec.json.Decoder(events, float_hook=number).decode
        self._several: Any = list[events]

    @cached_property
    def bodies(self) -> Decode:
        """Made when it is asked for: what checks appends never does."""
        return msgspec.json.Decoder(self._several, float_hook=number).decode


class Decoder:
    """Decodes bodies as lists of the classes that ``wrap`` makes, one a tag; threads may share it.

    Raises :class:`msgspec.DecodeError` for a body that does not fit them.
    """

    def __init__(self, wrap: Callable[[str], type]) -> None:
        self._wrap = wrap
        # Replaced as one: who meets new tags at the same time learns them again.
        self.known = _Known({"": _made("Nothing", [], "")})

    def __call__(self, body: str | bytes) -> list[Any]:
        """The events of a body."""
        try:
            return self.known.body(body)
        except msgspec.ValidationError:
            return self._learnt(_decode_tags(body)).body(body)

    def bodies(self, array: bytes) -> list[list[Any]]:
        """The events of each body of an array that :attr:`known` does not decode."""
        return self._learnt(chain.from_iterable(_decode_tags_of_bodies(array))).bodies(array)

    def _learnt(self, events: Iterable[_Tagged]) -> _Known:
        """What knows the tags of some events too, which another thread may have taught it."""
        known = self.known
        if new := {event.tag for event in events}.difference(known.wrappers):
            wrappers = {**known.wrappers, **{tag: self._wrap(tag) for tag in sorted(new)}}
            known = self.known = _Known(wrappers)
        return known


class Dispatch:
    """Says of each stored event which function takes it.

    What :attr:`decode` gives has ``step``, which takes its ``data``; or ``place``, which takes
    that, an id and a time; or ``watch``, which takes that and the recorded event, of the kind that
    ``kind`` says; or None for all of them. ``whole`` is the ``watch`` of what must be looked into.
    Types without a handler are looked into where ``every`` event is wanted. ``gives_place`` says
    whether there may be any ``place`` or ``watch``, as far as decoded.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        registry: Registry,
        whole: Callable[[Any, msgspec.Raw, Any], Any],
        *,
        every: bool = False,
    ) -> None:
        self._handlers = handlers
        self._registry = registry
        self._whole = whole
        self._every = every
        self.decode: Final = Decoder(self._wrapper)
        self.gives_place = any(h.wants_recorded or h.wants_place for h in handlers.values())

    def _wrapper(self, tag: str) -> type:
        kind = Kind.parse(tag)
        becomes = self._registry.becomes(kind)
        if not becomes or (not self._every and becomes.isdisjoint(self._handlers)):
            return _made("Skipped", [], tag)
        handler = self._handlers.get(kind.type)
        if handler is None or self._is_to_be_looked_into(kind, handler):
            self.gives_place = True
            data: tuple[str, Any] = ("data", msgspec.Raw)
            return _made("Whole", [data, *PLACED], tag, watch=self._whole, kind=kind)
        data = ("data", handler.target or Any)
        if handler.wants_place:
            return _made("Placed", [data, *PLACED], tag, place=handler.evolve, kind=kind)
        if handler.wants_recorded:
            return _made("Watched", [data, *PLACED], tag, watch=handler.evolve, kind=kind)
        return _made("Taken", [data], tag, step=handler.evolve)

    def _is_to_be_looked_into(self, kind: Kind, handler: Handler) -> bool:
        """Whether it is upcast or split, of a class that only it can make, or to be refused."""
        return (
            self._registry.current(kind) != kind
            or self._registry.upcasts.step_of(kind) is not None
            or handler.schema not in (None, kind.schema)
            or hasattr(handler.target, "model_validate")
        )


PLACED: Final[list[tuple[Any, ...]]] = [
    ("occurred_at", OccurredAt, None),
    ("metadata", msgspec.Raw, ABSENT),
]


def _made(
    name: str,
    fields: list[Any],
    tag: str,
    *,
    step: Callable[..., Any] | None = None,
    watch: Callable[..., Any] | None = None,
    place: Callable[..., Any] | None = None,
    kind: Kind | None = None,
) -> type:
    said = {
        "step": step and staticmethod(step),
        "watch": watch and staticmethod(watch),
        "place": place and staticmethod(place),
        "kind": kind,
    }
    return msgspec.defstruct(name, fields, tag=tag, array_like=True, gc=False, namespace=said)
