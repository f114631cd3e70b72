"""What every store does with the clock that it is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from refold.core.clock import LATEST_US
from refold.errors import Unavailable, UsageError
from tests.conformance.sample import OpenStore, raised, said

NO_MOMENTS = (
    -1,
    LATEST_US + 1,
    2**62,
    2**63,
    1.7e15,
    1_700_000_000.0,
    float("nan"),
    float("inf"),
    True,
    None,
    "now",
    "2026-03-01T09:00:00Z",
    datetime(2026, 3, 1),  # noqa: DTZ001 - a naive one
)


class Clocks:
    """A clock may give anything: what is recorded is a moment."""

    @pytest.mark.parametrize("reading", NO_MOMENTS, ids=repr)
    def test_a_reading_that_is_no_moment_is_refused(
        self, open_store: OpenStore, reading: Any
    ) -> None:
        """Before 1970, after 9999, or not a whole number: nothing is stored, and it says so."""
        readings = [5, reading, 6]
        clock: Callable[[], Any] = lambda: readings.pop(0)  # noqa: E731
        store = open_store(clock=clock)
        store.append("call-1", said("a"))
        error = raised(UsageError, store.append, "call-1", said("b"))
        assert repr(reading)[:20] in error.message
        assert store.append("call-1", said("c")).position == 2
        assert [e.recorded_at_us for e in store.read_all()] == [5, 6]

    @pytest.mark.parametrize("reading", [0, 1, LATEST_US])
    def test_every_moment_from_1970_to_9999_can_be_recorded(
        self, open_store: OpenStore, reading: int
    ) -> None:
        """The borders are in."""
        store = open_store(clock=lambda: reading)
        assert store.append("call-1", said("a")).recorded_at_us == reading
        (event,) = store.read("call-1")
        assert event.recorded_at_us == event.occurred_at_us == reading
        assert event.recorded_at == event.occurred_at

    def test_a_clock_that_fails_stores_nothing(self, open_store: OpenStore) -> None:
        """The caller is told what it raised, and that nothing was written."""

        def clock() -> int:
            if failing:
                raise OSError("no clock today")
            return 7

        failing = True
        store = open_store(clock=clock)
        error = raised(Unavailable, store.append, "call-1", said("a"), key="one")
        assert "no clock today" in error.message
        assert isinstance(error.__cause__, OSError)
        failing = False
        assert not store.append("call-1", said("a"), key="one").duplicate
