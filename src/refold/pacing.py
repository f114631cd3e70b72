"""When a service is asked, and when it is asked again: decided from arguments alone."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from refold.errors import UsageError

BACKOFF_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
STAGGERED_S: Final = 2.0
RETRY_AFTER_MAX_S: Final = 120.0
"""A service that asks for a longer pause is given up for this request."""


class Pace:
    """A clock, ways to wait on it, and chance: the machine's own. Tests put theirs in its place."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Let time pass; may raise to end what is being waited for."""
        time.sleep(seconds)

    async def sleep(self, seconds: float) -> None:
        """The same, on an event loop."""
        await asyncio.sleep(seconds)

    def roll(self) -> float:
        """A random number from 0 to 1: nothing that is recorded depends on it."""
        return random.random()


class RateLimiter:
    """Gives every request its moment, at most ``requests_per_second``; safe between threads.

    None is no limit. Times are seconds on any clock that does not go back. After a pause that the
    service asked for, those who waited go ``stagger_s`` after one another, for two seconds.
    """

    def __init__(
        self,
        requests_per_second: float | None = None,
        name: str = "requests_per_second",
        *,
        stagger_s: float = 0.0,
    ) -> None:
        if requests_per_second is not None and not requests_per_second > 0:
            raise UsageError(
                f"{name}={requests_per_second!r} must be over 0, or None for no limit",
                argument=name,
            )
        self._interval_s = 0.0 if requests_per_second is None else 1 / requests_per_second
        self._stagger_s = stagger_s
        self._free_s = self._held_s = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, now_s: float, weight: float = 1.0) -> float:
        """The moment, now or later, at which the next request may go; it is taken by this call.

        ``weight`` is as how many it counts.
        """
        with self._lock:
            at_s = max(now_s, self._free_s)
            interval_s = self._interval_s * weight
            if self._held_s <= at_s < self._held_s + STAGGERED_S:
                interval_s = max(interval_s, self._stagger_s)
            self._free_s = at_s + interval_s
            return at_s

    def hold(self, until_s: float) -> None:
        """Let nobody else go before a moment: the service asked for a pause."""
        with self._lock:
            self._free_s = max(self._free_s, until_s)
            self._held_s = max(self._held_s, until_s)

    def another(self) -> RateLimiter:
        """A limiter of the same rate for another service, which nobody has asked yet."""
        rate = 1 / self._interval_s if self._interval_s else None
        return RateLimiter(rate, stagger_s=self._stagger_s)

    def is_held(self, now_s: float) -> bool:
        """Whether somebody asked for a pause that is not over: a moment reserved before is void."""
        return now_s < self._held_s


@dataclass
class Retries:
    """What is seen while one request is sent up to ``attempts_max`` times.

    ``first_s`` is the longest first wait after a failure, by default ``BACKOFF_S``.
    """

    attempts_max: int
    limiter: RateLimiter
    pace: Pace
    first_s: float | None = None
    seen: Counter[str] = field(default_factory=Counter)

    def turn_s(self) -> float:
        """Seconds until the limiter lets the next attempt go."""
        now_s = self.pace.now_s()
        return self.limiter.reserve(now_s) - now_s

    def pause_s(self, kind: str, asked_s: float | None, *, most: int | None = None) -> float | None:
        """How long to wait after a failure before the next attempt; None: that was the last.

        ``most`` bounds failures of this kind. ``asked_s`` is the pause that the service asked for:
        everyone who asks the same limiter keeps it, for the service means them all.
        """
        self.seen[kind] += 1
        attempt, asked_s = self.seen.total(), asked_s or 0.0
        is_last = attempt >= self.attempts_max or self.seen[kind] == most
        if is_last or asked_s > RETRY_AFTER_MAX_S:
            return None
        if asked_s:
            self.limiter.hold(self.pace.now_s() + asked_s)
        return backoff_s(attempt, self.pace.roll(), first_s=self.first_s)


def backoff_s(
    attempt: int, roll: float, *, first_s: float | None = None, longest_s: float = BACKOFF_MAX_S
) -> float:
    """How long to wait after the ``attempt``-th failure (from 1): exponential, with full jitter.

    ``roll`` is a random number from 0 to 1 (from 0.5, where half of each wait is to be certain),
    ``first_s`` (default: ``BACKOFF_S``) the longest first wait, doubled each time up to
    ``longest_s``. Source: Brooker 2015, "Exponential backoff and jitter", AWS Architecture Blog.
    """
    first_s = BACKOFF_S if first_s is None else first_s
    return min(longest_s, first_s * 2.0 ** min(attempt - 1, 64)) * roll
