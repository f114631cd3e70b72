"""Events: what is appended, what comes back, and the registry that names their classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar, overload

from refold.core.clock import Instant
from refold.core.upcast import Step, Upcasts
from refold.errors import InvalidEvent, UnknownEventType, UsageError

NAME_BYTES_MAX: Final = 255
"""The longest stream name or key, in UTF-8 bytes."""
TYPE_BYTES_MAX: Final = 128

C = TypeVar("C", bound=type)
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
Split = Callable[[dict[str, Any]], Sequence[object]]
_VERSIONED = re.compile(r"(.+)\.v([1-9][0-9]{0,8})")
_VERSION = re.compile(r"[0-9]{1,18}")


class Kind(NamedTuple):
    """An event type and its schema number; ``tag`` is how the pair is stored."""

    type: str
    schema: int = 1

    @property
    def tag(self) -> str:
        """``user.utterance`` for schema 1, ``user.utterance.v2`` for schema 2."""
        return self.type if self.schema == 1 else f"{self.type}.v{self.schema}"

    @classmethod
    def parse(cls, tag: str) -> Kind:
        """The kind of a tag; ``x.v1`` and ``x`` are the same."""
        versioned = _VERSIONED.fullmatch(tag)
        return cls(tag) if versioned is None else cls(versioned[1], int(versioned[2]))


@dataclass(frozen=True, slots=True)
class Event:
    """An event to append, untyped or carrying more than its payload.

    ``type`` is dotted lower-case text (``user.utterance``, or ``user.utterance.v2`` for schema 2);
    ``data`` its JSON payload. ``metadata`` is added to what the append shares. ``occurred_at`` is
    when it happened by the caller's word (default: when the log records it).
    """

    type: str
    data: Any = field(default_factory=dict)
    schema: int = 1
    metadata: Mapping[str, Any] | None = None
    occurred_at: Instant | None = None

    @classmethod
    def of(
        cls,
        event: object,
        *,
        metadata: Mapping[str, Any] | None = None,
        occurred_at: Instant | None = None,
    ) -> Event:
        """A typed event with metadata or a time of its own."""
        return cls("", event, metadata=metadata, occurred_at=occurred_at)


class Registry:
    """Which class stands for which event type, and how old schemas become new ones."""

    def __init__(self) -> None:
        self._classes: dict[Kind, type] = {}
        self._kinds: dict[type, Kind] = {}
        self._current: dict[str, int] = {}
        self._brought: tuple[int, dict[Kind, Kind]] = (0, {})
        self.upcasts = Upcasts()
        self.revision = 0  # counts changes, so that what was made from the registry can be renewed

    def event(self, type_name: str, *, schema: int = 1) -> Callable[[C], C]:
        """Class decorator: instances are events of this type and schema.

        Works on ``msgspec.Struct`` (fastest), dataclasses and pydantic models. The stored name is
        ``type_name``, so renaming the class never breaks stored events. Raises
        :class:`UsageError` when another class already has the name.
        """
        kind = checked_kind(type_name, schema)

        def register(cls: C) -> C:
            held = self._classes.get(kind)
            if held is not None and _path_of(held) != _path_of(cls):
                raise UsageError(
                    f"{kind.tag!r} is already {_path_of(held)}; give {_path_of(cls)} another "
                    "type or schema",
                    type=kind.type,
                )
            self._classes[kind] = cls
            self._kinds[cls] = kind
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
        if isinstance(into, str):
            raise UsageError(f"into={into!r} is one name: give a list, into=[{into!r}]")
        types = tuple(Kind.parse(name).type for name in into)

        def register(function: Any) -> Any:
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

    def check_in_use(self, tag: str, *, index: int) -> None:
        """Refuse an event to append, the ``index``-th of its append, whose type is retired."""
        kind = Kind.parse(tag)
        if kind.type in self.upcasts.reshaped:
            reason = self.upcasts.retirements().get(kind.type)
            if reason is not None:
                raise InvalidEvent(
                    f"event {index}: {kind.type!r} is retired: {reason}",
                    type=kind.type,
                    index=index,
                )

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
            raise UnknownEventType(
                f"no class is registered for event type {kind.tag!r}: {self._instead_of(kind)}",
                type=kind.type,
                schema=kind.schema,
            ) from None

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

    def upcasters_of(self, type_name: str) -> list[Callable[[dict[str, Any]], Any]]:
        """The upcasters and splits of a type, oldest schema first."""
        return [step.function for kind, step in self.upcasts.steps() if kind.type == type_name]

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

    def _raise_current(self, kind: Kind) -> None:
        self.revision += 1
        self._current[kind.type] = max(kind.schema, self._current.get(kind.type, 0))


default_registry: Final = Registry()
event: Final = default_registry.event
upcast: Final = default_registry.upcast


def category_of(stream: str) -> str:
    """The text before a stream's first hyphen; a branch (``~`` in its name) keeps a ``~``.

    ``call-42`` is in ``call``; its branch ``call-42~b`` is in ``call~``, so that a reader of
    ``call`` sees what happened and not what might have.
    """
    category = stream.partition("-")[0].partition("~")[0]
    return f"{category}~" if "~" in stream else category


def event_id(stream: str, version: int) -> str:
    """The id of an event: ``call-42@7``."""
    return f"{stream}@{version}"


def parse_event_id(text: str) -> tuple[str, int]:
    """Stream and version of an id such as ``call-42@7``."""
    stream, _, version = text.rpartition("@") if isinstance(text, str) else ("", "", "")
    if not stream or not _VERSION.fullmatch(version):
        raise UsageError(f"{text!r} is not an event id such as call-42@7", id=text)
    return stream, int(version)


def check_name(name: object, *, what: str, bytes_max: int = NAME_BYTES_MAX) -> None:
    """Refuse an empty, over-long or unprintable stream name, key or type."""
    if not isinstance(name, str) or not name:
        raise InvalidEvent(f"{what} must be text that is not empty, not {name!r}")
    if not name.isprintable() and any(map(_is_control, name)):
        raise InvalidEvent(f"{what} {name!r} holds a control character")
    size_bytes = len(name.encode())
    if size_bytes > bytes_max:
        raise InvalidEvent(f"{what} {name[:40]!r}… is {size_bytes} bytes, over {bytes_max}")


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def checked_tag(type_name: str, schema: int) -> str:
    """The stored tag of an untyped event's type and schema."""
    if not isinstance(type_name, str):
        raise InvalidEvent(f"an event type must be text, not {type_name!r}")
    return _cached_tag(type_name, schema)


@lru_cache(maxsize=4096, typed=True)  # True is not the schema 1.
def _cached_tag(type_name: str, schema: int) -> str:
    return checked_kind(type_name, schema).tag


def checked_kind(type_name: str, schema: int) -> Kind:
    """The kind of a type and schema; :class:`InvalidEvent` where they cannot be stored."""
    check_name(type_name, what="an event type", bytes_max=TYPE_BYTES_MAX)
    if any(char.isspace() for char in type_name):
        raise InvalidEvent(f"an event type {type_name!r} holds white space")
    if isinstance(schema, bool) or not isinstance(schema, int) or not 1 <= schema < 10**9:
        raise InvalidEvent(f"schema {schema!r} of {type_name!r} is not a whole number from 1")
    named = Kind.parse(type_name)
    if Kind.parse(named.type) != Kind(named.type):
        raise InvalidEvent(f"an event type {type_name!r} names two schemas")
    if schema not in (1, named.schema) and named.type != type_name:
        raise InvalidEvent(f"{type_name!r} names schema {named.schema}, schema={schema} another")
    return Kind(named.type, max(named.schema, schema))


def _path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
