"""Clock, chance and identifiers of code that is run again are the same each time.

Pinned are ``time.time`` and ``time.time_ns``, ``uuid.uuid4`` and the functions of ``random``, for
code that looks them up where it uses them. ``datetime.now``, ``secrets``, ``os.urandom``,
generators of its own, and functions that were imported by name before, are not.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import Random
from typing import Any, Final

from refold.replay.request import ChatRequest

TICK_US: Final = 1_000
"""Each reading of the clock is so much later than the one before."""


class _Pins:
    """The clock, which begins where the conversation did, and chance, by its name."""

    def __init__(self, request: ChatRequest) -> None:
        self.now_us = request.began_us
        self.chance = Random(request.at.rpartition("@")[0])

    def time_ns(self) -> int:
        self.now_us += TICK_US
        return self.now_us * 1_000

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self.chance.getrandbits(128), version=4)


_pins: Final[ContextVar[_Pins | None]] = ContextVar("refold.freerun.pins", default=None)


@contextmanager
def pinned(request: ChatRequest) -> Iterator[None]:
    """In this block the three are those of a request's conversation; one block at a time.

    Afterwards they are what they were: no other code of the process pays for it.
    """
    pins = _Pins(request)
    token, before = _pins.set(pins), random.getstate()
    random.seed(pins.chance.getrandbits(64))
    real = {place: getattr(*place) for place in _PINNED}
    for (module, name), pinned_to in _PINNED.items():
        setattr(module, name, _standing_in(real[module, name], pinned_to))
    try:
        yield
    finally:
        for (module, name), function in real.items():
            setattr(module, name, function)
        random.setstate(before)
        _pins.reset(token)


def _standing_in(real: Callable[[], Any], pinned_to: Callable[[_Pins], Any]) -> Callable[[], Any]:
    def told() -> Any:
        pins = _pins.get()
        return real() if pins is None else pinned_to(pins)

    return told


_PINNED: Final[dict[tuple[Any, str], Callable[[_Pins], Any]]] = {
    (time, "time"): lambda pins: pins.time_ns() / 1_000_000_000,
    (time, "time_ns"): _Pins.time_ns,
    (uuid, "uuid4"): _Pins.uuid4,
}
"""What is pinned, and what it is then: other threads have what it was meanwhile."""
