"""Months of a store in PostgreSQL that leave and come back while others read and append."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest

import refold
from refold import Event
from refold.archive.month import KeepsMonths, bounds_of
from refold.backends.postgres import partitions as server_months
from refold.backends.postgres import schema
from refold.backends.postgres.address import parsed
from refold.backends.postgres.session import ServerSession, connected
from refold.backends.postgres.statements import qualified
from refold.backends.postgres.tables import BEGIN
from refold.core.query import Query
from refold.errors import BackendError, Conflict, Corrupt, Unavailable
from refold.partitions import Partitions
from tests.support import postgres
from tests.support.months import JANUARY, everything, fill
from tests.support.soak import bound

A = Event("test.a", {"n": 1})


@pytest.fixture(params=[None, postgres.NEWEST])
def url(request: pytest.FixtureRequest) -> str:
    """A store with events in three months."""
    made = postgres.schema_of_its_own(request.param)
    fill(made)
    return made


@pytest.fixture
def beside(url: str) -> Iterator[ServerSession]:
    """A session of the server beside the store."""
    session = connected(parsed(url))
    yield session
    session.close()


@contextmanager
def working(work: Callable[[], object]) -> Iterator[list[Any]]:
    """Some work in a thread of its own; at the end of the block it is waited for."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(work())
        except refold.RefoldError as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answers
    finally:
        thread.join()


def wait_for_lock(beside: ServerSession) -> None:
    """Wait until another session of the database waits for what ``beside`` holds."""
    asked = "SELECT 1 FROM pg_locks WHERE NOT granted AND $1 = ANY(pg_blocking_pids(pid))"
    until = monotonic() + 20
    while not beside.execute(asked, [beside.info.backend_pid]).fetchall():
        assert monotonic() < until
        sleep(0.01)


def test_a_condition_holds_beside_a_month_that_leaves(url: str, beside: ServerSession) -> None:
    """An append that has to wait for a month to leave knows that it left."""
    old = Query(types=["test.old"])
    with refold.open(url) as store:
        beside.execute(BEGIN)
        beside.run("note_detached", "2025-01", *bounds_of("2025-01"))
        server_months._run(beside, "detach", "2025-01")
        with working(lambda: store.append("new-1", [A], unless=old, after=0)) as answers:
            wait_for_lock(beside)
            beside.execute("COMMIT")
        assert isinstance(answers[0], Conflict)


def test_a_condition_holds_beside_a_month_that_comes_back(url: str, tmp_path: Path) -> None:
    """Of its table or its archive: what breaks a condition does so while months come and go."""
    stored: list[object] = []
    stopped = threading.Event()
    old = Query(types=["test.old"])

    def append() -> None:
        with refold.open(url) as store:
            while not stopped.is_set():
                with suppress(Conflict):
                    stored.append(store.append("new-1", [A], unless=old, after=0))

    with refold.open(url) as store:
        partitions = Partitions(store)
        partitions.archive("2025-02", tmp_path)
        with working(append) as first, working(append) as second:
            for number in range(bound(6, 60)):
                (partitions.drop if number % 2 else partitions.detach)("2025-01")
                partitions.attach("2025-01")
            stopped.set()
        assert (first, second, stored) == ([None], [None], [])


def test_readers_go_on_beside_a_month_that_cannot_come_back_yet(
    url: str, beside: ServerSession
) -> None:
    """Somebody has read the default partition alone: each try lets go of all of the log again."""
    with refold.open(url) as store:
        Partitions(store).detach("2025-01")
        beside.execute(BEGIN)
        beside.execute(qualified("SELECT count(*) FROM refold.log_default", beside.schema))
        with working(lambda: Partitions(store).attach("2025-01")) as answers:
            wait_for_lock(beside)
            reader = connected(parsed(url))
            reader.execute("SET lock_timeout = '5s'")
            reader.execute(qualified("SELECT count(*) FROM refold.log", reader.schema))
            reader.close()
            beside.execute("ROLLBACK")
        assert answers == [None]


def test_readers_see_all_beside_a_month_that_comes_back(url: str, beside: ServerSession) -> None:
    """A month waits for whoever reads without it, who is told, and is there after that."""
    with refold.open(url) as store, refold.open(url, mode="read") as reader:
        kinds = ["test.old", "test.d"]
        before = [e.position for e in reader.read_all(types=kinds)]
        Partitions(store).detach("2025-01")
        # Whoever reads the log keeps a month from coming back.
        beside.execute(BEGIN)
        beside.execute(f'SELECT count(*) FROM "{beside.schema}".log')
        with working(lambda: Partitions(store).attach("2025-01")):
            sleep(0.3)
            with pytest.raises(BackendError) as caught:
                list(reader.read_all(types=kinds))
            assert caught.value.code == "month_detached"
            beside.execute("COMMIT")
        assert [e.position for e in reader.read_all(types=kinds)] == before


def test_readers_and_months_race(url: str, tmp_path: Path) -> None:
    """With an archive, every look at everything is the same, while months leave and come back."""
    stopped, wrong = threading.Event(), list[object]()
    with refold.open(url) as store:
        partitions = Partitions(store)
        partitions.archive("2025-03", tmp_path)
        before = everything(store)

        def read() -> None:
            with refold.open(f"{url}&archive={tmp_path}", mode="read") as reader:
                while not stopped.is_set():
                    now = everything(reader)
                    wrong.extend(name for name in now if now[name] != before[name])

        with working(read) as first, working(read) as second:
            until = monotonic() + bound(3, 30)
            while monotonic() < until:
                for month in ("2025-01", "2025-02"):
                    partitions.detach(month)
                    partitions.attach(month)
            stopped.set()
        assert (first, second, wrong) == ([None], [None], [])


def test_the_first_commit_of_a_log_is_waited_for(url: str, tmp_path: Path) -> None:
    """A tenant that nobody has seen yet has begun to store when a month is archived and dropped."""
    late = connected(parsed(f"{url}&tenant=7"))
    turn = 7, len(schema.migrations()), str(uuid.uuid4()), JANUARY + 50_000_000, True
    late.execute(BEGIN)
    late.run("append_one", *turn, "new-1", -1, 1, "test.a", None, '[["test.a",{"n":1},null,null]]')
    with refold.open(url) as store:
        with working(lambda: Partitions(store).archive("2025-02", tmp_path)) as archived:
            sleep(0.5)
            late.execute("COMMIT")
        assert isinstance(archived[0], list)
        Partitions(store).drop("2025-01")
    late.close()
    with refold.open(f"{url}&tenant=7&archive={tmp_path}", mode="read") as store:
        assert [e.position for e in store.read_all()] == [1]
        assert len(list(store.read("new-1"))) == 1


def test_months_are_changed_by_one_at_a_time(url: str, beside: ServerSession) -> None:
    """Another is told so; where one has done the same meanwhile, it is done."""
    with refold.open(url) as store:
        partitions = Partitions(store)
        beside.execute(BEGIN)
        assert beside.run("turn_of_months") == [(1,)]
        with pytest.raises(Unavailable, match="is changing the months") as caught:
            partitions.detach("2025-01")
        assert caught.value.pids == [beside.info.backend_pid]
        assert f"another process ({beside.info.backend_pid}, refold)" in caught.value.message
        beside.execute("ROLLBACK")
        assert isinstance(store._backend, KeepsMonths)
        keeper = store._backend.month_keeper
        for _ in range(2):
            keeper.detach_month("2025-01")
        for _ in range(2):
            keeper.attach_month("2025-01", ())
        assert all(check.good for check in store.check())


@pytest.mark.parametrize(
    ("verb", "seen"), [("attach_month", "dropped"), ("drop_month", "attached")]
)
def test_what_another_did_meanwhile_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch, verb: str, seen: str
) -> None:
    """Whoever comes back to a month that is somewhere else is not told that all is done."""
    states = iter(["detached", seen] if verb == "attach_month" else [seen])
    with refold.open(url) as store:
        Partitions(store).detach("2025-01")
        assert isinstance(store._backend, KeepsMonths)
        with monkeypatch.context() as patched:
            patched.setattr(server_months, "_state", lambda *_: next(states))
            with pytest.raises(Unavailable, match=f"meanwhile: it is {seen}"):
                getattr(store._backend.month_keeper, verb)("2025-01", ())
        assert Partitions(store).months("2025-01")[0].state == "detached"


def test_months_change_hands(url: str, tmp_path: Path) -> None:
    """Three that do the same at once: each does it, finds it done, or is told of another."""
    with refold.open(url) as store:
        Partitions(store).archive("2025-02", tmp_path)
    for verb, state in (("detach", "detached"), ("attach", "attached"), ("drop", "dropped")):

        def change(verb: str = verb) -> None:
            with refold.open(url) as other:
                getattr(Partitions(other), verb)("2025-01")

        with working(change) as first, working(change) as second, working(change) as third:
            pass
        told = [*first, *second, *third]
        assert None in told
        assert all(one is None or "is changing the months" in str(one) for one in told)
        with refold.open(url) as store:
            assert Partitions(store).months("2025-01")[0].state == state
            assert all(check.good for check in store.check())


def test_a_table_that_lost_appends_does_not_come_back(url: str, beside: ServerSession) -> None:
    """What was noted when it left is more than what stands in it: it is said, and it stays out."""
    with refold.open(url) as store:
        Partitions(store).detach("2025-01")
        beside.execute(f'DELETE FROM "{beside.schema}".log_2025_01 WHERE position = 9')
        with pytest.raises(Corrupt, match="left the log"):
            Partitions(store).attach("2025-01")
        assert {one.month: one.state for one in Partitions(store).months()}["2025-01"] == "detached"


def test_a_month_that_nobody_archived_is_told_as_lost(url: str, beside: ServerSession) -> None:
    """Its table was dropped by hand: nothing is left to bring back, and that is what is said."""
    with refold.open(url) as store:
        Partitions(store).detach("2025-01")
        beside.execute(f'DROP TABLE "{beside.schema}".log_2025_01')
        with pytest.raises(refold.NotFound, match="never archived"):
            Partitions(store).attach("2025-01")
        (told,) = [check for check in store.check() if not check.good]
        assert told.name == "months"
        assert "2025-01 is dropped (positions 1 to 9), not archived" in told.detail
        assert "from a backup" in told.detail


def test_a_month_leaves_no_look_of_before_short(url: str, beside: ServerSession) -> None:
    """A transaction that began before a month left, and does not see that, is told as well."""
    counted = f'SELECT count(*) FROM "{beside.schema}".events'
    with refold.open(url) as store:
        beside.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        beside.execute("SELECT txid_current()")
        Partitions(store).detach("2025-01")
        with pytest.raises(psycopg.Error, match="2025-01 left the log since"):
            beside.execute(counted)
        beside.execute("ROLLBACK")
        beside.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(psycopg.Error, match="2025-01 was taken out"):
            beside.execute(counted)
        beside.execute("ROLLBACK")
        beside.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        beside.execute("SELECT txid_current()")
        Partitions(store).attach("2025-01")
        with pytest.raises(psycopg.Error, match="2025-01 was taken out"):
            beside.execute(counted)
        beside.execute("ROLLBACK")
        assert beside.execute(counted).fetchall() == [(19,)]


def test_a_view_of_before_follows_the_events(beside: ServerSession) -> None:
    """Whoever made a view of his own before the log had months is told like all others."""
    made = beside.schema
    with beside.transaction():
        beside.execute(f'DROP SCHEMA "{made}" CASCADE')
        beside.execute(f'CREATE SCHEMA "{made}"')
        for number, sql in enumerate(schema.migrations()):
            if number == 2:
                beside.execute(f'CREATE VIEW "{made}".own AS SELECT * FROM "{made}".events')
            schema.run_script(beside, qualified(sql, made))
    beside.execute(
        f'INSERT INTO "{made}".detached VALUES (0, 1, 2, 1, $1, $2, $2, $2)', ["2025-01", ["a"]]
    )
    with pytest.raises(psycopg.Error, match="2025-01 was taken out"):
        beside.execute(f'SELECT count(*) FROM "{made}".own')


def test_what_moves_to_its_month_is_read_meanwhile(url: str, beside: ServerSession) -> None:
    """A reader that has to wait while rows leave the default partition finds them all the same."""
    later = JANUARY + 400 * 86_400_000_000
    with refold.open(url, clock=lambda: later) as store:
        beside.execute(BEGIN)
        beside.execute(f'SELECT 1 FROM "{beside.schema}".log_default')
        store.append("late-1", [Event("test.late")])
        beside.execute("ROLLBACK")
        assert Partitions(store).months()[-1].appends == 1
        beside.execute(BEGIN)
        assert beside.run("make_partition", later, None) == [(1,)]
        with working(lambda: list(store.read_all(types=["test.late"]))) as found:
            wait_for_lock(beside)
            beside.execute("COMMIT")
        assert [e.position for e in found[0]] == [20]


def test_two_make_the_same_month(url: str, beside: ServerSession) -> None:
    """Who comes second finds that it stands."""
    later = JANUARY + 400 * 86_400_000_000
    beside.execute(BEGIN)
    assert beside.run("make_partition", later, None) == [(1,)]
    other = connected(parsed(url))
    with working(lambda: other.run("make_partition", later, None)) as made:
        wait_for_lock(beside)
        beside.execute("COMMIT")
    assert made == [[(1,)]]
    other.close()
