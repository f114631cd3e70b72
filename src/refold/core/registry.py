"""The registry: which class stands for which event type, and how old schemas become new ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, TypeVar, overload

from refold.core.event import Kind, checked_kind
from refold.core.upcast import Step, Upcasts
from refold.errors import InvalidEvent, UnknownEventType, UsageError, refuse_unless, shown

C = TypeVar("C", bound=type)
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
Split = Callable[[dict[str, Any]], Sequence[object]]


class Registry:
    """Which class stands for which event type, and how old schemas become new ones."""

    def __init__(self) -> None:
        self._classes: dict[Kind, type] = {}
        self._kinds: dict[type, Kind] = {}
        self._current: dict[str, int] = {}
        self._brought: tuple[int, dict[Kind, Kind]] = (0, {})
        self.upcasts = Upcasts()
        self.tags: dict[type, str] = {}
        """The tag of each event class that the encoder writes as it stands."""
        self.revision = 0  # counts changes, so that what was made from the registry can be renewed

    def event(self, type_name: str, *, schema: int = 1) -> Callable[[C], C]:
        """Class decorator: instances are events of this type and schema.

        Works on ``msgspec.Struct`` (fastest), dataclasses and pydantic models. The stored name is
        ``type_name``, so renaming the class never breaks stored events. Raises
        :class:`UsageError` when another class already has the name.
        """
        kind = checked_kind(type_name, schema)

        def register(cls: C) -> C:
            refuse_unless(isinstance(cls, type), "a class of events", cls=cls)
            held = self._classes.get(kind)
            if held is not None and _path_of(held) != _path_of(cls):
                raise UsageError(
                    f"{kind.tag!r} is already {_path_of(held)}; give {_path_of(cls)} another "
                    "type or schema",
                    type=kind.type,
                )
            self._classes[kind] = cls
            self._kinds[cls] = kind
            if not hasattr(cls, "model_dump"):
                self.tags[cls] = kind.tag
            self._raise_current(kind)
            return cls

        return register

    @overload
    def upcast(self, type_name: str, *, schema: int) -> Callable[[Upcaster], Upcaster]: ...
    @overload
    def upcast(
        self, type_name: str, *, schema: int, into: Collection[str]
    ) -> Callable[[Split], Split]: ...
    def upcast(self, type_name: str, *, schema: int, into: Collection[str] = ()) -> Any:
        """Function decorator: turns the payload of ``schema`` into that of ``schema + 1``.

        The function gets a dict it may change and returns the new one. It runs when an old event
        is read; what is stored stays as it was. With ``into``, the names of event types, the
        event is split: the function returns the events that it counts as, in order, typed or
        :class:`Event` values, each of one of these types. They go on from there by the upcasters
        and splits of their own. Raises :class:`UsageError` when another function does this already.
        """
        kind = checked_kind(type_name, schema)
        if isinstance(into, str) or not isinstance(into, Collection):
            raise UsageError(f"into={shown(into)} is no list of names, such as into=['a.b']")
        types = tuple(checked_kind(name, 1).type for name in into)

        def register(function: Any) -> Any:
            refuse_unless(callable(function), "a function from old to new", function=function)
            self.upcasts.add(kind, Step(function, types))
            self._raise_current(kind if types else Kind(kind.type, kind.schema + 1))
            return function

        return register

    def retire(self, type_name: str, *, reason: str) -> None:
        """Events of this type count for nothing from now on, whatever their schema.

        Those that are stored can be read, as they are stored; folds pass over them. Appending one
        raises :class:`InvalidEvent` with the reason.
        """
        kind = checked_kind(type_name, 1)
        if not reason:
            raise UsageError(f"say why {type_name!r} is retired: reason=", type=type_name)
        self.upcasts.retire(kind.type, reason)
        self.revision += 1

    def check_in_use(self, tag: str) -> None:
        """Refuse an event to append whose type is retired."""
        kind = Kind.parse(tag)
        reason = self.upcasts.retirements().get(kind.type)
        if reason is not None:
            raise InvalidEvent(f"{kind.type!r} is retired: {reason}", type=kind.type)

    def kind_of(self, event: object) -> Kind:
        """The kind of a typed event; :class:`InvalidEvent` when its class is not registered."""
        kind = self._kinds.get(type(event))
        if kind is None:
            name = type(event).__name__
            raise InvalidEvent(
                f"{name} is not an event class: decorate it with "
                f'@refold.event("…") or append refold.Event(type, data)'
            )
        return kind

    def kind_of_class(self, cls: type) -> Kind:
        """The kind that a class was registered under; :class:`UsageError` when it was not."""
        try:
            return self._kinds[cls]
        except KeyError:
            raise UsageError(
                f'{_path_of(cls)} is not an event class: decorate it with @refold.event("…")'
            ) from None

    def class_of(self, kind: Kind) -> type:
        """The class of a kind; :class:`UnknownEventType` when there is none."""
        try:
            return self._classes[kind]
        except KeyError:
            why = f"no class is registered for event type {kind.tag!r}: {self._instead_of(kind)}"
            raise UnknownEventType(why, type=kind.type, schema=kind.schema) from None

    def has_class(self, kind: Kind) -> bool:
        """Whether a class is registered for this kind."""
        return kind in self._classes

    def kinds(self) -> list[Kind]:
        """Every kind that has a class, sorted."""
        return sorted(self._classes)

    def newest(self, type_name: str) -> int:
        """The newest schema of a type that a class or an upcaster speaks of; 0 for none."""
        return self._current.get(type_name, 0)

    def current(self, kind: Kind) -> Kind:
        """What events of a kind are brought to: the newest schema of their type that is known.

        At least ``kind``'s own; the schema that is split, where one is on the way; ``kind`` itself
        where its type is retired.
        """
        made_for, brought = self._brought
        if made_for != self.revision:
            made_for, brought = self._brought = (self.revision, {})
        end = brought.get(kind)
        if end is None:
            end = brought[kind] = self.upcasts.end(kind, self._current.get(kind.type, 0))
        return end

    def upcast_data(self, kind: Kind, data: Any, *, event_id: str) -> Any:
        """``data`` of ``kind`` brought to the current schema, one step at a time.

        Raises :class:`UpcastFailed` where a step is missing or fails.
        """
        return self.upcasts.run(kind, self.current(kind).schema, data, event_id=event_id)

    def becomes(self, kind: Kind) -> frozenset[str]:
        """The types that an event stored as ``kind`` may count as; none when it is retired."""
        return self.upcasts.becomes(self.current(kind))

    def _instead_of(self, kind: Kind) -> str:
        """What to use where there is no class."""
        if not self.becomes(kind):
            return "it is retired; use .data"
        step = self.upcasts.step_of(kind)
        if step is not None and step.into:
            return "it is split; use .events"
        return "import the module that defines it, or use .data"

    def __reduce__(self) -> Any:
        """The default one is that of the process that it comes to, which imports its classes."""
        if self is default_registry:
            return _default, (sorted({cls.__module__ for cls in self._kinds}),)
        return super().__reduce__()

    def _raise_current(self, kind: Kind) -> None:
        self.revision += 1
        self._current[kind.type] = max(kind.schema, self._current.get(kind.type, 0))


default_registry: Final = Registry()
event: Final = default_registry.event
upcast: Final = default_registry.upcast


def _default(modules: Collection[str]) -> Registry:
    for name in modules:
        with suppress(ImportError):
            import_module(name)
    return default_registry


def _path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
