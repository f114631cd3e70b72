"""What the casino can be told to do wrong."""

from __future__ import annotations

import random
import threading
from typing import Any, Final

import msgspec

Rate = float


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rates are 0 to 1, an answer or a transaction each; without any, the casino is well.

    ``fail``: status 503, and nothing was done. ``lose``: it was done, and no answer comes: silence
    for ``silence_s`` or a broken line. ``repeat``: a transaction is listed twice. ``reorder``: the
    transactions of a page are in no order. ``unknown``: a transaction of a type that nobody has
    heard of comes after a bet. ``late_s``: transactions are listed up to so much later. ``skew_s``:
    how far the clock is ahead. ``requests_per_second``: more than that get 429 and a
    ``Retry-After`` of ``retry_after_s``; 0 is no limit.
    """

    fail: Rate = 0.0
    lose: Rate = 0.0
    silence_s: float = 0.1
    repeat: Rate = 0.0
    reorder: Rate = 0.0
    unknown: Rate = 0.0
    late_s: float = 0.0
    skew_s: float = 0.0
    requests_per_second: float = 0.0
    retry_after_s: float = 0.02


ALL: Final = Faults(
    fail=0.03,
    lose=0.03,
    repeat=0.1,
    reorder=0.3,
    unknown=0.02,
    late_s=0.2,
    skew_s=90.0,
    requests_per_second=2_000,
)
"""Everything at once: what the example is tested under."""


class Chance:
    """A seeded source of bad luck. Safe between threads."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def hits(self, rate: Rate) -> bool:
        """Whether something with this rate happens now."""
        if not rate:
            return False
        with self._lock:
            return self._random.random() < rate

    def up_to(self, most: float) -> float:
        """Some number from 0 to that."""
        with self._lock:
            return self._random.uniform(0, most)

    def shuffled(self, items: list[Any]) -> list[Any]:
        """The same items in another order."""
        with self._lock:
            return self._random.sample(items, len(items))

    def seed(self) -> str:
        """A fresh secret of 64 hexadecimal digits."""
        with self._lock:
            return self._random.randbytes(32).hex()
