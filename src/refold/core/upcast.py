"""How events of old shapes come to be what programs know: upcasters, splits and retirements."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from refold.core.event import Kind
from refold.errors import UpcastFailed, UsageError


class Step(NamedTuple):
    """What is done to payloads of one kind when they are read.

    An upcaster gives the payload of the next schema; a split gives events of the types that
    ``into`` names.
    """

    function: Callable[[dict[str, Any]], Any]
    into: tuple[str, ...] = ()


class Upcasts:
    """The steps and retirements of one registry, and where they lead."""

    def __init__(self) -> None:
        self._steps: dict[Kind, Step] = {}
        self._retired: dict[str, str] = {}
        self._reached: dict[str, frozenset[str]] = {}
        self._splits: dict[str, list[int]] = {}
        self.reshaped: frozenset[str] = frozenset()
        """The types that are retired, or split in some schema: all others count as themselves."""

    def add(self, kind: Kind, step: Step) -> None:
        """What is done to a kind from now on.

        Raises :class:`~refold.errors.UsageError` where another function does it already. One of
        the same module and name takes its place: the module was loaded again.
        """
        held = self._steps.get(kind)
        if held is not None and _name_of(held.function) != _name_of(step.function):
            why = f"{kind.tag!r} is already upcast by {_path_of(held.function)}: "
            why += (
                f"{_path_of(step.function)} cannot do it too; one function leads on from a schema"
            )
            raise UsageError(why, type=kind.type, schema=kind.schema)
        self._steps[kind] = step
        self._changed()

    def retire(self, type_name: str, reason: str) -> None:
        """Events of this type count for nothing from now on."""
        self._retired[type_name] = reason
        self._changed()

    def step_of(self, kind: Kind) -> Step | None:
        """What is done to a kind."""
        return self._steps.get(kind)

    def steps(self) -> list[tuple[Kind, Step]]:
        """Every step, by type and schema."""
        return sorted(self._steps.items(), key=lambda item: item[0])

    def retirements(self) -> dict[str, str]:
        """The retired types and why they are."""
        return dict(sorted(self._retired.items()))

    def end(self, kind: Kind, newest: int) -> Kind:
        """The kind that an event is brought to: the first that is split, else the newest."""
        if kind.type not in self.reshaped:
            return kind._replace(schema=max(kind.schema, newest))
        if kind.type in self._retired:
            return kind
        splits = self._splits.get(kind.type, ())
        first = next((schema for schema in splits if schema >= kind.schema), newest)
        return kind._replace(schema=max(kind.schema, first))

    def run(self, kind: Kind, target: int, data: Any, *, event_id: str) -> Any:
        """A payload brought to a schema, one step at a time."""
        for schema in range(kind.schema, target):
            at = kind._replace(schema=schema)
            step = self._steps.get(at)
            if step is None:
                raise UpcastFailed(
                    f"{event_id} is {kind.type!r} schema {kind.schema}, the current schema is "
                    f"{target}, and no upcaster leads from {schema} to {schema + 1}",
                    id=event_id,
                    type=kind.type,
                    schema=schema,
                )
            data = _applied(step, at, data, event_id)
        return data

    def split(self, kind: Kind, data: Any, *, event_id: str) -> list[object]:
        """The events that a payload of a split kind is made into, as its split gives them."""
        made = _applied(self._steps[kind], kind, data, event_id)
        if not isinstance(made, list | tuple):
            reason = f"it returned {type(made).__name__}: return a list of events"
            raise failed(kind, event_id, reason)
        return list(made)

    def becomes(self, kind: Kind) -> frozenset[str]:
        """The types that an event may count as: its own, those of its splits, or none."""
        if kind.type not in self.reshaped:
            return frozenset((kind.type,))
        if kind.type in self._retired:
            return frozenset()
        step = self._steps.get(kind)
        if step is None or not step.into:
            return frozenset((kind.type,))
        return frozenset().union(*map(self._reachable, step.into))

    def sources_of(self, types: Collection[str]) -> frozenset[str]:
        """The stored types whose events may count as one of these: they, and what splits lead on.

        What to read where events of these types are wanted.
        """
        wanted = frozenset(types)
        ways = (name for name in self._splits if not wanted.isdisjoint(self._reachable(name)))
        return wanted.union(ways)

    def _reachable(self, type_name: str) -> frozenset[str]:
        """The types that events of a type may count as, whatever their schemas."""
        if type_name not in self._reached:
            seen: set[str] = set()
            ahead = [type_name]
            while ahead:
                name = ahead.pop()
                if name not in seen and name not in self._retired:
                    seen.add(name)
                    steps = [step for (of, _), step in self._steps.items() if of == name]
                    ahead += [into for step in steps for into in step.into]
            self._reached[type_name] = frozenset(seen)
        return self._reached[type_name]

    def _changed(self) -> None:
        self._reached = {}
        self._splits = {}
        for kind, step in self.steps():
            if step.into:
                self._splits.setdefault(kind.type, []).append(kind.schema)
        self.reshaped = frozenset(self._splits.keys() | self._retired.keys())


def failed(kind: Kind, event_id: str, reason: str) -> UpcastFailed:
    """The error for a step that did not do what it must."""
    return UpcastFailed(
        f"upcasting {event_id} ({kind.type!r}) from schema {kind.schema} failed: {reason}",
        id=event_id,
        type=kind.type,
        schema=kind.schema,
    )


def _applied(step: Step, kind: Kind, data: Any, event_id: str) -> Any:
    try:
        made = step.function(data)
    except Exception as error:
        raise failed(kind, event_id, repr(error)) from error
    if made is None:
        missing = "events" if step.into else "new payload"
        raise failed(kind, event_id, f"it returned None: return the {missing}")
    return made


def _name_of(function: Callable[..., Any]) -> object:
    """What a function is known by when its module is loaded again; itself where it has no name."""
    name = getattr(function, "__qualname__", None)
    return function if name is None else (getattr(function, "__module__", None), name)


def _path_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None)
    return repr(function) if name is None else f"{getattr(function, '__module__', None)}.{name}"
