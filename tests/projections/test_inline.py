"""Projections in the transaction of the append."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Append, Event, Recorded, Rejected
from refold.errors import RefoldError, UsageError
from refold.projections import Projection, Projector, Rows, inline
from tests.projections.sums import KINDS, SUMS, Kind, folded, stored, sums, told
from tests.support.stores import url_of

Open = Callable[..., refold.Store]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_inline(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens a store that keeps projections inline, one of each kind."""
    url = url_of(request.param, tmp_path)
    opened: list[refold.Store] = []

    def open_(*projections: Projection) -> refold.Store:
        opened.append(refold.open(url, synchronous="NORMAL", inline=projections))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


def picky() -> Projection:
    """Sums that fail on 13 and reject 14."""

    def fails(recorded: Recorded) -> bool:
        n = recorded.data.get("n")
        if n == 14:
            raise Rejected("unlucky", n=n)
        return bool(n == 13)

    return sums(fails_on=fails)


def added(*numbers: int) -> list[Event]:
    """Events to append."""
    return [Event("added", {"n": n}) for n in numbers]


def test_rows_stand_where_the_log_stands(open_inline: Open) -> None:
    """After every append, of every kind, the rows are those of a fold, without waiting."""
    store = open_inline(sums())
    rows = Projector(store, [sums()])
    told(store)
    assert stored(rows) == folded(store.read_all())
    store.append_together([Append("s-1", added(1)), Append("s-9", added(2))], key="k")
    store.append_together([Append("s-1", added(1)), Append("s-9", added(2))], key="k")
    assert len(list(store.append_many(Append(f"s-{n % 3}", added(n)) for n in range(300)))) == 300
    assert stored(rows) == folded(store.read_all())
    (one,) = rows.status()
    assert (one.position, one.lag_events) == (store.log_head(), 0)
    assert store.wait_for("sums", store.log_head(), timeout_s=0) == store.log_head()


def test_an_append_that_a_handler_fails_on_is_refused_alone(open_inline: Open) -> None:
    """Neither its events nor what its handler did to rows is stored; its neighbours are."""
    store = open_inline(picky())
    with pytest.raises(RefoldError) as failed:
        store.append("s-1", added(1, 13, 2))
    assert (failed.value.code, failed.value.projection) == ("projection_failed", "sums")
    assert isinstance(failed.value.__cause__, ValueError)
    with pytest.raises(Rejected) as rejected:
        store.append("s-1", added(14))
    assert (rejected.value.reason, rejected.value.n) == ("unlucky", 14)
    assert store.log_head() == 0
    outcomes = list(store.append_many(Append("s-1", added(n)) for n in range(10, 18)))
    assert [isinstance(outcome, RefoldError) for outcome in outcomes] == (
        [False] * 3 + [True] * 2 + [False] * 3
    )
    assert [e.data["n"] for e in store.read("s-1")] == [10, 11, 12, 15, 16, 17]
    assert [e.position for e in store.read_all()] == [1, 2, 3, 4, 5, 6]
    assert stored(Projector(store, [picky()])) == folded(store.read_all())


def test_a_refused_append_of_new_names_leaves_none(open_inline: Open) -> None:
    """A stream and a type that only a refused append had are not there afterwards."""
    store = open_inline(picky())
    with pytest.raises(RefoldError):
        store.append("new-1", [Event("new.type", {}), *added(13)])
    store.append("other-1", [Event("other.type", {}), *added(1)])
    assert [info.stream for info in store.streams()] == ["other-1"]
    assert [e.type for e in store.read_all()] == ["other.type", "added"]
    assert all(check.good for check in store.check())


def test_concurrent_appends_and_refusals_add_up(open_inline: Open) -> None:
    """Eight threads, one in ten of their appends refused: the rows are those of what is stored."""
    store = open_inline(picky())
    refused: list[int] = []

    def work(number: int) -> None:
        for n in range(40):
            try:
                store.append(f"s-{number % 3}", added(100 + n if n % 10 != 3 else 13, number))
            except RefoldError as error:
                assert error.code == "projection_failed"
                refused.append(n)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 8 * 4
    assert store.log_head() == 8 * 36 * 2
    assert stored(Projector(store, [picky()])) == folded(store.read_all())


def test_whoever_reads_an_event_reads_its_rows(tmp_path: Path) -> None:
    """At any moment one look at the database sees a log and rows that stand alike."""
    with (
        refold.open(tmp_path / "log.db", synchronous="NORMAL", inline=[sums()]) as store,
        refold.open(tmp_path / "log.db", mode="read") as reader,
    ):
        looked = Projector(reader, [sums()])
        differences: list[Any] = []
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                ((rows, log),) = looked.query(
                    "SELECT (SELECT ifnull(sum(events), 0) FROM kinds),"
                    " (SELECT ifnull(sum(count), 0) FROM log)"
                )
                if rows != log:
                    differences.append((rows, log))

        watcher = threading.Thread(target=look)
        watcher.start()
        told(store, 150)
        done.set()
        watcher.join()
        assert differences == []


def test_what_others_append_is_caught_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without the projection appends to the file: the next inline commit has it all.

    A little of it within the commit, much of it before; packed or not.
    """
    monkeypatch.setattr(inline, "BEHIND_MAX", 20)
    with (
        refold.open(tmp_path / "log.db", synchronous="NORMAL", inline=[sums()]) as store,
        refold.open(tmp_path / "log.db", synchronous="NORMAL") as other,
    ):
        rows = Projector(store, [sums()])
        for appends in (3, 40, 1):
            told(other, appends)
            assert stored(rows) != folded(store.read_all())
            store.append("s-1", added(5))
            assert stored(rows) == folded(store.read_all())
        told(other, 30)
        other.compact()
        store.append("s-1", added(5))
        assert stored(rows) == folded(store.read_all())
    with refold.open(tmp_path / "log.db") as other:
        told(other, 30)
    with refold.open(tmp_path / "log.db", inline=[sums()]) as store:
        assert stored(Projector(store, [sums()])) == folded(store.read_all())


def test_others_append_at_the_same_time(tmp_path: Path) -> None:
    """Two inline stores, one without and a follower on one file: the rows are those of a fold."""
    path = tmp_path / "log.db"
    with refold.open(path, synchronous="NORMAL", inline=[picky()]):
        pass

    def work(number: int) -> None:
        kept = [picky()] if number < 2 else []
        with refold.open(path, synchronous="NORMAL", inline=kept) as store:
            for n in range(60):
                try:
                    store.append(f"s-{(number + n) % 3}", added(13 if n % 9 == 4 else 100 + n))
                except RefoldError as error:
                    assert error.code == "projection_failed"

    with refold.open(path, synchronous="NORMAL") as store:
        follower = Projector(store, [picky()])
        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        threads.append(threading.Thread(target=follower.run))
        for thread in threads:
            thread.start()
        for n in range(60):
            store.append(f"t-{n % 3}", added(100 + n))
        for thread in threads[:2]:
            thread.join()
        follower.close()
        threads[2].join()
        follower = Projector(store, [picky()])
        follower.catch_up()
        assert follower.status()[0].parked == ()
        assert stored(follower) == folded(store.read_all())


def test_a_failing_event_of_others_is_set_aside(tmp_path: Path) -> None:
    """An event that another process stored cannot be refused: its stream waits, appends go on."""
    with (
        refold.open(tmp_path / "log.db", inline=[picky()]) as store,
        refold.open(tmp_path / "log.db") as other,
    ):
        other.append("s-1", added(1, 13, 2))
        store.append("s-2", added(5))
        store.append("s-1", added(6))
        projector = Projector(store, [picky()])
        (one,) = projector.status()
        assert [parked.id for parked in one.parked] == ["s-1@1"]
        assert one.lag_events == 0
        assert projector.skip("sums", "s-1@1", reason="unlucky") == []
        # Sums alone: that something was skipped is an event too, and counted with the next append.
        expected = folded(e for e in store.read_all() if e.id != "s-1@1")
        assert projector.rows(SUMS) == sorted(expected[0].values(), key=lambda row: row.stream)
        store.append("s-1", added(7))
        (row,) = [row for row in projector.rows(SUMS) if row.stream == "s-1"]
        assert (row.events, row.amount) == (4, 1 + 2 + 6 + 7)


def test_a_rebuild_beside_an_inline_store(tmp_path: Path) -> None:
    """Rebuilt by the same code while inline appends go on: these go on in the new generation."""
    path = tmp_path / "log.db"
    with refold.open(path, synchronous="NORMAL", inline=[sums()]) as store:
        told(store)
        with refold.open(path) as beside:
            Projector(beside, [sums()]).rebuild("sums")
        told(store)
        projector = Projector(store, [sums()])
        assert projector.status()[0].generation == 2
        assert stored(projector) == folded(store.read_all())
        with refold.open(path) as beside:
            Projector(beside, [sums(revision=2)]).rebuild("sums")
        with pytest.raises(UsageError) as refused:
            store.append("s-1", added(1))
        assert refused.value.code == "projection_changed"


def test_a_constraint_over_streams_by_a_handler(open_inline: Open) -> None:
    """A handler that raises `Rejected` holds a rule over all streams, exactly."""
    names = Projection("names", tables=[KINDS])

    @names.on("registered")
    def _(rows: Rows, event: dict[str, str]) -> None:
        if rows.get(KINDS, event["name"]) is not None:
            raise Rejected("name_taken", name=event["name"])
        rows.put(KINDS, Kind(event["name"], 1))

    store = open_inline(names)
    taken = 0
    threads = []

    def register(number: int) -> None:
        nonlocal taken
        for n in range(10):
            try:
                store.append(f"agent-{number}-{n}", [Event("registered", {"name": f"a{n}"})])
            except Rejected:
                taken += 1

    for number in range(4):
        threads.append(threading.Thread(target=register, args=(number,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sorted(e.data["name"] for e in store.read_all()) == [f"a{n}" for n in range(10)]


def test_asyncio_keeps_them_too(tmp_path: Path) -> None:
    """`open_async(inline=…)`: the same rows, the same refusals, and `wait_for` to await."""

    async def work() -> None:
        async with refold.open_async(tmp_path / "log.db", inline=[picky()]) as store:
            appends = [store.append(f"s-{n % 3}", added(n)) for n in range(30)]
            outcomes = await asyncio.gather(*appends, return_exceptions=True)
            assert sum(isinstance(outcome, RefoldError) for outcome in outcomes) == 2
            assert await store.wait_for("sums", 28, timeout_s=0) == 28

    asyncio.run(work())
    with refold.open(tmp_path / "log.db") as store:
        assert stored(Projector(store, [picky()])) == folded(store.read_all())


def test_opening_for_reading_or_with_changed_code_is_refused(tmp_path: Path) -> None:
    """Inline means writing; a changed projection is rebuilt before it is kept inline again."""
    path = tmp_path / "log.db"
    with refold.open(path, inline=[sums()]) as store:
        told(store)
    with pytest.raises(UsageError) as refused:
        refold.open(path, inline=[sums(revision=2)])
    assert refused.value.code == "projection_changed"
    with refold.open(path) as store:
        store.append("s-1", added(1))
    with pytest.raises(UsageError) as refused:
        refold.open(path, mode="read", inline=[sums()])
    assert refused.value.code == "not_writable"
