"""Instants as integer microseconds UTC, shown as RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import msgspec

from refold.errors import UsageError, shown

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US = -62_135_596_800_000_000  # 0001-01-01, where datetime starts
LATEST_US = 253_402_300_799_999_999  # 9999-12-31, where RFC 3339 ends
_AGO = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

Instant = datetime | date | str | int
"""A moment: an aware datetime, a date (its start, UTC), RFC 3339 text, or microseconds UTC."""


def to_us(moment: Instant, *, now_us: int | None = None) -> int:
    """Microseconds UTC of a moment; :class:`UsageError` when it names no single instant.

    Where ``now_us`` says when it is now, the text may be an age too: ``2h``, ``7d``.
    """
    if isinstance(moment, str):
        ago = _AGO.fullmatch(moment.strip())
        if now_us is None or ago is None:
            moment = _parsed(moment)
        else:
            moment = now_us - int(ago[1]) * _UNIT_S[ago[2]] * 1_000_000
    if isinstance(moment, date):
        moment = _calendar_us(moment)
    if isinstance(moment, bool) or not isinstance(moment, int):
        raise UsageError(
            f"{shown(moment)} is not an instant: give a datetime, date or RFC 3339 text"
        )
    from_us(moment)  # Raises where the calendar does not hold it.
    return moment


def from_us(us: int) -> datetime:
    """The aware UTC datetime of microseconds since the epoch; see :func:`to_us`."""
    try:
        return EPOCH + timedelta(microseconds=us)
    except OverflowError as error:
        raise UsageError(f"{shown(us)} microseconds is outside the years 1 to 9999") from error


def recordable(us: object, *, what: str) -> int:
    """Microseconds that may be recorded, of the years 1970 to 9999; else :class:`UsageError`.

    ``what`` says whose they are: a clock may give anything.
    """
    if isinstance(us, bool) or not isinstance(us, int) or not 0 <= us <= LATEST_US:
        raise UsageError(
            f"{what} {shown(us)} cannot be recorded: give microseconds UTC, a whole number of the "
            "years 1970 to 9999"
        )
    return us


@lru_cache(maxsize=16)  # What is made of one event, or of one append, shares an instant.
def rfc3339(us: int) -> str:
    """RFC 3339 text in UTC with microseconds where there are any: ``2026-03-01T09:00:00Z``."""
    text: str = msgspec.to_builtins(from_us(us))
    return text


def _parsed(text: str) -> date:
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not an instant: give RFC 3339 (2026-03-01T09:00:00Z) or a date"
        ) from error


def _calendar_us(moment: date) -> int:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no time zone; add one, such as Z or +02:00")
    return (moment - EPOCH) // timedelta(microseconds=1)
