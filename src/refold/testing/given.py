"""Deciders and projections tested as sentences: what had happened, what must come of it.

>>> given(account, Opened(owner="ann")).when(Withdraw(amount=80)).then_rejected("too_little")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar, overload

import msgspec

from refold.core.clock import to_us
from refold.core.encode import encode_one_by_one, row_of
from refold.core.fold import Decider
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry, default_registry
from refold.errors import Rejected
from refold.projections.projection import Projection
from refold.testing.differences import cut, of_events, of_values, shown
from refold.testing.projected import Projected

S = TypeVar("S")
K = TypeVar("K")
Lines = Sequence[str]


@overload
def given(tested: Decider[S, K], /, *events: object) -> Given[S, K]: ...
@overload
def given(tested: Projection, /, *events: object) -> Projected: ...
def given(tested: Decider[Any, Any] | Projection, /, *events: object) -> Any:
    """A history that has happened; no events: nothing has.

    For a decider it goes on with ``when``, for a projection with ``then_rows``.
    """
    return Projected(tested, events) if isinstance(tested, Projection) else Given(tested, events)


@dataclass(frozen=True)
class Given(Generic[S, K]):
    """What has happened before the command.

    The events pass through the codec, so the decider sees them as a store would give them back.
    """

    decider: Decider[S, K]
    events: Sequence[object]

    def when(self, command: K) -> When[S, K]:
        """Decide the command against the state that the events fold to."""
        history = as_recorded(self.events, registry=self.decider.fold.registry)
        state = self.decider.fold.run(history).state
        try:
            decided = self.decider.decide(command, state)
        except Rejected as rejection:
            return When(self, command, rejection)
        return When(self, command, tuple(decided))


@dataclass(frozen=True)
class When(Generic[S, K]):
    """What the command came to; every ``then`` raises :class:`AssertionError` with both sides."""

    given: Given[S, K]
    command: K
    outcome: tuple[object, ...] | Rejected

    def then(self, *events: object) -> When[S, K]:
        """These events were decided, in this order, and no others.

        Typed and untyped events are equal when they would be stored as the same type, schema,
        payload, metadata and time.
        """
        __tracebackhide__ = True
        if isinstance(self.outcome, Rejected):
            self._fail(self._shown(events))
        if differing := of_events(self._recorded(events), self._recorded(self.outcome)):
            self._fail(self._shown(events), differing)
        return self

    def then_nothing(self) -> When[S, K]:
        """The command was accepted, and there was nothing to do."""
        __tracebackhide__ = True
        return self.then()

    def then_rejected(self, reason: str | None = None, **facts: object) -> When[S, K]:
        """The domain said no: for this reason and with these facts, where they are given.

        Other facts may be there. ``code`` is that of the rejection.
        """
        __tracebackhide__ = True
        wanted = facts if reason is None else {"reason": reason, **facts}
        expected = [f"  rejected: {_fields(wanted) if wanted else 'for any reason'}"]
        if not isinstance(self.outcome, Rejected):
            self._fail(expected)
        facts = _facts(self.outcome)
        got = {name: facts[name] for name in wanted if name in facts}
        if got != wanted:
            self._fail(expected, of_values(wanted, got))
        return self

    def then_state(self, state: S) -> When[S, K]:
        """What was decided folds, on top of the history, to this state."""
        __tracebackhide__ = True
        if isinstance(self.outcome, Rejected):
            self._fail([f"  state {state!r}"])
        fold = self.given.decider.fold
        happened = [*self.given.events, *self.outcome]
        reached = fold.run(as_recorded(happened, registry=fold.registry)).state
        if reached != state:
            differing = _states_differ(state, reached)
            self._fail([f"  state {state!r}"], differing, [f"  state {reached!r}"])
        return self

    def _fail(self, expected: Lines, differing: Lines = (), got: Lines | None = None) -> NoReturn:
        __tracebackhide__ = True
        story = [
            "given",
            *self._shown(self.given.events),
            "when",
            f"  {cut(repr(self.command))}",
            "then expected",
            *expected,
            "but got",
            *(got or self._outcome_shown()),
            *(["which differs in", *differing] if differing else []),
        ]
        raise AssertionError("\n".join(story))

    def _outcome_shown(self) -> list[str]:
        if isinstance(self.outcome, Rejected):
            said = _facts(self.outcome)
            if self.outcome.code == Rejected.code:
                del said["code"]
            return [f"  rejected: {_fields(said)}"]
        return self._shown(self.outcome)

    def _shown(self, events: Sequence[object]) -> list[str]:
        return [shown(event) for event in self._recorded(events)] or ["  nothing"]

    def _recorded(self, events: Sequence[object]) -> list[Recorded]:
        return as_recorded(events, registry=self.given.decider.fold.registry)


def _facts(rejection: Rejected) -> dict[str, Any]:
    return {**rejection.facts, "code": rejection.code}


def _states_differ(expected: object, reached: object) -> list[str]:
    try:
        return of_values(msgspec.to_builtins(expected), msgspec.to_builtins(reached))
    except (TypeError, ValueError, RecursionError):
        return []  # No JSON form: both are shown whole.


def _fields(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in facts.items())


def as_recorded(
    events: Sequence[object],
    *,
    stream: str = "test-1",
    registry: Registry = default_registry,
    recorded_at_us: int = 0,
) -> list[Recorded]:
    """Events as a store would give them back: encoded, decoded, at versions 0, 1, 2….

    ``events`` are typed events or :class:`refold.Event` values. Raises
    :class:`~refold.errors.InvalidEvent` for what a store would refuse too.
    """
    if not events:
        return []
    body = encode_one_by_one(events, registry, are_old=True)
    row = row_of(body, position=1, stream=stream, version=0, recorded_at=to_us(recorded_at_us))
    return decode_row(row, registry)
