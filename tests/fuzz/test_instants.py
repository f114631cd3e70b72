"""Any text is an instant of the calendar, or is refused as none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core.clock import EARLIEST_US, LATEST_US, from_us
from refold.errors import UsageError
from refold.times import rfc3339, to_us
from tests.fuzz.values import ANYTHING, HALVES, TEXT, fuzzed

SHAPES = [
    r"-?\d{1,6}-\d{1,3}-\d{1,3}",
    r"\d{4}-\d\d-\d\d[T t_]\d\d:\d\d(:\d\d([.,]\d{0,12})?)?(Z|z|[+-]\d\d:?\d\d(:\d\d)?|)",
    r"\d{4}-?W\d{1,2}-?\d{0,2}",
    r"\s?\d{1,12}\s*(s|m|h|d|w|y|ms)\s?",
    r"[+-]?\d{1,20}",
    r"\d{8}(T\d{6}Z?)?",
    r"(now|today|yesterday|infinity|nan)",
]
TEXTS = st.one_of(TEXT, HALVES, *[st.from_regex(shape, fullmatch=True) for shape in SHAPES])


@fuzzed(200, 2_500)
@given(text=TEXTS, now_us=st.integers(EARLIEST_US, LATEST_US))
def test_any_text_is_an_instant_or_a_usage_error(text: str, now_us: int) -> None:
    """What is taken for an instant is one that can be shown, and is the same when read again."""
    for read in (to_us, lambda given: to_us(given, now_us=now_us)):
        try:
            us = read(text)
        except UsageError:
            continue
        assert EARLIEST_US <= us <= LATEST_US
        assert to_us(rfc3339(us)) == us == to_us(from_us(us))


@fuzzed(150, 2_500)
@given(moment=ANYTHING | st.datetimes() | st.dates() | st.times())
def test_anything_else_is_refused_as_no_instant(moment: Any) -> None:
    """Whatever a program hands over as a moment: microseconds of the calendar, or UsageError."""
    try:
        assert EARLIEST_US <= to_us(moment) <= LATEST_US
    except UsageError:
        return


def test_the_shapes_hold_instants_and_others() -> None:
    """The fuzzer would not notice if nothing were an instant, or everything."""
    assert to_us("2026-03-01T09:00:00.123456Z") == to_us("2026-03-01 10:00:00.123456+01:00")
    with pytest.raises(UsageError):
        to_us("2026-03-01T09:00:00")
