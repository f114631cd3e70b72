"""Snapshots: a cache of folds that never changes what a fold gives."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.backends.sqlite.backend import SqliteBackend
from refold.backends.sqlite.errors import BUSY_WAIT_MS
from refold.backends.sqlite.file import connect
from refold.core.snapshot import EVENTS_BETWEEN_MIN, snapshotter_of
from refold.ports import SnapshotKeeper

KINDS = refold.Registry()


@KINDS.event("added")
class Added(msgspec.Struct):
    """A number to add."""

    amount: Decimal


class Total(msgspec.Struct):
    """What was added, and how often."""

    amount: Decimal = Decimal(0)
    count: int = 0


def total(*, factor: int = 1, revision: int = 1) -> refold.Fold[Total]:
    """A fold whose meaning can be changed."""
    fold = refold.Fold("total", Total, revision=revision, registry=KINDS)

    if factor == 1:

        @fold.on(Added)
        def add(state: Total, event: Added) -> Total:
            state.amount += event.amount
            state.count += 1
            return state

    else:

        @fold.on(Added)
        def add_twice(state: Total, event: Added) -> Total:
            state.amount += event.amount * 2
            state.count += 1
            return state

    return fold


def keeper_of(store: refold.Store) -> SnapshotKeeper:
    """The backend of a store, as a keeper of snapshots."""
    backend = store._backend
    assert isinstance(backend, SnapshotKeeper)
    return backend


def filled(path: Path | str, *, events: int, per_append: int = 7) -> refold.Store:
    """A store with a stream of numbers."""
    store = refold.open(path, registry=KINDS, synchronous="NORMAL")
    numbers = [Added(Decimal(number)) for number in range(events)]
    for start in range(0, events, per_append):
        store.append("acc-1", numbers[start : start + per_append])
    return store


def rows_read(store: refold.Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the events of every row that the backend gives from now on."""
    counts: list[int] = []
    rows = type(store._backend).rows

    def counting(self: Any, *args: Any, **options: Any) -> Any:
        found = rows(self, *args, **options)
        counts.extend(row.event_count for row in found)
        return found

    monkeypatch.setattr(type(store._backend), "rows", counting)
    return counts


@pytest.mark.parametrize("where", ["memory:", "file"])
def test_a_load_that_crosses_the_interval_leaves_a_snapshot(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second load starts at the snapshot, reads little, and gives the same state."""
    with filled("memory:" if where == "memory:" else tmp_path / "a.db", events=2_000) as store:
        fold = total()
        first = store.fold("acc-1", fold)
        counts = rows_read(store, monkeypatch)
        assert store.fold("acc-1", fold) == first
        assert sum(counts) <= EVENTS_BETWEEN_MIN + 7
        assert first.state == Total(Decimal(sum(range(2_000))), 2_000)


def test_time_travel_reads_no_more_than_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold as of a version, or of the recorded clock, starts at the snapshot before it."""
    with filled(tmp_path / "a.db", events=3_000) as store:
        fold = total()
        store.fold("acc-1", fold)
        counts = rows_read(store, monkeypatch)
        assert store.fold("acc-1", fold, version=1_500).state.count == 1_501
        assert sum(counts) <= EVENTS_BETWEEN_MIN + 14
        then = store.event("acc-1@1500").recorded_at_us
        counts.clear()
        assert store.fold("acc-1", fold, recorded_until=then).state.count >= 1_501
        assert sum(counts) <= EVENTS_BETWEEN_MIN + 14 * 14


@settings(max_examples=25)
@given(
    events=st.integers(1, 900),
    per_append=st.integers(1, 300),
    versions=st.lists(st.integers(0, 900), max_size=5),
    fork=st.integers(0, 900),
)
def test_snapshots_never_change_a_state(
    events: int, per_append: int, versions: list[int], fork: int
) -> None:
    """Any load, as of any version and along any branch, is the same with snapshots and without."""
    with filled("memory:", events=events, per_append=per_append) as store:
        at = min(fork, events - 1)
        store.branch("acc-1", at=at).adding(*[Added(Decimal(1))] * 300).save("acc-1~b")
        for stream in ("acc-1", "acc-1~b"):
            for version in [*versions, 10_000]:
                with_snapshots = store.fold(stream, total(), version=version)
                bare = total()
                bare.state_type = None
                assert store.fold(stream, bare, version=version) == with_snapshots


@pytest.mark.parametrize("forked", [False, True])
def test_no_snapshot_stands_where_a_fold_did_not_come(tmp_path: Path, forked: bool) -> None:
    """A fold that ends in the midst of a row leaves none for a version behind its end.

    Snapshots are believed once they are kept: a wrong one would lose events from then on, so it
    must never be made. Those that were made wrong before are not found out.
    """
    fold: refold.Fold[Total] = refold.Fold("watched", Total, registry=KINDS)

    @fold.on(Added)
    def add(state: Total, event: Added, _: refold.Recorded) -> Total:
        return Total(state.amount + event.amount, state.count + 1)

    with filled(tmp_path / "a.db", events=300, per_append=1) as store:
        store.compact()
        for at in (100, 140, 200):
            if forked:
                store.branch("acc-1", at=at).adding(Added(Decimal(1))).save(f"acc-1~b{at}")
                assert store.fold(f"acc-1~b{at}", fold).state.count == at + 2
            else:
                assert store.fold("acc-1", fold, version=at).state.count == at + 1
        assert store.fold("acc-1", fold).state == Total(Decimal(sum(range(300))), 300)


def test_a_changed_fold_ignores_old_snapshots(tmp_path: Path) -> None:
    """Another revision, or other code under the same revision, folds from the beginning."""
    with filled(tmp_path / "a.db", events=600) as store:
        expected = store.fold("acc-1", total()).state.amount
        assert store.fold("acc-1", total(factor=2)).state.amount == 2 * expected
        assert store.fold("acc-1", total(revision=2)).state.amount == expected


@pytest.mark.parametrize("column", ["state", "digest", "version"])
def test_a_damaged_snapshot_is_ignored_and_replaced(tmp_path: Path, column: str) -> None:
    """Changed bytes, or a snapshot moved to another version, never give a wrong state."""
    path = tmp_path / "a.db"
    with filled(path, events=600) as store:
        expected = store.fold("acc-1", total())
        assert isinstance(store._backend, SqliteBackend)
        with store._backend._reading() as connection:
            change = "version - 1" if column == "version" else f"zeroblob(length({column}))"
            connection.execute(f"UPDATE snapshots SET {column} = {change}")
        assert store.fold("acc-1", total()) == expected
        assert store.fold("acc-1", total()) == expected


def test_a_state_that_does_not_come_back_is_not_kept(tmp_path: Path) -> None:
    """A state that bytes cannot hold exactly is folded each time instead of being kept wrongly."""

    class Loose(msgspec.Struct):
        amounts: dict[str, Any]

    fold = refold.Fold("loose", lambda: Loose({}), state_type=Loose, registry=KINDS)

    @fold.on(Added)
    def add(state: Loose, event: Added) -> Loose:
        state.amounts["last"] = event.amount  # A Decimal would come back as text.
        return state

    with filled(tmp_path / "a.db", events=600) as store:
        first = store.fold("acc-1", fold)
        assert store.fold("acc-1", fold) == first == store.fold("acc-1", fold)
        assert keeper_of(store).drop_snapshots() == 0


def test_a_reader_leaves_nothing(tmp_path: Path) -> None:
    """A store opened for reading folds without writing snapshots."""
    path = tmp_path / "a.db"
    filled(path, events=600).close()
    with refold.open(path, mode="read", registry=KINDS) as store:
        assert store.fold("acc-1", total()).state.count == 600
    with refold.open(path, registry=KINDS) as store:
        assert keeper_of(store).drop_snapshots() == 0


def test_a_state_that_grows_with_its_stream_has_one_in_its_later_half(tmp_path: Path) -> None:
    """However large it is: at most as many events are folded again as went into a snapshot.

    A conversation of 60,000 events was folded anew from its 2,550th or 26,000th on.
    """
    fold: refold.Fold[list[str]] = refold.Fold("all", list, state_type=list[str], registry=KINDS)

    @fold.on(Added)
    def keep(state: list[str], event: Added) -> list[str]:
        state.append(f"{event.amount} and some words beside, for the state to be large" * 4)
        return state

    with filled(tmp_path / "a.db", events=2_600) as store:
        snapshotter = snapshotter_of(fold)
        assert snapshotter is not None
        first = store.fold("acc-1", fold)
        for last in range(EVENTS_BETWEEN_MIN - 1, 2_600, 50):
            found = keeper_of(store).snapshot(
                "acc-1", fold="all", fingerprint=snapshotter.fingerprint, last=last
            )
            assert found is not None
            assert found.version + 1 > (last + 1) / 2 - 1
        assert store.fold("acc-1", fold) == first
        assert keeper_of(store).drop_snapshots() == 4


def test_dropping_them_all_changes_nothing(tmp_path: Path) -> None:
    """Snapshots can be dropped at any time."""
    with filled(tmp_path / "a.db", events=600) as store:
        first = store.fold("acc-1", total())
        assert keeper_of(store).drop_snapshots() > 0
        assert store.fold("acc-1", total()) == first


@settings(max_examples=30)
@given(
    chance=st.randoms(use_true_random=False),
    size=st.integers(EVENTS_BETWEEN_MIN + 1, 900),
    per_append=st.integers(1, 90),
    disorder=st.sampled_from(["none", "some", "all"]),
    packed=st.booleans(),
)
def test_what_had_occurred_is_the_same_with_snapshots(
    tmp_path_factory: pytest.TempPathFactory,
    chance: random.Random,
    size: int,
    per_append: int,
    disorder: str,
    packed: bool,
) -> None:
    """As of the other clock too, in order or with late arrivals, packed or not.

    Long enough that there are snapshots, and asked for every moment: also the one that a snapshot
    ends with, and those just before and after it.
    """
    times = [chance.randint(0, 30) for _ in range(size)]
    if disorder != "all":
        times.sort()
    if disorder == "some":
        times.append(times[0])
    events = [refold.Event.of(Added(Decimal(at)), occurred_at=at) for at in times]
    path = tmp_path_factory.mktemp("occurred") / "a.db"
    with refold.open(path, registry=KINDS, synchronous="NORMAL") as store:
        for start in range(0, len(events), per_append):
            store.append("acc-1", events[start : start + per_append])
        if packed:
            store.append("acc-2", [Added(Decimal(1))])
            store.compact()
        store.fold("acc-1", total())
        for until in range(-1, 32):
            found = store.fold("acc-1", total(), occurred_until=until)
            expected = [at for at in times if at <= until]
            assert found.state == Total(Decimal(sum(expected)), len(expected))


def test_what_had_occurred_reads_no_more_than_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where events stand in the order of their times, a fold as of one starts at a snapshot."""
    with refold.open(tmp_path / "a.db", registry=KINDS, synchronous="NORMAL") as store:
        for at in range(3_000):
            store.append("acc-1", [refold.Event.of(Added(Decimal(at)), occurred_at=at)])
        store.fold("acc-1", total())
        counts = rows_read(store, monkeypatch)
        assert store.fold("acc-1", total(), occurred_until=1_400).state.count == 1_401
        assert sum(counts) <= 3 * EVENTS_BETWEEN_MIN + 20


@pytest.mark.parametrize("per_append", [1, 7])
@pytest.mark.parametrize("dated", [True, False])
def test_a_stream_that_grows_between_folds_stays_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_append: int, dated: bool
) -> None:
    """A fold that goes on from a snapshot in the midst of a page, or of an append, counts no time
    twice: what it passes is still in the order of its times.

    The page's later times were counted with the snapshot, and what followed then seemed late.
    """
    ticks = count(1)

    def numbered(at: int) -> refold.Event:
        return refold.Event.of(Added(Decimal(1)), occurred_at=at if dated else None)

    path = tmp_path / "a.db"
    with refold.open(path, registry=KINDS, synchronous="NORMAL", clock=lambda: next(ticks)) as s:
        at = 0
        for _ in range(3):
            for _ in range(1_400 // per_append):
                s.append("acc-1", [numbered(at := at + 1) for _ in range(per_append)])
            s.fold("acc-1", total())
        moment = s.event("acc-1@3500").occurred_at_us
        counts = rows_read(s, monkeypatch)
        known = s.fold("acc-1", total(), occurred_until=moment).state.count
        assert 3_501 <= known < 3_501 + per_append
        assert sum(counts) <= 3 * EVENTS_BETWEEN_MIN + 20 * per_append


def test_a_fold_is_not_held_up_by_a_writer(tmp_path: Path) -> None:
    """Who holds the write lock keeps a fold from leaving a snapshot, not from its state.

    The fold waited for the lock as long as an append would.
    """
    with refold.open(tmp_path / "a.db") as store, ThreadPoolExecutor(1) as pool:
        store.append("call-1", [refold.Event("added", {"amount": "1"})] * 300)
        other = connect(tmp_path / "a.db", mode="write")
        other.execute("BEGIN IMMEDIATE")
        try:
            folding = pool.submit(store.fold, "call-1", total())
            assert folding.result(BUSY_WAIT_MS / 2_000).state.count == 300
        finally:
            other.close()
        assert keeper_of(store).drop_snapshots() == 0
        store.fold("call-1", total())
        assert keeper_of(store).drop_snapshots() == 1
