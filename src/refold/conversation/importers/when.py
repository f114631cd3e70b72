"""Times as logs write them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from refold.conversation.importers.base import FieldReader
from refold.core.clock import to_us

TIMES: Final = ("timestamp", "created", "created_at", "create_time")
"""Where a conversation or a message may say when it was; the first that is a time holds."""


def time_us(value: Any) -> int:
    """Microseconds UTC of a time as logs write it; ValueError for what is none.

    It is ISO 8601 text, in UTC where it names no zone, or a number since 1970, its unit known by
    its size: seconds, milliseconds, microseconds or nanoseconds, from 1973 on.
    """
    try:
        number = Decimal(str(value))
        size = number.adjusted() - 8
        if number > 0 and 0 <= size < 12:
            return to_us(int(number.scaleb(6 - size // 3 * 3)))
    except InvalidOperation:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    raise ValueError(f"{value!r:.50} is not a time")


def time_in(holder: FieldReader, *keys: str) -> int | None:
    """The first of some fields that is a time, as :func:`time_us` has it; None where none is."""
    times = [holder.read(key, time_us) for key in keys or TIMES]
    return next(filter(None, times), None)  # None of them is 0: they are later than 1973.
