"""The events, the fold and the clock that the conformance suites use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import msgspec

from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.registry import Registry
from refold.engine.store import Store, system_clock
from refold.ports import Clock

R = TypeVar("R")
E = TypeVar("E", bound=BaseException)

registry = Registry()
"""A registry of the suites' own: nothing here meets the events of the program under test."""


@registry.event("test.said")
class Said(msgspec.Struct, frozen=True):
    """Somebody said something."""

    text: str


@registry.event("test.paid", schema=2)
class Paid(msgspec.Struct, frozen=True):
    """Money changed hands; schema 1 had it as a plain number of cents."""

    amount: Decimal


@registry.upcast("test.paid", schema=1)
def _in_units(data: dict[str, Any]) -> dict[str, Any]:
    return {"amount": str(Decimal(data["cents"]) / 100)}


class Ledger(msgspec.Struct):
    """What the suites fold to: every text in order, and the sum of all money."""

    texts: list[str] = []
    total: Decimal = Decimal(0)


ledger: Fold[Ledger] = Fold("ledger", Ledger, registry=registry)


@ledger.on(Said)
def _said(state: Ledger, event: Said) -> Ledger:
    state.texts.append(event.text)
    return state


@ledger.on(Paid)
def _paid(state: Ledger, event: Paid) -> Ledger:
    state.total += event.amount
    return state


def said(*texts: str) -> list[Said]:
    """Events that say these texts."""
    return [Said(text) for text in texts]


def untyped(*types: str) -> list[Event]:
    """Events of types that have no class."""
    return [Event(type_name, {"of": type_name}) for type_name in types]


class OpenStore(Protocol):
    """Opens the log of the running test: empty at first, and the same one at every call."""

    def __call__(self, *, clock: Clock = system_clock, registry: Registry = registry) -> Store:
        """A store on that log; the fixture closes what the test left open."""
        ...


class HandClock:
    """A clock that a test sets: microseconds UTC."""

    def __init__(self, us: int = 1_000_000) -> None:
        self.us = us

    def __call__(self) -> int:
        """The time it was set to."""
        return self.us


def raised(kind: type[E], call: Callable[..., object], /, *args: Any, **kwargs: Any) -> E:
    """The error of this kind that the call raises, or whatever iterating its answer raises."""
    __tracebackhide__ = True
    try:
        answer = call(*args, **kwargs)
        if isinstance(answer, Iterator):
            list(answer)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised; the answer was {answer!r}")


def texts(events: Sequence[Any]) -> list[str]:
    """What the events said, in order."""
    return [event.data["text"] for event in events]
