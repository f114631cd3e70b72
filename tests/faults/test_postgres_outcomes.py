"""What became of a commit whose connection was lost: not told before it lasts, nor made twice.

The server stops answering, follows another, is another, or has a pooler before it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import refold
from refold import Event
from refold.backends.postgres import PostgresBackend, writer
from refold.backends.postgres import session as sessions
from refold.backends.postgres.address import Address, parsed
from refold.backends.postgres.session import ServerSession
from refold.core.expected import ANY
from refold.core.stored import Row
from refold.errors import OutcomeUnknown, RefoldError, Unavailable
from refold.feeds.kafka import KafkaFeed
from refold.feeds.kafka.standing import keeper_of, source_of
from refold.ports import Batch, TableTransaction, Write
from refold.projections import Projector
from tests.projections.sums import sums
from tests.support import postgres
from tests.support.postgres import Server, servers

LOST = psycopg.OperationalError("server closed the connection unexpectedly")
A = Event("test.a")


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server that the tests of this file may set and stop as they like."""
    with servers((*postgres.QUICK, "hot_standby=on")) as started:
        yield started


@pytest.fixture
def url(own: Server) -> str:
    """An empty store in it."""
    return postgres.url(own.port, schema=f"outcomes_{time.monotonic_ns()}")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tries for long."""
    monkeypatch.setattr(sessions, "RETRY_S", 0.2)


class Nothing:
    """What stands beside: nothing."""

    def begin(self, tables: TableTransaction, *, after: int) -> None:
        """Begin."""

    def add(self, tables: TableTransaction, rows: Sequence[Row]) -> RefoldError | None:
        """Nothing is refused."""
        return None

    def end(self, tables: TableTransaction, *, position: int) -> None:
        """End."""


def losing(monkeypatch: pytest.MonkeyPatch, after: Callable[[], object]) -> None:
    """The next append is stored; then something happens, and its answer is lost."""
    real, left = ServerSession.run, [True]

    def run(session: ServerSession, name: str, *values: Any) -> list[tuple[Any, ...]]:
        rows = real(session, name, *values)
        if name in ("append", "append_one") and left:
            left.clear()
            after()
            raise LOST
        return rows

    monkeypatch.setattr(ServerSession, "run", run)


@pytest.mark.parametrize(("key", "beside"), [(None, None), ("one", Nothing()), ("one", None)])
def test_a_commit_behind_a_pooler_may_come_late(
    url: str, monkeypatch: pytest.MonkeyPatch, key: str | None, beside: Nothing | None
) -> None:
    """The pooler hands on what was sent, after its client is gone.

    So nothing is sent again but what has a key; and where the late one keeps that from its turn,
    nobody is told that nothing was written.
    """
    kept: list[ServerSession] = []
    real = ServerSession.run

    def lost(session: ServerSession) -> writer.Told:
        kept.append(session)
        raise LOST

    def closed(session: ServerSession) -> None:
        if session not in kept:
            session.close()

    def run(session: ServerSession, name: str, *values: Any) -> list[tuple[Any, ...]]:
        if name == "take_turn" and kept:
            raise psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
        return real(session, name, *values)

    backend = PostgresBackend(f"{url}&pgbouncer=true")
    monkeypatch.setattr(ServerSession, "run", run)
    monkeypatch.setattr(writer, "RACES_BEFORE_TURN", 0)
    monkeypatch.setattr(writer, "_committed", lost)
    monkeypatch.setattr(
        writer, "close_quietly", lambda session: None if session in kept else session.close()
    )
    batch = Batch([Write("call-1", ANY, ("test.a",), None, '[["test.a",{}]]')], key, b"digest")
    with pytest.raises(OutcomeUnknown):
        backend.commit([batch], now=1, beside=beside)
    monkeypatch.undo()
    kept[0].execute("COMMIT")
    kept[0].close()
    backend.close()
    with refold.open(url) as store:
        assert store.log_head() == store.head("call-1") + 1 == 1


@contextmanager
def nobody_standing_by(own: Server) -> Iterator[None]:
    """A synchronous standby is asked for and is not there: commits wait for ever."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with postgres.connect(own.port) as admin, postgres.connect(own.port) as other:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")

        def commit_until_one_waits() -> None:
            while not waits:
                other.execute("SELECT pg_logical_emit_message(true, 'test', '')")

        waits: list[bool] = []
        thread = threading.Thread(target=commit_until_one_waits)
        thread.start()
        while admin.execute(waiting).fetchone() == (0,):
            time.sleep(0.01)
        waits.append(True)
        try:
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")
            thread.join()


@pytest.mark.usefixtures("hasty")
def test_what_no_standby_has_is_not_acknowledged(
    own: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has it on its own disk and shows it; nor is it when it is asked for again."""
    with refold.open(url) as store:
        store.append("call-1", [A])
        backend = store._backend
        assert isinstance(backend, PostgresBackend)
        with nobody_standing_by(own):
            monkeypatch.setattr(sessions.connected, "__kwdefaults__", {"answer_s": 1.0})
            backend._writer._connection().answer_s = 1.0
            with pytest.raises(OutcomeUnknown):
                store.append("call-2", [A], key="one")
            assert store.head("call-2") == 0
            with pytest.raises(Unavailable):
                store.append("call-2", [A], key="one")
            monkeypatch.undo()
        assert store.append("call-2", [A], key="one").duplicate
        assert [e.stream for e in store.read_all()] == ["call-1", "call-2"]


@pytest.mark.usefixtures("hasty")
def test_another_server_does_not_know(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several hosts the next may be another system: what it has not, the first may have."""
    other = parsed(postgres.url(postgres.shared(), schema=parsed(url).schema))
    refold.open(postgres.url(postgres.shared(), schema=other.schema)).close()
    with refold.open(url) as store:
        store.append("call-1", [A])
        losing(
            monkeypatch, lambda: monkeypatch.setattr(writer, "connected", lambda _: connect(other))
        )
        with pytest.raises(OutcomeUnknown):
            store.append("call-1", [A])
        monkeypatch.undo()
        assert store.head("call-1") == 1
        assert store.append("call-1", [A]).version == 2
    with refold.open(postgres.url(postgres.shared(), schema=other.schema)) as store:
        assert store.log_head() == 0


def connect(address: Address) -> ServerSession:
    """A connection to an address, whatever is patched."""
    return sessions.connected(address)


@contextmanager
def followed(own: Server) -> Iterator[None]:
    """The server comes back as one that only follows, and at last as it was."""
    own.stop()
    own.signal_file.touch()
    own.start()
    yield
    own.stop()
    own.signal_file.unlink()
    own.start()


@pytest.mark.usefixtures("hasty")
def test_a_standby_does_not_know_and_passes_nothing_on(
    own: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be behind. Reading there works; its listener ends, for there is nothing to hear."""
    with refold.open(url) as store:
        store.append("call-1", [A])
        standing = followed(own)
        losing(monkeypatch, standing.__enter__)
        try:
            with pytest.raises(OutcomeUnknown):
                store.append("call-1", [A])
            monkeypatch.undo()
            with refold.open(url, mode="read") as reader:
                assert [e.version for e in reader.read("call-1")] == [0, 1]
                backend = reader._backend
                assert isinstance(backend, PostgresBackend)
                backend.announce(lambda: None)
                thread = backend._listener._thread
                assert thread is not None
                thread.join(10)
                assert not thread.is_alive()
        finally:
            standing.__exit__(None, None, None)
        assert store.head("call-1") == 1
        assert store.append("call-1", [A]).version == 2


def test_of_several_hosts_the_one_that_takes_writes_is_used() -> None:
    """Unless the address says otherwise; a single one is taken as it is."""
    attrs = "target_session_attrs"
    assert parsed("postgresql://a,b/d").for_writing().conninfo[attrs] == "read-write"
    assert attrs not in parsed("postgresql://a/d").for_writing().conninfo
    said = parsed(f"postgresql://a,b/d?{attrs}=primary").for_writing()
    assert said.conninfo[attrs] == "primary"


def test_closing_does_not_wait_for_a_server_that_is_silent(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener may be connecting; its thread ends by itself."""
    entered, released = threading.Event(), threading.Event()

    def silent(address: Address) -> ServerSession:
        entered.set()
        released.wait(30)
        raise LOST

    monkeypatch.setattr("refold.backends.postgres.listener.connected", silent)
    monkeypatch.setattr("refold.backends.postgres.listener.END_S", 0.05)
    backend = PostgresBackend(url)
    backend.announce(lambda: None)
    assert entered.wait(10)
    backend.close()
    thread = backend._listener._thread
    assert thread is not None
    assert thread.is_alive()
    released.set()
    thread.join(10)
    assert not thread.is_alive()


def test_whatever_happened_a_token_is_kept_for_a_day(own: Server, url: str) -> None:
    """However many positions came since; then, and among many, it is forgotten bit by bit."""
    day = 86_400_000_000
    now = [day * 20_000]
    schema = parsed(url).schema
    tokens = f"SELECT count(*), min(after) FROM {schema}.commits".encode()
    with refold.open(url, clock=lambda: now[0]) as store, postgres.connect(own.port) as admin:
        store.append("call-1", [A])
        more = "SELECT 0, g, g + 1, %s, gen_random_uuid() FROM generate_series(%s, %s) AS g"
        filled = f"INSERT INTO {schema}.commits (tenant, after, last, recorded_at, token) {more}"
        admin.execute(filled.encode(), (now[0], 200_000, 213_000))
        now[0] += 40 * day
    with postgres.connect(own.port) as admin:
        made = f"SELECT {schema}.make_partition({now[0]})".encode()
        assert admin.execute(made).fetchone() == (True,)
        assert admin.execute(tokens).fetchone() == (13_002, 0)
        # Only its time tells that nobody looks for it any more, and the newest 10,000 stay.
        for _ in range(3):
            with refold.open(url, clock=lambda: now[0]) as store:
                store.append("call-1", [A])
        assert admin.execute(tokens).fetchone() == (10_002, 203_002)


def test_tables_whose_commit_is_lost_may_be_stored(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told so, and not that nothing was; whoever goes on looks how far they have come."""
    real, losses = ServerSession.execute, [0]

    def execute(session: ServerSession, query: Any, *values: Any, **how: Any) -> Any:
        answer = real(session, query, *values, **how)
        if query == "COMMIT" and losses[0]:
            losses[0] -= 1
            session.close()
            raise LOST
        return answer

    monkeypatch.setattr(ServerSession, "execute", execute)
    with refold.open(url) as store:
        projector = Projector(store, [sums()])
        for number in range(3):
            store.append("call-1", [Event("added", {"n": number})])
            losses[0] = number % 2
            if losses[0]:
                with pytest.raises(OutcomeUnknown, match="look how far they have come"):
                    projector.catch_up()
                assert losses == [0]
            else:
                projector.catch_up()
        losses[0] = 2
        store.append("call-1", [Event("added", {"n": 10})])
        running = threading.Thread(target=projector.run)
        running.start()
        store.wait_for("sums", 4)
        store.append("call-1", [Event("added", {"n": 10})])
        store.wait_for("sums", 5)
        projector.close()
        running.join()
        assert projector.query("SELECT sum(amount) FROM sums") == [(23,)]


def test_what_is_kept_beside_the_log_waits_for_a_server_that_restarts(
    own: Server, url: str
) -> None:
    """As a feed does that begins then: nothing was done yet, so it is done when it is there."""
    with refold.open(url) as store:
        store.append("call-1", [A])
        own.kill()
        later = threading.Timer(0.5, own.start)
        later.start()
        feed = KafkaFeed(store, "agents", bootstrap="127.0.0.1:1")
        later.join()
        assert feed._source == source_of(keeper_of(store))
