"""The months of a store in PostgreSQL: made ahead, taken out, brought back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import refold
from refold import ANY, Event
from refold.backends.postgres import waits
from refold.backends.postgres.address import parsed
from refold.core.query import Query
from refold.errors import BackendError, Conflict, Unavailable, UsageError
from refold.partitions import Partitions
from tests.support import postgres
from tests.support.months import FEBRUARY, JANUARY, MARCH, count_of, everything, fill
from tests.support.roles import shared

A = Event("test.a", {"n": 1})


VERSIONS = pytest.mark.parametrize("url", [None, postgres.NEWEST], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A store with events in three months."""
    made = postgres.schema_of_its_own(getattr(request, "param", None))
    fill(made)
    return made


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection beside the store, which looks at its schema."""
    address = parsed(url)
    with postgres.connect(int(address.conninfo["port"])) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", (address.schema,))
        yield connection


def bad(store: refold.Store) -> list[str]:
    """What doctor calls bad."""
    return [f"{check.name}: {check.detail}" for check in store.check() if not check.good]


def states(store: refold.Store) -> dict[str, str]:
    """Where the months are that hold anything."""
    return {one.month: one.state for one in Partitions(store).months() if one.appends}


def test_each_month_is_listed(url: str) -> None:
    """With what it holds, from the first position to the last; the default partition at last."""
    with refold.open(url) as store:
        found = Partitions(store).months()
    held = [(one.month, one.first, one.last) for one in found if one.appends]
    assert held == [("2025-01", 1, 9), ("2025-02", 10, 14), ("2025-03", 15, 19)]
    assert sum(one.events for one in found) == 19
    assert {one.state for one in found} == {"attached"}
    assert found[-1].month == "default"
    assert all(one.size_bytes > 0 for one in found[:-1])


@VERSIONS
def test_what_is_detached_is_known(url: str) -> None:
    """Who reads it is told which month it is; all else is as before, and comes back as it was."""
    with refold.open(url) as store:
        before, partitions = everything(store), Partitions(store)
        partitions.detach("2025-01")
        partitions.detach("2025-01")
        assert states(store) == {
            "2025-01": "detached",
            "2025-02": "attached",
            "2025-03": "attached",
        }
        for read in (
            lambda: list(store.read_all()),
            lambda: list(store.read_all(after=8)),
            lambda: list(store.read_all(types=["test.old"])),
            lambda: list(store.read_all(categories=["only"])),
            lambda: list(store.read_all(matching=Query(tags=["all"]))),
            lambda: list(store.read("call-1")),
            lambda: list(store.read("only-1")),
            lambda: store.fold("call-1", count_of),
            lambda: store.fold("call-1~b", count_of),
        ):
            with pytest.raises(BackendError) as caught:
                read()
            assert (caught.value.code, caught.value.month) == ("month_detached", "2025-01")
        assert list(store.streams()) == before["streams"]
        assert [store.find("both"), store.find(f"key-{JANUARY}")] == before["keys"]
        assert [e.position for e in store.read_all(after=9)] == list(range(10, 20))
        assert list(store.read("call-0", from_version=2)) == before["forward"]["call-0"][2:]
        newest = list(store.read("call-1", direction="backward", limit=4))
        assert newest == before["backward"]["call-1"][:4]
        assert list(store.read_all(categories=["nobody"], types=["test.a"])) == []
        assert store.log_head() == before["head"]
        assert bad(store) == []
        partitions.attach("2025-01")
        assert everything(store) == before
        assert bad(store) == []


def test_heads_keys_and_positions_go_on(url: str) -> None:
    """An append knows the version of a stream whose beginning is out, and a key of then."""
    with refold.open(url, clock=lambda: MARCH) as store:
        Partitions(store).detach("2025-01")
        again = store.append("call-1", [Event("test.d", {"n": 7})], key=f"key-{JANUARY}")
        assert again.duplicate
        with pytest.raises(Conflict):
            store.append("only-1", [A], expected=5)
        assert store.append("only-1", [A], expected=0).position == 20
        assert [e.version for e in store.read("only-1", from_version=1)] == [1]
        assert bad(store) == []


@VERSIONS
def test_a_condition_rests_on_what_is_detached_too(url: str) -> None:
    """A type that a month holds came after a position before it; what cannot be told is refused."""
    with refold.open(url, clock=lambda: MARCH) as store:
        Partitions(store).detach("2025-01")
        old = Query(types=["test.old"])
        with pytest.raises(Conflict):
            store.append("new-1", [A], unless=old, after=0)
        with pytest.raises(BackendError) as caught:
            store.append("new-1", [A], unless=old, after=3)
        assert caught.value.code == "month_detached"
        with pytest.raises(Conflict):
            store.append("new-1", [A], unless=Query(tags=["x:1"]), after=3)
        # An event of a branch did not happen.
        store.append("new-1", [A], unless=Query(types=["session.forked"]), after=0)
        store.append("new-1", [A], unless=Query(types=["test.none"]), after=0)
        store.append("new-1", [A], unless=old, after=9)


def test_sql_is_told_too(url: str, admin: psycopg.Connection[tuple[Any, ...]]) -> None:
    """The view of all events fails; what is left is asked for by another name."""
    with refold.open(url) as store:
        Partitions(store).detach("2025-02")
        with pytest.raises(psycopg.Error) as caught:
            admin.execute("SELECT count(*) FROM events WHERE stream = 'call-0'")
        assert "2025-02" in str(caught.value)
        assert admin.execute("SELECT count(*) FROM events_attached").fetchone() == (14,)
        Partitions(store).attach("2025-02")
        assert admin.execute("SELECT count(*) FROM events").fetchone() == (19,)


def test_a_month_that_is_not_over_stays(url: str) -> None:
    """Nor does what cannot be told by its name: nothing can be recorded in what was taken out."""
    with refold.open(url) as store:
        partitions = Partitions(store)
        for month, code in (("2025-03", "month_open"), ("9998-01", None), ("2025-13", None)):
            with pytest.raises(refold.RefoldError) as caught:
                partitions.detach(month)
            assert code is None or caught.value.code == code
        assert set(states(store).values()) == {"attached"}


def test_no_clock_leads_back_into_a_month_that_is_closed(url: str) -> None:
    """Of another log of the same tables, which was idle since, and whose clock is wrong."""
    with refold.open(url) as store:
        Partitions(store).detach("2025-01")
    with refold.open(f"{url}&tenant=5", clock=lambda: JANUARY) as other:
        with pytest.raises(BackendError) as caught:
            other.append("call-1", [A])
        assert caught.value.code == "month_closed"
    with refold.open(f"{url}&tenant=5", clock=lambda: FEBRUARY) as other:
        assert other.append("call-1", [A], expected=ANY).position == 1
        assert bad(other) == []


def test_all_logs_of_the_tables_know_what_left(url: str) -> None:
    """A month is taken out for every tenant, each with its own positions."""
    clock = [JANUARY]
    with refold.open(f"{url}&tenant=5", clock=lambda: clock[0]) as other:
        other.append("call-1", [A, A])
        clock[0] = MARCH
        other.append("call-1", [A])
        with refold.open(url) as store:
            Partitions(store).detach("2025-01")
        assert [e.version for e in other.read("call-1", from_version=2)] == [2]
        with pytest.raises(BackendError):
            list(other.read("call-1"))
        assert next((m.first, m.last) for m in Partitions(other).months()) == (1, 2)
        assert bad(other) == []


def test_what_stands_in_no_month_is_moved(
    url: str, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """The list and doctor tell of it; `create` makes its month, and those ahead."""
    later = MARCH + 200 * 86_400_000_000
    with refold.open(url, clock=lambda: later) as store:
        admin.execute("BEGIN")
        admin.execute("SELECT 1 FROM log_default")
        store.append("call-1", [A])
        admin.execute("ROLLBACK")
        partitions = Partitions(store)
        assert (partitions.months()[-1].month, partitions.months()[-1].appends) == ("default", 1)
        assert [line.partition(":")[0] for line in bad(store)] == ["partitions"]
        made = partitions.create(3)
        assert "2025-09" in made
        assert len(made) == 5
        assert partitions.create(3) == []
        assert bad(store) == []
        assert [e.position for e in store.read_all(after=19)] == [20]


def test_a_reader_that_stays_is_waited_for_a_moment_at_a_time(
    url: str, admin: psycopg.Connection[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits behind what waits; after a while it is given up, and the month stays."""
    monkeypatch.setattr(waits, "TRIES_S", 0.5)
    monkeypatch.setattr(waits, "PAUSE_S", 0.05)
    with refold.open(url) as store:
        admin.execute("BEGIN")
        admin.execute("SELECT count(*) FROM log")
        with pytest.raises(Unavailable) as caught:
            Partitions(store).detach("2025-01")
        assert caught.value.pids == [admin.info.backend_pid]
        assert f"pg_terminate_backend({admin.info.backend_pid})" in caught.value.message
        assert states(store)["2025-01"] == "attached"
        store.append("call-1", [A])
        monkeypatch.setattr(waits, "TRIES_S", 30.0)
        timer = threading.Timer(0.3, admin.execute, ["ROLLBACK"])
        timer.start()
        Partitions(store).detach("2025-01")
        timer.join()
        assert states(store)["2025-01"] == "detached"


@VERSIONS
def test_appends_and_readers_go_on_meanwhile(url: str) -> None:
    """Each reader sees all of the log or is told of the month; every append is there, once."""
    stopped, seen = threading.Event(), [0, 0]
    failed: list[object] = []

    def append() -> None:
        with refold.open(url) as store:
            while not stopped.is_set():
                store.append("busy-1", [A])
                seen[0] += 1

    def read() -> None:
        with refold.open(url, mode="read") as store:
            while not stopped.is_set():
                try:
                    kinds = [e.position for e in store.read_all(types=["test.old", "test.d"])]
                    if kinds[:2] != [6, 9]:
                        failed.append(kinds)
                except BackendError as error:
                    if error.code != "month_detached":
                        failed.append(error)
                seen[1] += 1

    threads = [threading.Thread(target=work) for work in (append, append, read, read)]
    for thread in threads:
        thread.start()
    with refold.open(url) as store:
        partitions = Partitions(store)
        partitions.create(2)
        for _ in range(5):
            partitions.detach("2025-01")
            partitions.attach("2025-01")
        stopped.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert min(seen) > 0
        assert len(list(store.read("busy-1"))) == seen[0]
        assert bad(store) == []


def test_only_a_store_with_months_has_them() -> None:
    """Another kind of store says what it has instead."""
    with refold.open("memory:") as store, pytest.raises(UsageError) as caught:
        Partitions(store)
    assert "refold compact" in caught.value.message


def test_roles_do_what_they_are_for(tmp_path: Path) -> None:
    """A maintainer takes months out; a writer goes on, a reader is told, and neither can do it."""
    made, clock = shared(None), [JANUARY]
    made.any_clock()
    with refold.open(made.url(made.admin), clock=lambda: clock[0]) as store:
        store.append("call-1", [A, A], key="k", tags=["x:1"])
        clock[0] = MARCH
        store.append("call-2", [A])
    reads, writes = made.url(made.login("reader")), made.url(made.login("writer"))
    for login in (reads, writes):
        with refold.open(login, mode="read" if login == reads else "write") as store:
            listed = Partitions(store).months()
            assert [(one.month, one.events) for one in listed if one.events] == [
                ("2025-01", 2),
                ("2025-03", 1),
            ]
            with pytest.raises(UsageError) as caught:
                Partitions(store).detach("2025-01")
            assert caught.value.code == "not_writable"
    with refold.open(made.url(made.login("maintainer")), mode="write") as store:
        Partitions(store).detach("2025-01")
        assert bad(store) == []
    with refold.open(writes, mode="write", clock=lambda: MARCH) as store:
        assert store.append("call-1", [A, A], key="k", tags=["x:1"]).duplicate
        assert store.append("call-1", [A], expected=1).version == 2
        with pytest.raises(Conflict):
            store.append("call-3", [A], unless=Query(types=["test.a"]), after=0)
    with refold.open(reads, mode="read") as store:
        with pytest.raises(BackendError) as told:
            list(store.read("call-1"))
        assert told.value.code == "month_detached"
        assert [e.version for e in store.read("call-1", from_version=2)] == [2]
        assert bad(store) == []
    with refold.open(made.url(made.login("maintainer")), mode="write") as store:
        Partitions(store).archive("2025-02", tmp_path)
        Partitions(store).drop("2025-01")
    with refold.open(f"{reads}&archive={tmp_path}", mode="read") as store:
        assert len(list(store.read("call-1"))) == 3
        assert bad(store) == []
    with refold.open(made.url(made.login("maintainer")), mode="write") as store:
        Partitions(store).attach("2025-01")
    with refold.open(reads, mode="read") as store:
        assert len(list(store.read("call-1"))) == 3
