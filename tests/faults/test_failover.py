"""Two servers, of which one follows the other and takes over when that is killed under load.

What a synchronous standby takes over has everything that was told; what another lacks is told to
everybody who had seen it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import refold
from refold import Event
from refold.backends.postgres import PostgresBackend
from refold.backends.postgres import session as sessions
from refold.backends.postgres.address import parsed
from refold.errors import BackendError, Unavailable
from refold.projections import Projector
from tests.faults.lanes import Load
from tests.faults.test_postgres_faults import DURABLE, Follower
from tests.projections.sums import sums
from tests.support import postgres
from tests.support.postgres import Server, servers

A = Event("test.a")
FOLLOWS: Final = ("hot_standby=on", "max_standby_streaming_delay=0")
WAIT_S: Final = 60
WENT_BACK: Final = "log_went_back"


class Pair(NamedTuple):
    """A server and the one that follows it."""

    primary: Server
    standby: Server

    def url(self, schema: str) -> str:
        """The address of a store in whichever of the two takes writes."""
        both = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}/"
        one = f"127.0.0.1:{self.primary.port}/"
        return postgres.url(self.primary.port, schema=schema).replace(one, both)

    def set(self, **settings: str) -> None:
        """Settings of the first."""
        with postgres.connect(self.primary.port) as admin:
            for name, value in settings.items():
                admin.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            admin.execute("SELECT pg_reload_conf()")

    def is_soon(self, sql: str, port: int) -> None:
        """Wait until a query finds a row."""
        until = time.monotonic() + WAIT_S
        while True:
            with postgres.connect(port) as admin:
                if admin.execute(sql.encode()).fetchone():
                    return
            assert time.monotonic() < until, sql
            time.sleep(0.02)

    def catch_up(self) -> None:
        """Wait until the second has all that the first has."""
        same = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
        self.is_soon(same, self.primary.port)

    def part(self) -> None:
        """Let the second follow no more: what comes is the first's alone."""
        with postgres.connect(self.standby.port) as admin:
            admin.execute("ALTER SYSTEM SET primary_conninfo = ''")
            admin.execute("SELECT pg_reload_conf()")
        self.is_soon(
            "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_replication)", self.primary.port
        )

    def fail_over(self) -> None:
        """kill -9 of the first; the second takes its place."""
        self.primary.kill()
        with postgres.connect(self.standby.port) as admin:
            assert admin.execute("SELECT pg_promote()").fetchone() == (True,)


@contextmanager
def pair() -> Iterator[Pair]:
    """Two servers; the second has what the first has, a moment later."""
    with (
        servers((*DURABLE, *FOLLOWS)) as primary,
        servers((*DURABLE, *FOLLOWS), follows=primary) as standby,
    ):
        made = Pair(primary, standby)
        made.is_soon("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'", primary.port)
        yield made


@pytest.mark.parametrize("waits_for", ["remote_apply", "on"])
def test_a_synchronous_standby_takes_over_all_that_was_told(waits_for: str) -> None:
    """Writers and followers go on by themselves: 0 lost, 0 doubled, 0 reordered, 0 skipped."""
    with pair() as both:
        both.set(synchronous_commit=waits_for, synchronous_standby_names="*")
        both.is_soon(
            "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'", both.primary.port
        )
        url = both.url("failover")
        refold.open(url).close()
        follower, load = Follower(url), Load(url)
        load.wait()
        both.fail_over()
        load.wait()
        load.stop()
        with refold.open(url) as store:
            load.judge(store)
            head = store.log_head()
        assert load.errors == []
        follower.check(head)


class Ahead:
    """Everybody who has seen what the standby lacks: who appends, who follows, who projects."""

    def __init__(self, url: str, folder: Path) -> None:
        self.store = refold.open(url, mode="write")
        self.reader = refold.open(url, mode="read")
        self.following = self.reader.subscribe()
        self.elsewhere = refold.open(folder / "rows.db")
        self.projected = refold.open(url, mode="read")
        self.projector = Projector(self.projected, [sums()], rows=self.elsewhere)

    def look(self) -> None:
        """See all that there is."""
        head = self.store.log_head()
        while self.following.position < head:
            next(self.following)
        self.projector.catch_up()

    def close(self) -> None:
        """Let go of all of it."""
        for store in (self.store, self.reader, self.elsewhere, self.projected):
            store.close()


def went_back(*calls: object) -> None:
    """Each call is told that the log went back."""
    for call in calls:
        assert callable(call)
        for _ in range(2):
            with pytest.raises(BackendError) as caught:
                call()
            assert caught.value.code == WENT_BACK, caught.value


@pytest.mark.parametrize("grows", [False, True], ids=["shorter", "grown again"])
def test_what_a_standby_lacks_is_told_to_whoever_has_seen_it(tmp_path: Path, grows: bool) -> None:
    """However long the log is by then: nobody goes on as if nothing had been.

    Those who have seen nothing that was lost go on by themselves.
    """
    with pair() as both:
        url = both.url("failover")
        with refold.open(url) as store, refold.open(url) as before:
            store.append("call-1", [Event("added", {"n": n}) for n in range(5)])
            before.append("call-2", [A])
            ahead = Ahead(url, tmp_path)
            ahead.look()
            both.catch_up()
            both.part()
            for number in range(3):
                ahead.store.append("call-1", [Event("added", {"n": number})])
            ahead.look()
            both.fail_over()
            if grows:
                for _ in range(10):
                    before.append("call-2", [A])
            assert before.append("call-2", [A]).position == (17 if grows else 7)
            went_back(
                lambda: ahead.store.append("call-1", [A]),
                lambda: next(ahead.following),
                lambda: ahead.projected.log_head(),
                lambda: ahead.projector.catch_up(),
            )
            ahead.close()
        with refold.open(url) as store, refold.open(tmp_path / "rows.db") as rows:
            assert store.head("call-1") == 4
            assert [check for check in store.check() if not check.good] == []
            projector = Projector(store, [sums()], rows=rows)
            went_back(projector.catch_up)
            if not grows:
                went_back(lambda: store.subscribe(after=9).fill())
            projector.rebuild("sums")
            assert projector.query("SELECT sum(amount) FROM sums") == [(10,)]


def test_an_asynchronous_standby_under_load_loses_the_last_of_it() -> None:
    """Of what was told only the end is lost, nothing in between; and each that it hits is told."""
    with pair() as both:
        url = both.url("failover")
        refold.open(url).close()
        load = Load(url)
        load.wait()
        both.part()
        load.wait()
        both.fail_over()
        until = time.monotonic() + WAIT_S
        while len(load.broken) < 4 and time.monotonic() < until:
            time.sleep(0.05)
        load.stop()
        assert {getattr(error, "code", error) for error in load.broken} == {WENT_BACK}
        load.broken.clear()
        with refold.open(url) as store:
            lost = sum(position > store.log_head() for position in load.acknowledged.values())
            assert lost >= 40
            load.judge(store, lost=lost)


@pytest.fixture(scope="module")
def lasting() -> Iterator[Pair]:
    """Two servers that both stay; the first has a store with an event, which the second has too."""
    with pair() as both:
        with refold.open(both.url("lasting")) as store:
            store.append("call-1", [A])
        both.catch_up()
        yield both


def test_a_query_that_a_standby_ends_is_asked_again(lasting: Pair) -> None:
    """40001: what it has yet to apply cannot wait for a reader."""
    there = lasting.url("lasting").replace(f"127.0.0.1:{lasting.primary.port},", "", 1)
    with refold.open(there, mode="read") as reader, ThreadPoolExecutor(1) as pool:
        slow = "SELECT count(*), pg_sleep(2)::text FROM log"
        asked = pool.submit(Projector(reader, []).query, slow)
        seen = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        lasting.is_soon(seen, lasting.standby.port)
        with postgres.connect(lasting.primary.port) as admin:
            admin.execute("BEGIN")
            admin.execute("LOCK TABLE lasting.log IN ACCESS EXCLUSIVE MODE")
            admin.execute("COMMIT")
        conflicts = "SELECT 1 FROM pg_stat_database_conflicts WHERE confl_lock > 0"
        lasting.is_soon(conflicts, lasting.standby.port)
        assert asked.result(WAIT_S) == [(1, "")]


def test_a_standby_that_is_behind_is_waited_for(
    lasting: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads there sees no less than before; where it stays behind, that is told."""
    url = lasting.url("lasting")
    here = url.replace(f",127.0.0.1:{lasting.standby.port}", "", 1)
    there = url.replace(f"127.0.0.1:{lasting.primary.port},", "", 1)
    with (
        refold.open(here) as store,
        refold.open(here, mode="read") as reader,
        postgres.connect(lasting.standby.port) as admin,
    ):
        admin.execute("SELECT pg_wal_replay_pause()")
        store.append("call-1", [A])
        head = reader.log_head()
        backend = reader._backend
        assert isinstance(backend, PostgresBackend)
        backend._sessions.address = parsed(there)
        backend._sessions.close_idle()
        monkeypatch.setattr(sessions, "RETRY_S", 0.2)
        with pytest.raises(Unavailable):
            reader.log_head()
        monkeypatch.undo()
        later = threading.Timer(0.3, lambda: admin.execute("SELECT pg_wal_replay_resume()"))
        later.start()
        assert reader.log_head() == head
        later.join()


def test_who_goes_on_at_a_standby_that_is_behind_waits_there(
    lasting: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a position of another process: nothing went back, and nothing is to be made anew."""
    url = lasting.url("lasting")
    there = url.replace(f"127.0.0.1:{lasting.primary.port},", "", 1)
    lasting.catch_up()
    with (
        refold.open(url) as store,
        refold.open(there, mode="read") as reader,
        refold.open(tmp_path / "rows.db") as rows,
        postgres.connect(lasting.standby.port) as admin,
    ):
        admin.execute("SELECT pg_wal_replay_pause()")
        head = store.append("call-1", [Event("added", {"n": 3}), A]).position
        Projector(store, [sums()], rows=rows).catch_up()
        following = reader.subscribe(after=head - 1)
        projector = Projector(reader, [sums()], rows=rows)
        monkeypatch.setattr(sessions, "RETRY_S", 0.2)
        for use in (following.fill, projector.catch_up):
            with pytest.raises(Unavailable, match="is behind it"):
                use()
        monkeypatch.undo()
        later = threading.Timer(0.3, lambda: admin.execute("SELECT pg_wal_replay_resume()"))
        later.start()
        projector.catch_up()
        assert next(following).position == head
        later.join()
