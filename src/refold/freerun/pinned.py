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
    for (module, name), made in _PINNED.items():
        setattr(module, name, made(real[module, name]))
    try:
        yield
    finally:
        for (module, name), function in real.items():
            setattr(module, name, function)
        random.setstate(before)
        _pins.reset(token)


def _time(real: Callable[[], float]) -> Callable[[], float]:
    def now_s() -> float:
        pins = _pins.get()
        return real() if pins is None else pins.time_ns() / 1_000_000_000

    return now_s


def _time_ns(real: Callable[[], int]) -> Callable[[], int]:
    def now_ns() -> int:
        pins = _pins.get()
        return real() if pins is None else pins.time_ns()

    return now_ns


def _uuid4(real: Callable[[], uuid.UUID]) -> Callable[[], uuid.UUID]:
    def uuid4() -> uuid.UUID:
        pins = _pins.get()
        if pins is None:
            return real()
        return uuid.UUID(int=pins.chance.getrandbits(128), version=4)

    return uuid4


_PINNED: Final[dict[tuple[Any, str], Callable[[Any], Any]]] = {
    (time, "time"): _time,
    (time, "time_ns"): _time_ns,
    (uuid, "uuid4"): _uuid4,
}
"""What is pinned, and what makes it of what it is: other threads have theirs meanwhile."""
