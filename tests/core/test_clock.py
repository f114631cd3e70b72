"""Instants: what names one, and how it is shown."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core.clock import EARLIEST_US, LATEST_US, from_us, rfc3339, to_us
from refold.errors import UsageError

DAY_US = 86_400_000_000
INSTANTS_US = st.integers(EARLIEST_US, LATEST_US)


@given(INSTANTS_US)
def test_microseconds_are_shown_and_read_without_loss(us: int) -> None:
    """As RFC 3339, as a datetime, and as a number, for every microsecond of the calendar."""
    assert to_us(rfc3339(us)) == us
    assert to_us(from_us(us)) == us
    assert to_us(us) == us


@given(st.integers(EARLIEST_US + DAY_US, LATEST_US - DAY_US), st.integers(-1439, 1439))
def test_a_time_zone_moves_nothing(us: int, offset_minutes: int) -> None:
    """The same moment in any zone is the same instant."""
    elsewhere = from_us(us).astimezone(timezone(timedelta(minutes=offset_minutes)))
    assert to_us(elsewhere) == to_us(elsewhere.isoformat()) == us


@pytest.mark.parametrize(
    ("moment", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        (date(1970, 1, 2), 86_400_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_a_moment_is_an_instant(moment: Any, us: int) -> None:
    """Text, dates and aware datetimes; a date is its start in UTC."""
    assert to_us(moment) == us


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 1),  # noqa: DTZ001
        "2026-03-01T09:00:00",
        "2026-02-30",
        "2026-13-01T00:00:00Z",
        "yesterday",
        "",
        "0000-01-01",
        True,
        None,
        1.5,
        [],
        b"2026-03-01",
        EARLIEST_US - 1,
        LATEST_US + 1,
        10**40,
        "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59-23:00",
    ],
)
def test_what_names_no_single_instant_is_refused(moment: Any) -> None:
    """No zone, no such day, no text at all, or outside the years 1 to 9999 in UTC."""
    with pytest.raises(UsageError):
        to_us(moment)


@pytest.mark.parametrize(
    ("text", "ago_s"),
    [("90s", 90), ("5m", 300), ("2h", 7_200), ("7d", 604_800), (" 1 w ", 604_800)],
)
def test_an_age_is_counted_from_now(text: str, ago_s: int) -> None:
    """``2h`` is two hours before the moment that the caller gives."""
    assert to_us(text, now_us=10**15) == 10**15 - ago_s * 1_000_000


def test_an_instant_is_not_an_age() -> None:
    """Other text is read as RFC 3339, whatever the time is now."""
    assert to_us("1970-01-02", now_us=5) == 86_400_000_000
    for text in ("2 hours", "-2h", "2h ago", "999999999w"):
        with pytest.raises(UsageError):
            to_us(text, now_us=0)
