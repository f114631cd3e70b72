"""What every store does with the clock that it is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from refold.core.clock import LATEST_US
from refold.core.event import Event
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Unavailable, UsageError
from refold.ports import CLOCK_STREAM
from refold.times import check_times, clock_behind_us, restart_clock
from tests.conformance.sample import HandClock, OpenStore, ledger, raised, said

SECOND = 1_000_000
YEAR = 365 * 86_400 * SECOND

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


def opened(store: Any) -> Store:
    """The store itself, of one for asyncio too."""
    store.log_head()  # One for asyncio opens at its first call.
    found: Store = getattr(getattr(store, "_store", None), "_opened", store)
    return found


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

    def test_an_event_occurs_when_the_clock_says(self, open_store: OpenStore) -> None:
        """Also where the clock stands behind the log; an event's own time goes first."""
        clock = HandClock(500)
        store = open_store(clock=clock)
        store.append("call-1", said("a"))
        clock.us = 300
        mixed = [*said("b"), Event("test.own", {}, occurred_at=100), *said("c")]
        own = Event("test.own", {}, occurred_at=900)
        store.append("call-1", mixed)
        store.append_together([Append("call-1", [own]), Append("call-2", said("d"))])
        clock.us = 501
        store.append("call-1", said("e"))
        seen = [(e.occurred_at_us, e.recorded_at_us) for e in store.read_all()]
        behind = [(300, 500), (100, 500), (300, 500), (900, 500), (300, 500)]
        assert seen == [(500, 500), *behind, (501, 501)]
        assert store.fold("call-1", ledger, occurred_until=300).state.texts == ["b", "c"]
        assert store.fold("call-1", ledger, occurred_until=299).state.texts == []
        # By less than a minute: recorded_at is believed.
        assert store.fold("call-1", ledger, recorded_until=400).state.texts == []
        assert store.fold("call-1", ledger, recorded_until=500).state.texts == ["a", "b", "c"]

    def test_a_key_repeats_whatever_the_clock_says(self, open_store: OpenStore) -> None:
        """What the clock said is no part of what a key stands for."""
        clock = HandClock(900 * SECOND)
        store = open_store(clock=clock)
        store.append("call-1", said("a"), key="one")
        clock.us = 899 * SECOND
        first = store.append("call-1", said("b"), key="two")
        again = store.append("call-1", said("b"), key="two")
        assert again == first._replace(duplicate=True)
        assert store.find("two") == [again]

    def test_a_clock_that_is_behind_is_told_once(self, open_store: OpenStore) -> None:
        """By more than a minute, at the first append; and by a figure."""
        clock = HandClock(YEAR)
        store = open_store(clock=clock)
        store.append("call-1", said("a"))
        clock.us = YEAR - 60 * SECOND
        store.append("call-1", said("b"))
        assert clock_behind_us(opened(store)) == 60 * SECOND
        clock.us -= 1
        with pytest.warns(RuntimeWarning, match="restart-clock"):
            store.append("call-1", said("c"))
        store.append("call-1", said("d"))
        assert clock_behind_us(opened(store)) == 60 * SECOND + 1
        assert [check.good for check in check_times(opened(store))] == [False, True]
        clock.us = YEAR + 1
        assert clock_behind_us(opened(store)) == 0
        assert all(check.good for check in check_times(opened(store)))

    def test_time_begins_again_where_it_is_told_to(self, open_store: OpenStore) -> None:
        """One event is added, none is changed, and from there on the clock counts."""
        clock = HandClock(YEAR)
        store = open_store(clock=clock)
        raised(UsageError, restart_clock, opened(store))
        store.append("call-1", said("a"))
        clock.us = 100 * YEAR
        store.append("call-2", said("wrong"))
        clock.us = YEAR + 10
        with pytest.warns(RuntimeWarning):
            store.append("call-1", said("b"))
        before = list(store.read_all())
        clock.us = YEAR + 20
        turn = restart_clock(opened(store))
        assert (turn.stream, turn.position, turn.recorded_at_us) == (CLOCK_STREAM, 4, YEAR + 20)
        clock.us = YEAR + 30
        assert store.append("call-1", said("c")).recorded_at_us == YEAR + 30
        assert list(store.read_all(limit=3)) == before
        assert clock_behind_us(opened(store)) == 0
        assert all(check.good for check in store.check())
        raised(UsageError, restart_clock, opened(store))

    def test_what_was_known_where_time_went_back(self, open_store: OpenStore) -> None:
        """Each append by what the clock said of it, and with it whatever stands before it."""
        clock = HandClock(YEAR)
        store = open_store(clock=clock)
        at = [1, 2, 99 * YEAR, 98 * YEAR, 3, 5, 4, 6]
        with pytest.warns(RuntimeWarning):
            for index, clock.us in enumerate(YEAR + one for one in at):
                store.append(f"call-{index % 2}", said(str(index)))
        store.branch("call-0", at=2).adding(said("own")[0]).save("call-0~b")

        def known(us: int) -> list[list[str]]:
            streams = ("call-0", "call-1", "call-0~b")
            return [store.fold(one, ledger, recorded_until=us).state.texts for one in streams]

        def check() -> None:
            assert known(YEAR) == [[], [], []]
            assert known(YEAR + 1) == [["0"], [], ["0"]]
            assert known(YEAR + 2) == [["0"], ["1"], ["0"]]
            assert known(YEAR + 3) == [["0", "2", "4"], ["1", "3"], ["0", "2", "4"]]
            # The reading of 4 came after that of 5: what stands before it was known.
            assert known(YEAR + 4) == [["0", "2", "4", "6"], ["1", "3", "5"], ["0", "2", "4"]]
            assert known(YEAR + 5) == known(YEAR + 4)
            assert known(YEAR + 6) == [
                ["0", "2", "4", "6"],
                ["1", "3", "5", "7"],
                ["0", "2", "4", "own"],
            ]
            assert known(200 * YEAR) == known(YEAR + 9)

        check()
        clock.us = YEAR + 10
        restart_clock(opened(store))
        check()
        for clock.us in range(YEAR + 11, YEAR + 14):
            store.append("call-1", said(str(clock.us - YEAR)))
        check_after = [known(YEAR + us)[1][4:] for us in range(10, 14)]
        assert check_after == [[], ["11"], ["11", "12"], ["11", "12", "13"]]

    def test_time_may_begin_again_more_than_once(self, open_store: OpenStore) -> None:
        """Also back behind an earlier beginning: what was known is what was known by then."""
        clock = HandClock()
        store = open_store(clock=clock)
        with pytest.warns(RuntimeWarning):
            for number, wrong in enumerate((50, 40, 60), 1):
                for clock.us in (wrong * YEAR, number * YEAR):
                    store.append("call-1", said(f"{clock.us // YEAR}"))
                clock.us += 1
                restart_clock(opened(store))
        ends = [["50", "1"], ["50", "1", "40", "2"], ["50", "1", "40", "2", "60", "3"]]
        for number, texts_then in enumerate(ends, 1):
            for us in (number * YEAR, number * YEAR + 1, number * YEAR + 5):
                assert store.fold("call-1", ledger, recorded_until=us).state.texts == texts_then
        assert store.fold("call-1", ledger, recorded_until=YEAR - 1).state.texts == []

    def test_who_follows_sees_positions_alone(self, open_store: OpenStore) -> None:
        """A subscription gives each event once, in order, across a beginning of time."""
        clock = HandClock(100 * YEAR)
        store = open_store(clock=clock)
        store.append("call-1", said("a"))
        clock.us = YEAR
        with pytest.warns(RuntimeWarning):
            store.append("call-1", said("b"))
        restart_clock(opened(store))
        store.append("call-1", said("c"))
        assert [e.position for e in store.read_all()] == [1, 2, 3, 4]
        assert [e.recorded_at_us // YEAR for e in store.read_all()] == [100, 100, 1, 1]
        assert store.fold("call-1", ledger, position=2).state.texts == ["a", "b"]
        assert store.fold("call-1", ledger, version=2).state.texts == ["a", "b", "c"]
