"""When to ask and when to ask again: pure, on a clock that the caller reads."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Final, Protocol

from refold.errors import UsageError

BACKOFF_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
RETRY_AFTER_MAX_S: Final = 120.0
"""A service that asks for a longer pause is given up for this decision."""


class Pace(Protocol):
    """A clock, a way to wait on it, and chance."""

    def now_s(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass; may raise to end what is being waited for."""
        ...

    def roll(self) -> float:
        """A random number from 0 to 1."""
        ...


class RateLimiter:
    """Gives every request its moment, at most ``requests_per_second``; safe between threads.

    None is no limit. Times are seconds on any clock that does not go back.
    """

    def __init__(self, requests_per_second: float | None = None) -> None:
        if requests_per_second is not None and not requests_per_second > 0:
            raise UsageError(
                f"requests_per_second={requests_per_second!r} must be over 0, or None for no limit",
                argument="requests_per_second",
            )
        self._interval_s = 0.0 if requests_per_second is None else 1 / requests_per_second
        self._free_s = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, now_s: float) -> float:
        """The moment, now or later, at which the next request may go; it is taken by this call."""
        with self._lock:
            at_s = max(now_s, self._free_s)
            self._free_s = at_s + self._interval_s
            return at_s

    def hold(self, until_s: float) -> None:
        """Let nobody else go before a moment: the service asked for a pause."""
        with self._lock:
            self._free_s = max(self._free_s, until_s)


def backoff_s(attempt: int, roll: float, *, first_s: float | None = None) -> float:
    """How long to wait after the ``attempt``-th failure (from 1): exponential, with full jitter.

    ``roll`` is a random number from 0 to 1, ``first_s`` (default: ``BACKOFF_S``) the longest first
    wait, doubled each time up to ``BACKOFF_MAX_S``. Source: Brooker 2015, "Exponential backoff and
    jitter", AWS Architecture Blog.
    """
    longest_s = BACKOFF_S if first_s is None else first_s
    return min(BACKOFF_MAX_S, longest_s * 2.0 ** min(attempt - 1, 16)) * roll


def retry_after_s(header: str | None, *, now: datetime) -> float | None:
    """Seconds of a ``Retry-After`` header, a number or a date (RFC 9110, section 10.2.3)."""
    # Some 10 ms, which a start without network need not spend.
    from email.utils import parsedate_to_datetime

    if header is None:
        return None
    text = header.strip()
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text)
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
