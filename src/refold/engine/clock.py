"""The system's clock, as the store takes it."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Microseconds UTC, now."""


def system_clock() -> int:
    """The machine's wall clock in microseconds UTC."""
    return time.time_ns() // 1_000
