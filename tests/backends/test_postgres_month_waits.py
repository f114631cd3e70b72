"""How long work on the months of a log in PostgreSQL waits, and what it says of who keeps it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import refold
from refold import Event
from refold.backends.postgres import PostgresBackend, waits
from refold.backends.postgres import partitions as server_months
from refold.backends.postgres import session as sessions
from refold.backends.postgres.address import parsed
from refold.backends.postgres.session import ServerSession, connected
from refold.backends.postgres.tables import BEGIN
from refold.errors import BackendError, Corrupt, Unavailable
from refold.partitions import Partitions
from tests.support import postgres
from tests.support.months import JANUARY, MARCH, fill

A = Event("test.a", {"n": 1})


@pytest.fixture
def url() -> str:
    """A store with events in three months, of two tenants."""
    made = postgres.schema_of_its_own()
    fill(made)
    fill(f"{made}&tenant=3")
    return made


@pytest.fixture
def beside(url: str) -> Iterator[ServerSession]:
    """A session of the server beside the store."""
    session = connected(parsed(url))
    yield session
    session.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Limits of less than a second."""
    monkeypatch.setattr(waits, "TRIES_S", 0.5)
    monkeypatch.setattr(waits, "PAUSE_S", 0.05)
    monkeypatch.setattr(waits, "LOOK_S", 0.3)
    monkeypatch.setattr(sessions, "RETRY_S", 0.3)
    return monkeypatch


def asked_of(store: refold.Store, folder: Path) -> list[Callable[[], object]]:
    """Everything that looks at months or changes them; the first of them is out, and archived."""
    partitions = Partitions(store)
    return [
        partitions.months,
        lambda: partitions.archive("2025-03", folder),
        lambda: partitions.detach("2025-02"),
        lambda: partitions.attach("2025-01"),
        lambda: partitions.drop("2025-01"),
        lambda: partitions.create(0),
        lambda: list(store.check()),
    ]


@pytest.mark.usefixtures("soon")
def test_who_locks_all_others_out_is_named(url: str, beside: ServerSession, tmp_path: Path) -> None:
    """Such as VACUUM FULL: whatever is asked of the months ends soon, and says who it is."""
    with refold.open(url) as store:
        partitions = Partitions(store)
        partitions.archive("2025-02", tmp_path)
        partitions.detach("2025-01")
        table = f'"{beside.schema}".log'
        for ask in asked_of(store, tmp_path):
            beside.execute(BEGIN)
            beside.execute(f"LOCK TABLE {table}, {table}_2025_01 IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unavailable) as caught:
                ask()
            assert caught.value.pids[0] == beside.info.backend_pid
            assert f"{beside.info.backend_pid} (refold, idle in transaction)" in str(caught.value)
            assert f"pg_terminate_backend({beside.info.backend_pid})" in caught.value.message
            beside.execute("ROLLBACK")
        for ask in asked_of(store, tmp_path):
            ask()


def test_a_server_that_stands_still_is_told(soon: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of it, or the one process that was asked: it is waited for with a limit."""
    with postgres.servers() as server:
        url = postgres.url(server.port, connect_timeout=2)
        fill(url)
        with refold.open(url) as store:
            Partitions(store).archive("2025-02", tmp_path)
            Partitions(store).detach("2025-01")
            for ask in asked_of(store, tmp_path)[::3]:
                with stopped(server.pids()), pytest.raises(Unavailable, match="cannot be reached"):
                    ask()
            soon.setattr(waits, "SOON_S", 0.7)
            soon.setattr(waits, "BYTES_PER_S", 1e12)
            soon.setattr(sessions, "RETRY_S", 20.0)
            with kept(store) as session:
                pid = session.info.backend_pid
            with stopped([pid]), pytest.raises(Unavailable, match="did not answer for"):
                Partitions(store).months()
            assert len(Partitions(store).months()) > 3


def test_a_server_that_works_is_waited_for(url: str, soon: pytest.MonkeyPatch) -> None:
    """However long it is silent, up to six hours; unless its process has ended."""
    with refold.open(url) as store, kept(store) as session, waits.patient(session):
        assert session.execute("SELECT pg_sleep(1)").fetchall() == [("",)]
        soon.setattr(waits, "_works", lambda _: False)
        with pytest.raises(psycopg.OperationalError, match="did not answer for"):
            session.execute("SELECT pg_sleep(9)")
        assert session.closed


@pytest.mark.parametrize(
    ("bytes_per_s", "locked", "waits_s"),
    [(1e12, False, 0.3), (1.0, False, 3), (1e12, True, 3)],
)
def test_an_answer_takes_no_longer_than_the_log_is_large(
    url: str,
    beside: ServerSession,
    soon: pytest.MonkeyPatch,
    bytes_per_s: float,
    locked: bool,
    waits_s: float,
) -> None:
    """A log whose size cannot be seen now may be of any; a process may stand still, unlike both."""
    soon.setattr(waits, "SOON_S", 0.3)
    soon.setattr(waits, "BYTES_PER_S", bytes_per_s)
    beside.execute(BEGIN)
    if locked:
        beside.execute(f'LOCK TABLE "{beside.schema}".log IN ACCESS EXCLUSIVE MODE')
    with refold.open(url) as store, kept(store) as session, waits.patient(session):
        if waits_s < 1:
            with pytest.raises(psycopg.OperationalError, match="did not answer for"):
                session.execute("SELECT pg_sleep(9)")
        else:
            assert session.execute("SELECT pg_sleep(1)").fetchall() == [("",)]


@pytest.mark.usefixtures("soon")
def test_a_month_that_could_not_leave_is_closed(url: str, beside: ServerSession) -> None:
    """It is said what stands then: appends behind a clock of then are refused from now on."""
    with refold.open(url) as store:
        beside.execute(BEGIN)
        beside.execute(f'SELECT count(*) FROM "{beside.schema}".log')
        with pytest.raises(Unavailable, match="2025-01 stays in the log, closed"):
            Partitions(store).detach("2025-01")
        beside.execute("ROLLBACK")
    with refold.open(f"{url}&tenant=5", clock=lambda: JANUARY) as other:
        with pytest.raises(BackendError) as caught:
            other.append("call-1", [A])
        assert caught.value.code == "month_closed"


def test_nobody_waits_while_it_is_noted_what_leaves(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes as long as the month is large: others append and read."""
    real, seen = ServerSession.run, list[object]()

    def run(session: ServerSession, name: str, *values: Any) -> list[tuple[Any, ...]]:
        found = real(session, name, *values)
        if name == "note_detached":
            with refold.open(url, clock=lambda: MARCH) as other:
                seen.extend([other.append("call-1", [A]), list(other.read_all())])
        return found

    with refold.open(url) as store:
        monkeypatch.setattr(ServerSession, "run", run)
        Partitions(store).detach("2025-01")
        assert len(seen) == 2
        assert all(check.good for check in store.check())


def test_what_is_closed_is_counted_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything counted for a verb of another month."""
    counted: list[str] = []
    real = server_months._holds

    def holds(session: ServerSession, month: str, tenant: int) -> list[tuple[Any, ...]]:
        counted.append(month)
        return real(session, month, tenant)

    monkeypatch.setattr(server_months, "_holds", holds)
    with refold.open(url) as store:
        partitions = Partitions(store)
        before = {one.month: one[2:6] for one in partitions.months()}
        assert before["2025-01"] == (12, 18, 1, 9)
        counted.clear()
        partitions.detach("2025-01")
        partitions.attach("2025-01")
        assert counted == []
        assert {one.month: one[2:6] for one in partitions.months()} == before
        assert "2025-02" in counted
        assert "2025-01" not in counted
        counted.clear()
        assert [one.month for one in partitions.months("2025-03")] == ["2025-03"]
        assert counted == ["2025-03"]


def test_all_tenants_are_counted(url: str) -> None:
    """They are what is archived and dropped; a tenant without events is not told that there are
    none."""
    with refold.open(f"{url}&tenant=7") as store:
        (month,) = Partitions(store).months("2025-01")
        assert month[2:6] == (12, 18, None, None)
        Partitions(store).detach("2025-01")
        (month,) = Partitions(store).months("2025-01")
        assert month[:6] == ("2025-01", "detached", 12, 18, None, None)


def test_what_an_archive_lacks_is_not_dropped(
    url: str, beside: ServerSession, tmp_path: Path
) -> None:
    """Nor a table that is not what left the log: by whatever hand."""
    table = f'"{beside.schema}".log_2025_01'
    with refold.open(url) as store:
        partitions = Partitions(store)
        partitions.archive("2025-02", tmp_path)
        partitions.detach("2025-01")
        columns = "tenant, recorded_at, count, stream, types, body"
        for change in (
            f"DELETE FROM {table} WHERE position = 9 AND tenant = 3",
            (
                f"INSERT INTO {table} (position, version, {columns}) "
                f"SELECT 99, 99, {columns} FROM {table} LIMIT 1"
            ),
        ):
            beside.execute(f"CREATE TABLE IF NOT EXISTS {table}_kept AS TABLE {table}")
            beside.execute(change)
            with pytest.raises(Corrupt, match="nothing was dropped"):
                partitions.drop("2025-01")
            beside.execute(f"TRUNCATE {table}")
            beside.execute(f"INSERT INTO {table} TABLE {table}_kept")
        beside.execute(f'UPDATE "{beside.schema}".detached SET last = 8 WHERE tenant = 3')
        with pytest.raises(Corrupt, match="nothing was dropped"):
            partitions.drop("2025-01")
        beside.execute(f'UPDATE "{beside.schema}".detached SET last = 9 WHERE tenant = 3')
        partitions.drop("2025-01")
        assert partitions.months("2025-01")[0].state == "dropped"


def test_who_archives_or_makes_months_does_so_alone(
    url: str, beside: ServerSession, tmp_path: Path
) -> None:
    """Another that comes meanwhile is told, and leaves the folder as it is."""
    told: list[str] = []

    def second(_month: str, _done: int) -> None:
        with refold.open(url) as other:
            for ask in (
                lambda: Partitions(other).archive("2025-02", tmp_path),
                lambda: Partitions(other).create(0),
            ):
                with pytest.raises(Unavailable, match="is changing the months") as caught:
                    ask()
                told.append(caught.value.message)

    with refold.open(url) as store:
        partitions = Partitions(store)
        assert len(partitions.archive("2025-02", tmp_path, progress=second)) == 1
        assert told
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "2025-01.json",
            "2025-01.packed",
        ]
        limits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        assert beside.execute(limits).fetchall() == []


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that stand still in a block."""
    postgres.signalled(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        postgres.signalled(pids, signal.SIGCONT)


@contextmanager
def kept(store: refold.Store) -> Iterator[ServerSession]:
    """The connection that a store reads by."""
    assert isinstance(store._backend, PostgresBackend)
    with store._backend._sessions.lent() as session:
        yield session
