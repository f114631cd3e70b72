"""State from events: folds and deciders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args

import msgspec

from refold.core.dispatch import Dispatch, Handler, register
from refold.core.event import Event, checked_kind
from refold.core.payload import encode_payload
from refold.core.recorded import Recorded, StoredEvents, decode_row, history_of, unrecorded
from refold.core.registry import Registry, default_registry
from refold.core.stored import ABSENT, Part, Row, corrupt
from refold.errors import Rejected, UnknownEventType, UsageError, refuse_unless, shown

S = TypeVar("S")
K = TypeVar("K")
Rejections = Literal["raised", "recorded"]
Evolve = TypeVar("Evolve", bound=Callable[..., Any])

EVENTS_PER_DECISION_MAX: Final = 10_000
NO_PART: Final = Part(0, 0, 0)


class Folded(NamedTuple, Generic[S]):
    """A state and where it stands: the last version and position that went into it.

    ``version`` is -1 and ``position`` 0 when no event did.
    """

    state: S
    version: int
    position: int


class Fold(Generic[S]):
    """How events become state.

    ``name`` and ``revision`` say which fold this is: raise ``revision`` when its meaning changes.
    ``initial`` makes a fresh first state. Handlers are added with :meth:`on`; an event that has
    none leaves the state as it is. A handler may change the state that it is given: it belongs to
    this run of the fold alone. ``state_type`` is what the state is decoded to from a snapshot: by
    default ``initial`` where that is a class; without one, the fold is never snapshotted.
    """

    def __init__(
        self,
        name: str,
        initial: Callable[[], S],
        *,
        revision: int = 1,
        state_type: Any = None,
        registry: Registry = default_registry,
    ) -> None:
        refuse_unless(isinstance(name, str) and name, "the name of the fold", name=name)
        refuse_unless(callable(initial), "a class or function for the first state", initial=initial)
        refuse_unless(isinstance(registry, Registry), "a refold.Registry", registry=registry)
        refuse_unless(isinstance(revision, int), "a whole number", revision=revision)
        if state_type is None and isinstance(initial, type):
            state_type = initial
        self.state_type = state_type
        self.name = name
        self.initial = initial
        self.revision = revision
        self.registry = registry
        self.handlers: dict[str, Handler] = {}
        self._dispatched: tuple[object, Dispatch] | None = None

    def on(self, *events: type | str) -> Callable[[Evolve], Evolve]:
        """Decorator: this function is the step for these event classes or type names.

        It is called with ``(state, event)``, or ``(state, event, recorded)`` when it takes three
        arguments, or ``(state, event, id, at_us)`` when it must have four, and returns the next
        state. ``id`` is the event's :attr:`~Recorded.origin_id`, ``at_us`` its ``occurred_at_us``:
        who needs no more is called in less time. By type name the event is the payload as a dict.
        """

        def register_step(evolve: Evolve) -> Evolve:
            register(self.handlers, evolve, events, self.registry, owner=f"fold {self.name!r}")
            return evolve

        return register_step

    def step(self, state: S, recorded: Recorded) -> S:
        """The state after one more recorded event; after each part, where it is split."""
        for part in recorded.parts(among=self.handlers):
            handler, event = self.handlers[part.type], self._taken(part)
            given: tuple[object, ...] = (event, part) if handler.wants_recorded else (event,)
            if handler.wants_place:
                given = (event, part.origin_id, part.occurred_at_us)
            state = self.checked(handler.evolve(state, *given), part.type)
        return state

    def run(self, history: Iterable[Recorded], state: S | None = None) -> Folded[S]:
        """The state after a history, from ``state`` (default: the initial one)."""
        state = self.initial() if state is None else state
        version, position = -1, 0
        for recorded in history_of(history, call="a fold"):
            state = self.step(state, recorded)
            version, position = recorded.version, recorded.position
        return Folded(state, version, position)

    def over(self, state: S, row: Row, *, first: int, last: int) -> S:
        """The state after the events of a stored row that stand at versions first..last.

        The same as by :meth:`step`, event by event. Raises :class:`~refold.errors.Corrupt`.
        """
        dispatch, stream, registry = self._dispatch(), row.stream, self.registry
        decode, end, row_end = dispatch.decode, row.version, row.version + row.event_count
        parts: list[Part] = []
        counts: list[int] = []
        part, part_index, part_end, stored = NO_PART, 0, end, StoredEvents(row)
        for piece in row.pieces():
            try:
                try:
                    bodies = decode.known.bodies(piece)
                except msgspec.ValidationError:
                    bodies = decode.bodies(piece)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return self._explained(state, row, max(first, end), last)
            counts += map(len, bodies)
            begin, events = end, [*chain.from_iterable(bodies)] if len(bodies) != 1 else bodies[0]
            end += len(events)
            if end > row_end:
                break
            if begin < first or end > last + 1:
                events = events[max(first - begin, 0) : max(last + 1 - begin, 0)]
            if not dispatch.gives_place:
                for event in events:
                    if event.step is not None:
                        state = event.step(state, event.data)
                        if state is None:
                            self.checked(state, "an event")
                continue
            parts = parts or row.parts()
            if part is NO_PART and sum([part.event_count for part in parts]) != row.event_count:
                return self._explained(state, row, max(begin, first), last)
            for version, event in enumerate(events, max(begin, first)):
                if event.step is not None:
                    state = event.step(state, event.data)
                elif event.kind is not None:
                    while version >= part_end:
                        part, part_index = parts[part_index], part_index + 1
                        part_end += part.event_count
                    now_us = part.recorded_at if part.clock_at is None else part.clock_at
                    at_us = now_us if event.occurred_at is None else event.occurred_at
                    if event.metadata is ABSENT and event.place is not None:
                        state = event.place(state, event.data, f"{stream}@{version}", at_us)
                    else:
                        position = part.position + part.event_count - part_end + version
                        place = stream, version, position, at_us
                        recorded = Recorded(*place, event, part, registry, stored)
                        if event.place is not None:
                            state = event.place(state, event.data, recorded.origin_id, at_us)
                        else:
                            state = event.watch(state, event.data, recorded)
                if state is None:
                    self.checked(state, "an event")
        if end != row_end or (parts and row.joined and counts != [p.event_count for p in parts]):
            decode_row(row, registry)
            raise corrupt(row, f"it does not hold {row.event_count} events")
        return state

    def _explained(self, state: S, row: Row, first: int, last: int) -> S:
        """What :meth:`over` gives, event by event: an error then says which event it is about."""
        for recorded in decode_row(row, self.registry):
            if first <= recorded.version <= last:
                state = self.step(state, recorded)
        return state

    def _dispatch(self) -> Dispatch:
        """What decodes rows for these steps, until a step, class or upcaster is added."""
        made_for = (len(self.handlers), self.registry.revision)
        if self._dispatched is None or self._dispatched[0] != made_for:
            made = Dispatch(self.handlers, self.registry, lambda at, _, one: self.step(at, one))
            self._dispatched = (made_for, made)
        return self._dispatched[1]

    def evolve(self, state: S, event: object) -> S:
        """The state after an event that was not recorded: for tests and deciders.

        Steps that want the recorded event cannot run here and raise :class:`UsageError`.
        """
        for name, typed in self._unrecorded(event):
            handler = self.handlers[name]
            if handler.wants_recorded or handler.wants_place:
                raise UsageError(
                    f"the step for {name!r} of fold {self.name!r} needs a recorded event"
                )
            if handler.target is None and not isinstance(typed, dict):
                typed = msgspec.to_builtins(typed)
            state = self.checked(handler.evolve(state, typed), name)
        return state

    def checked(self, state: S | None, type_name: str) -> S:
        """A step's answer, refused when it forgot to return one."""
        if state is None:
            raise UsageError(
                f"the step for {type_name!r} of fold {self.name!r} returned None: return the state"
            )
        return state

    def _unrecorded(self, event: object) -> list[tuple[str, object]]:
        """What an event counts as that has a step here: types and what the steps take."""
        data, kind = event, None
        if isinstance(event, Event):
            data = event.data
            kind = checked_kind(event.type, event.schema) if event.type else None
        typed = kind is None
        kind = kind or self.registry.kind_of(data)
        if kind.type in self.registry.upcasts.reshaped or kind != self.registry.current(kind):
            whole = unrecorded(kind, encode_payload(data), self.registry)
            return [(p.type, self._taken(p)) for p in whole.parts(among=self.handlers)]
        handler = self.handlers.get(kind.type)
        if handler is None:
            return []
        if typed or handler.target is None:
            return [(kind.type, data)]
        return [(kind.type, msgspec.convert(data, handler.target))]

    def _taken(self, recorded: Recorded) -> Any:
        """What the step for an event takes."""
        return taken(recorded, self.handlers[recorded.type])


class Decider(Generic[S, K]):
    """Commands against a state: a fold, and what a command makes happen.

    ``decide(command, state)`` returns the events to append (none: nothing to do), or returns or
    raises :class:`~refold.errors.Rejected`. It must be pure: call models and services first and
    put what they said into the command. Where ``rejections`` are ``"recorded"``, ``Store.execute``
    appends each as ``command.rejected`` before it raises it.
    """

    def __init__(
        self,
        fold: Fold[S],
        decide: Callable[[K, S], Sequence[object] | Rejected],
        *,
        rejections: Rejections = "raised",
    ) -> None:
        if not isinstance(fold, Fold) or not callable(decide):
            raise UsageError(
                "a decider is made of a refold.Fold and a function decide(command, state), not "
                f"of {shown(fold)} and {shown(decide)}"
            )
        if rejections not in get_args(Rejections):
            raise UsageError(f"rejections={shown(rejections)} is neither 'raised' nor 'recorded'")
        self.fold = fold
        self.rejections = rejections
        self._decide = decide

    def decide(self, command: K, state: S) -> Sequence[object]:
        """The events of a command; raises :class:`~refold.errors.Rejected`."""
        events = self._decide(command, state)
        if isinstance(events, Rejected):
            raise events
        if not isinstance(events, Sequence) or isinstance(events, str | bytes):
            raise UsageError(
                f"decide returned {events!r}: return a list of events, an empty one for none"
            )
        if len(events) > EVENTS_PER_DECISION_MAX:
            raise UsageError(f"a decision of {len(events)} events, over {EVENTS_PER_DECISION_MAX}")
        return events


def taken(recorded: Recorded, handler: Handler) -> Any:
    """What a handler takes of an event; refused when its class is of another schema."""
    if handler.target is None:
        # Decoded anew: a step may change what it is given, and a history may be folded again.
        return recorded.decoded()
    if recorded.schema != handler.schema:
        raise UnknownEventType(
            f"{recorded.id} is {recorded.type!r} schema {recorded.schema}, but the handler is "
            f"for {handler.target.__name__}, schema {handler.schema}: write it for the newest",
            id=recorded.id,
            type=recorded.type,
            schema=recorded.schema,
        )
    return recorded.to_class(handler.target)
