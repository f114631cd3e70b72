"""A log whose clock went back, in a file: packed, copied, opened again, by several stores."""

from __future__ import annotations

import warnings
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold import Event
from refold.engine.moments import BEHIND_US, position_known
from refold.ports import CLOCK_STREAM
from refold.times import check_times, clock_behind_us, restart_clock, to_us

YEAR = 365 * 86_400 * 1_000_000
NOW = 56 * YEAR
Log = list[tuple[int, int | None, bool]]


def count_fold() -> refold.Fold[int]:
    """How many events there are."""
    fold: refold.Fold[int] = refold.Fold("count", int)
    fold.on("test.said")(lambda state, _: state + 1)
    return fold


class Hand:
    """A clock that is set."""

    us = NOW

    def __call__(self) -> int:
        return self.us


def wrong_once(store: refold.Store, clock: Hand) -> None:
    """Three appends, one in 2100, three more a second apart; then time begins again, and three."""

    def append(count: int) -> None:
        for _ in range(count):
            clock.us += 1_000_000
            store.append("call-1", [Event("test.said", {}), Event("test.said", {})])

    append(3)
    right, clock.us = clock.us, NOW + 74 * YEAR
    append(1)
    clock.us = right
    with pytest.warns(RuntimeWarning):
        append(3)
    clock.us += 1_000_000
    restart_clock(store)
    append(3)


def answers(store: refold.Store) -> list[int]:
    """What was known at every second, and far away."""
    moments = [NOW - YEAR, *range(NOW, NOW + 12_000_000, 500_000), NOW + YEAR, NOW + 75 * YEAR]
    fold = count_fold()
    return [store.fold("call-1", fold, recorded_until=us).state for us in moments]


EXPECTED = [0, *(2 * n for n in (0, 0, 1, 1, 2, 2, 3, 3, 5, 5, 6, 6, 7, 7)), 14, 14]
EXPECTED += [*(2 * n for n in (8, 8, 9, 9, 10, 10, 10, 10)), 20, 20]


def test_packed_copied_and_opened_again_it_answers_the_same(tmp_path: Path) -> None:
    """Nothing that was known changes; the events are those that they were."""
    clock = Hand()
    with refold.open(tmp_path / "a.db", clock=clock) as store:
        wrong_once(store, clock)
        assert answers(store) == EXPECTED
        before = list(store.read_all())
        assert store.compact(recorded_before=NOW + 4_000_000).events == 6
        assert answers(store) == EXPECTED
        store.compact()
        assert answers(store) == EXPECTED
        assert list(store.read_all()) == before
        assert all(check.good for check in (*store.check(), *check_times(store)))
        store.backup(tmp_path / "b.db")
    for name in ("a.db", "b.db"):
        with refold.open(tmp_path / name, clock=clock) as store:
            assert answers(store) == EXPECTED
            assert list(store.read_all()) == before
            clock.us += 1
            assert store.append("call-1", [Event("test.said", {})]).recorded_at_us == clock.us
            assert all(check.good for check in store.check())


def test_the_sql_view_says_when_events_occurred(tmp_path: Path) -> None:
    """What the clock said, where an event says nothing of its own."""
    clock = Hand()
    with refold.open(tmp_path / "a.db", clock=clock) as store:
        wrong_once(store, clock)
        said = [(e.position, e.occurred_at_us, e.recorded_at_us) for e in store.read_all()]
    sql = "SELECT position, occurred_at, recorded_at FROM events ORDER BY position"
    shown = apsw.Connection(str(tmp_path / "a.db")).execute(sql).fetchall()
    times = [(position, to_us(str(at)), to_us(str(to))) for position, at, to in shown]
    assert times == said


def test_another_store_on_the_file_knows_that_time_began_again(tmp_path: Path) -> None:
    """It records after the last event, whoever appended that."""
    clock, other_clock = Hand(), Hand()
    with (
        refold.open(tmp_path / "a.db", clock=clock) as store,
        refold.open(tmp_path / "a.db", clock=other_clock) as other,
    ):
        other.append("call-2", [Event("test.said", {})])
        wrong_once(store, clock)
        other_clock.us = clock.us + 1
        assert other.append("call-2", [Event("test.said", {})]).recorded_at_us == other_clock.us
        assert other.fold("call-2", count_fold(), recorded_until=clock.us).state == 1


def test_inline_projections_go_over_a_beginning_of_time(tmp_path: Path) -> None:
    """The event that begins time is stored beside them, like any other."""
    from refold import readmodels

    clock = Hand()
    with refold.open(tmp_path / "a.db", clock=clock, inline=[readmodels.costs]) as store:
        wrong_once(store, clock)
        assert answers(store) == EXPECTED


READINGS = st.integers(0, 6).map(lambda n: n * 20_000_000) | st.sampled_from([YEAR, 2 * YEAR])
STEPS = st.lists(READINGS | st.none(), min_size=1, max_size=12)


def naively(log: Log, until_us: int) -> int:
    """The rule, written out: how many of the appends were known by an instant."""
    turns = [index for index, (_, _, is_turn) in enumerate(log) if is_turn]
    begun = [index for index in turns if log[index][0] <= until_us]
    low = begun[-1] if begun else 0
    high = next((index for index in turns if index > low and log[index][0] > until_us), len(log))
    stretch = log[low:high]
    known = sum(recorded <= until_us for recorded, _, _ in stretch)
    last, newest, _ = stretch[-1] if stretch else (0, None, False)
    if newest is not None and last - newest > BEHIND_US:
        for index, (recorded, reading, _) in enumerate(stretch, 1):
            if recorded > newest and reading is not None and reading <= until_us:
                known = max(known, index)
    return low + known


@settings(max_examples=60)
@given(steps=STEPS, until=READINGS, pack=st.booleans())
def test_any_readings_and_beginnings_answer_by_the_rule(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | None], until: int, pack: bool
) -> None:
    """In memory and in a file, packed or not; the log is as sound as any other."""
    folder = tmp_path_factory.mktemp("clock")
    for where in ["memory:", str(folder / "a.db")][: 1 + pack]:
        clock = Hand()
        log: Log = []
        with refold.open(where, clock=clock) as store, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for step in steps:
                if step is not None:
                    clock.us = step
                    store.append(f"call-{len(log) % 3}", [Event("test.said", {})])
                elif clock_behind_us(store) > BEHIND_US:
                    restart_clock(store)
            for event in store.read_all():
                recorded, occurred = event.recorded_at_us, event.occurred_at_us
                reading = None if occurred == recorded else occurred
                log.append((recorded, reading, event.stream == CLOCK_STREAM))
            if where != "memory:":
                store.compact()
            assert position_known(store._backend, until) == naively(log, until)
            assert all(check.good for check in store.check())
