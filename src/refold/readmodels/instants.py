"""Times as the tables show them: RFC 3339 in UTC with six digits, so that text order is time order.

The view ``events`` of the log shows them the same way.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from refold.core.clock import from_us

_MS: Final = timedelta(milliseconds=1)
_KEPT: Final = 4_096


@lru_cache(maxsize=_KEPT)
def shown(us: int) -> str:
    """Microseconds UTC as text: ``2026-03-01T09:00:00.000000Z``."""
    return from_us(us).isoformat(timespec="microseconds")[:-6] + "Z"


def day(us: int) -> str:
    """The day of a moment, UTC: ``2026-03-01``."""
    return shown(us)[:10]


def elapsed_ms(earlier: str, later: str) -> int:
    """Whole milliseconds from one shown moment to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)) // _MS
