"""A log in PostgreSQL behind PgBouncer, which is paused, killed, and of which nothing is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import refold
import refold.projections
import refold.readmodels
from refold import Event
from refold.backends.postgres import PostgresBackend
from refold.backends.postgres.address import parsed
from refold.errors import UsageError
from tests.faults.lanes import Load
from tests.faults.test_postgres_faults import DURABLE, Follower
from tests.support import postgres
from tests.support.pgbouncer import Bouncer, bouncers, pooled, through
from tests.support.postgres import Server, servers
from tests.support.soak import bound, counted

ROUNDS = bound(3, 30)
A = Event("test.a")


@pytest.fixture(scope="module")
def durable() -> Iterator[Server]:
    """A server whose commits last; the tests of this file may kill it."""
    with servers(DURABLE) as started:
        yield started


@pytest.fixture(scope="module")
def bouncer(durable: Server) -> Iterator[Bouncer]:
    """A pooler in transaction mode before it."""
    with bouncers(durable.port) as started:
        yield started


@pytest.fixture
def direct(durable: Server) -> str:
    """An empty store in the server, without the pooler."""
    return postgres.url(durable.port, schema=f"bouncer_{time.monotonic_ns()}")


@pytest.fixture
def url(direct: str, bouncer: Bouncer) -> str:
    """The same store through the pooler."""
    return through(direct, bouncer.port, pgbouncer="true")


# -- harm under load --------------------------------------------------------------------------


def judged(load: Load, direct: str, follower: Follower) -> None:
    """Let everybody end, and judge the log, looked at without the pooler."""
    load.stop()
    time.sleep(0.3)  # What had no key may still be on its way to be stored.
    with refold.open(direct) as store:
        load.judge(store)
        head = store.log_head()
    follower.check(head)


def test_a_pooler_that_is_killed_loses_nothing(bouncer: Bouncer, url: str, direct: str) -> None:
    """kill -9 of it under load, and a start: each append is stored once, in its order.

    What it had passed on may still be stored: so who gave no key is told that nobody knows.
    """
    refold.open(url).close()
    follower, load = Follower(url), Load(url)
    for _ in range(ROUNDS):
        load.wait()
        bouncer.kill()
        counted("kill -9 of PgBouncer")
        bouncer.start()
    load.wait()
    judged(load, direct, follower)


def test_a_server_killed_behind_a_pooler_loses_nothing(
    durable: Server, url: str, direct: str
) -> None:
    """The pooler sends its clients away, or lets them wait: they go on when it is back."""
    refold.open(url).close()
    follower, load = Follower(url), Load(url)
    for _ in range(ROUNDS):
        load.wait()
        durable.kill()
        counted("kill -9 of PostgreSQL behind PgBouncer")
        durable.start()
    load.wait()
    judged(load, direct, follower)


def test_a_pause_is_waited_for(bouncer: Bouncer, url: str, direct: str) -> None:
    """PAUSE lets what is under way end and holds what comes; nobody is told anything of it."""
    refold.open(url).close()
    follower, load = Follower(url), Load(url)
    with bouncer.admin() as admin:
        for _ in range(ROUNDS):
            load.wait()
            admin.execute("PAUSE")
            before = len(load.acknowledged)
            time.sleep(0.3)
            assert len(load.acknowledged) <= before + 4
            admin.execute("RESUME")
    load.wait()
    judged(load, direct, follower)
    assert load.errors == []


# -- what is passed on, and what not ----------------------------------------------------------


def test_everything_works_through_a_pooler(url: str) -> None:
    """Projections, inline and not, queries, snapshots and doctor; nothing is prepared."""
    usage = refold.readmodels.tool_usage
    called = Event("tool.call", {"call_id": "c", "name": "search", "arguments": "{}"})
    with refold.open(url, inline=[usage]) as store:
        for _ in range(20):
            store.append("call-1", [called])
        with refold.projections.Projector(store, [usage]) as projector:
            assert projector.query("SELECT sum(calls) FROM tool_usage") == [(20,)]
            assert projector.query("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
        assert [check for check in store.check() if not check.good] == []


def test_who_waits_looks_for_himself(url: str) -> None:
    """No notice passes a pooler: none is waited for, and another process's append is found soon."""
    with refold.open(url) as one, refold.open(url) as other:
        one.append("call-1", [A])
        waiting = one.subscribe()
        assert next(waiting).position == 1
        later = threading.Timer(0.2, lambda: other.append("call-1", [A]))
        later.start()
        assert next(waiting).position == 2
        later.join()
        assert isinstance(one._backend, PostgresBackend)
        assert one._backend._listener._thread is None


def test_a_session_of_ones_own_passes_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """In session mode notices come, and statements may be prepared."""
    monkeypatch.setattr("refold.engine.subscription.LOOK_EVERY_S", 3_600)
    url = through(postgres.schema_of_its_own(), pooled("session"), pgbouncer="false")
    with refold.open(url) as one, refold.open(url) as other:
        for _ in range(10):
            one.append("call-1", [A])
        waiting = one.subscribe(after=9)
        assert next(waiting).position == 10
        later = threading.Timer(0.2, lambda: other.append("call-1", [A]))
        later.start()
        assert next(waiting).position == 11
        later.join()


# -- what is said of it -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_of_which_nothing_is_said_is_refused(mode: str) -> None:
    """Before anything is done: what it passes on cannot be seen, so the address is to say it."""
    port = pooled("session" if mode == "session" else "transaction")
    with pytest.raises(UsageError) as caught:
        refold.open(through(postgres.schema_of_its_own(), port))
    assert caught.value.code == "pooled"
    assert "pgbouncer=true" in str(caught.value)
    assert "pgbouncer=false" in str(caught.value)


def test_a_pooler_that_is_put_before_an_open_store_is_refused(
    url: str, direct: str, durable: Server
) -> None:
    """Where its connections are made again: by who appends, who reads and who listens."""
    with refold.open(direct) as store:
        store.append("call-1", [A])
        backend = store._backend
        assert isinstance(backend, PostgresBackend)
        behind = parsed(url)._replace(is_pooled=None)
        backend._sessions.address = backend._writer._address = backend._listener._address = behind
        backend._sessions.close_idle()
        backend._writer.close()
        for use in (lambda: store.append("call-1", [A]), store.log_head):
            with pytest.raises(UsageError) as caught:
                use()
            assert caught.value.code == "pooled"
        backend.announce(lambda: None)
        thread = backend._listener._thread
        assert thread is not None
        thread.join(10)
        assert not thread.is_alive()


def test_who_says_the_wrong_mode_is_told(durable: Server, direct: str) -> None:
    """Two that prepare statements in one session meet each other's: nothing is written then."""
    refold.open(direct).close()
    with bouncers(durable.port, settings=("default_pool_size = 1",)) as narrow:
        wrong = through(direct, narrow.port, pgbouncer="false")
        with refold.open(wrong, mode="write") as one, refold.open(wrong, mode="write") as other:
            with pytest.raises(UsageError) as caught:
                for _ in range(10):
                    one.append("call-1", [A])
                    other.append("call-2", [A])
            assert caught.value.code == "pooled"
            assert "pgbouncer=true" in str(caught.value)
    with refold.open(direct) as store:
        assert [check for check in store.check() if not check.good] == []


def test_options_that_a_pooler_does_not_take_are_refused_at_once(url: str) -> None:
    """Tried again they would be refused again: it is told as what it is."""
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        refold.open(f"{url}&options=-c%20statement_timeout%3D1000")
    assert "startup parameter" in str(caught.value)
    assert time.monotonic() - began < 20
