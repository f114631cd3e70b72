"""What PostgreSQL can refuse, provoked for real: by other sessions, by its limits, by its operator.

Of each fault: what who appends and who reads is told, that nothing is half-written, and that it
goes on afterwards. The SQLSTATEs are those of
https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from random import Random
from typing import Any, Final, NamedTuple

import psycopg
import pytest

import refold
from refold import Event, Recorded
from refold.backends.postgres import PostgresBackend
from refold.backends.postgres import session as sessions
from refold.backends.postgres.address import parsed
from refold.engine.store import Store
from refold.errors import OutcomeUnknown, RefoldError, Unavailable, UsageError
from refold.projections import Projector
from tests.projections.sums import SUMS, sums
from tests.support import postgres
from tests.support.postgres import Server, limited, servers

A = Event("test.a")
SETTINGS: Final = (
    *("shared_buffers=16MB", "max_connections=20", "autovacuum=off", "deadlock_timeout=300ms"),
)
HANGS_S: Final = 60
"""Nothing may take so long here."""


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server that the tests of this file may treat as badly as they like."""
    with servers(SETTINGS) as started:
        yield started


class Place(NamedTuple):
    """A store in the server, and a connection of its operator."""

    server: Server
    url: str
    schema: str
    admin: psycopg.Connection[tuple[Any, ...]]

    def said(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement of the operator; ``refold.`` is the schema of the store."""
        cursor = self.admin.execute(sql.replace("refold.", f"{self.schema}.").encode())
        return cursor.fetchall() if cursor.description else []

    @contextmanager
    def set(self, name: str, value: str) -> Iterator[None]:
        """A setting of the server that is another for a while."""
        self.said(f"ALTER SYSTEM SET {name} = {value}")
        self.said("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            with postgres.connect(self.server.port) as admin:
                admin.execute("SET default_transaction_read_only = off")
                admin.execute(f"ALTER SYSTEM RESET {name}".encode())
                admin.execute("SELECT pg_reload_conf()")

    def is_sent_away(self) -> None:
        """Wait until the server has ended the operator's own session."""
        until = time.monotonic() + HANGS_S
        with suppress(psycopg.OperationalError):
            while time.monotonic() < until:
                self.said("SELECT 1")
        assert self.admin.closed

    def is_soon(self, condition: str) -> None:
        """Wait until a condition on what the server's sessions do holds."""
        until = time.monotonic() + HANGS_S
        while not self.said(f"SELECT 1 FROM pg_stat_activity WHERE {condition}"):
            assert time.monotonic() < until, condition
            time.sleep(0.01)


@pytest.fixture
def place(own: Server) -> Iterator[Place]:
    """An empty store, made."""
    url = postgres.url(own.port, schema=f"refused_{time.monotonic_ns()}")
    refold.open(url).close()
    with postgres.connect(own.port) as admin:
        yield Place(own, url, parsed(url).schema, admin)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tries for long."""
    monkeypatch.setattr(sessions, "RETRY_S", 1.0)


def within_limits(call: Callable[[], Any]) -> Any:
    """What a call answers, which does not hang."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(HANGS_S)


def backend_of(store: Store) -> PostgresBackend:
    """What keeps a store."""
    assert isinstance(store._backend, PostgresBackend)
    return store._backend


def writer_pid(store: Store) -> int:
    """The number of the session that appends."""
    return backend_of(store)._writer._seat.pid


# -- what may be provoked ---------------------------------------------------------------------


@contextmanager
def turn_is_taken(place: Place, store: Store) -> Iterator[None]:
    """Another transaction keeps the turn of all writers for as long as this lasts."""
    with postgres.connect(place.server.port) as other:
        other.execute(
            f"SELECT pg_advisory_lock('{place.schema}.log'::regclass::oid::bigint << 32)".encode()
        )
        yield


@contextmanager
def no_patience(place: Place, store: Store) -> Iterator[None]:
    """The same, and who waits for a lock waits for less than 10 seconds."""
    ((made,),) = place.said("SELECT pg_get_functiondef('refold.take_turn'::regproc)")
    assert "'10s'" in made
    place.said(made.replace("'10s'", "'200ms'"))
    with turn_is_taken(place, store):
        yield


@contextmanager
def deadlock(place: Place, store: Store) -> Iterator[None]:
    """Another transaction has a row that the append wants, and wants the turn that it has."""
    turn = f"SELECT pg_advisory_xact_lock('{place.schema}.log'::regclass::oid::bigint << 32)"
    waits = f"pid = {writer_pid(store)} AND wait_event_type = 'Lock'"

    def tangle(other: psycopg.Connection[tuple[Any, ...]]) -> None:
        place.is_soon(waits)
        other.execute(turn.encode())
        other.execute("ROLLBACK")

    with postgres.connect(place.server.port) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SET deadlock_timeout = '1min'")  # So it is the append that gives in.
        other.execute("BEGIN")
        other.execute(
            f"SELECT 1 FROM {place.schema}.streams WHERE name = 'call-1' FOR UPDATE".encode()
        )
        tangled = pool.submit(tangle, other)
        yield
        tangled.result(HANGS_S)


def failing(code: str, times: int) -> Callable[[Place, Store], AbstractContextManager[None]]:
    """The server fails so often, when rows of the log are stored."""

    @contextmanager
    def provoked(place: Place, store: Store) -> Iterator[None]:
        place.said("CREATE SEQUENCE refold.tries")  # What it counts is not undone.
        place.said(
            "CREATE FUNCTION refold.fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('refold.tries') <= {times} THEN "
            f"RAISE EXCEPTION 'it is so' USING ERRCODE = '{code}'; END IF; RETURN NULL; END $$"
        )
        place.said(
            "CREATE TRIGGER fails AFTER INSERT ON refold.log FOR EACH ROW "
            "EXECUTE FUNCTION refold.fails()"
        )
        yield
        place.said("DROP TRIGGER fails ON refold.log")

    return provoked


@contextmanager
def cancelled(place: Place, store: Store) -> Iterator[None]:
    """Somebody cancels the append while it waits for its turn."""

    def cancel() -> None:
        place.is_soon(f"pid = {writer_pid(store)} AND wait_event_type = 'Lock'")
        place.said(f"SELECT pg_cancel_backend({writer_pid(store)})")

    with turn_is_taken(place, store), ThreadPoolExecutor(1) as pool:
        done = pool.submit(cancel)
        yield
        done.result(HANGS_S)


@contextmanager
def read_only(place: Place, store: Store) -> Iterator[None]:
    """The server takes no writes, as a standby does not."""
    with place.set("default_transaction_read_only", "on"):
        until = time.monotonic() + HANGS_S
        while place.said("SHOW default_transaction_read_only") != [("on",)]:
            assert time.monotonic() < until
        time.sleep(0.1)
        yield


@contextmanager
def no_slots(place: Place, store: Store) -> Iterator[None]:
    """Others have all the connections that there are."""
    backend_of(store)._writer.close()
    backend_of(store)._sessions.close_idle()
    with ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            while True:
                stack.enter_context(postgres.connect(place.server.port))
        yield


@contextmanager
def shutting_down(place: Place, store: Store) -> Iterator[None]:
    """The server waits for its last client, and takes no other."""
    backend_of(store)._writer.close()
    backend_of(store)._sessions.close_idle()
    place.server.pids()  # It answers.
    signalled = place.server.process.pid
    postgres.signalled([signalled], signal.SIGTERM)
    until = time.monotonic() + HANGS_S
    with pytest.raises(psycopg.OperationalError, match="shutting down"):
        while time.monotonic() < until:
            postgres.connect(place.server.port).close()
    yield
    place.admin.close()
    place.server.process.wait(HANGS_S)
    place.server.start()


@contextmanager
def disk_is_full(place: Place, store: Store) -> Iterator[None]:
    """No file can grow over half a page: what is new finds no room in the tables."""
    limited([writer_pid(store)], 4096)
    yield
    limited([writer_pid(store)], None)


class Fault(NamedTuple):
    """One way in which the server fails; None: nobody is told, it is done again until it succeeds.

    ``told`` of who appends, ``read`` of who reads meanwhile; ``said`` stands in the message.
    """

    name: str
    provoked: Callable[[Place, Store], AbstractContextManager[None]]
    told: type[RefoldError] | None
    read: type[RefoldError] | None = None
    said: str = ""


FAULTS: Final = (
    Fault("40P01 deadlock", deadlock, None),
    Fault("40001 serialization failure", failing("40001", 2), None),
    Fault("40001 for ever", failing("40001", 1_000_000), Unavailable, said="stayed busy"),
    Fault("55P03 lock time-out", no_patience, Unavailable, said="stayed busy"),
    Fault("57014 cancelled", cancelled, Unavailable, said="stayed busy"),
    Fault("53200 out of memory", failing("53200", 1_000_000), Unavailable, said="no room"),
    Fault("53100 disk full", disk_is_full, Unavailable, said="no room"),
    Fault("58030 I/O error", failing("58030", 1_000_000), Unavailable, said="no room"),
    Fault("25006 read only", read_only, Unavailable, said="takes no writes"),
    Fault("53300 too many clients", no_slots, Unavailable, Unavailable, "too many clients"),
    Fault("57P03 shutting down", shutting_down, Unavailable, Unavailable, "shutting down"),
)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_what_the_server_refuses(place: Place, fault: Fault) -> None:
    """It is told as what it is, or done again; nothing is half-written, and then all is well."""
    # More than a page takes, and no shorter when it is compressed.
    large = Event("test.b", {"text": Random(0).randbytes(40_000).hex()})

    def append(store: Store) -> Any:
        return store.append("call-1", [large, A], key="one", tags=["x:1"])

    with refold.open(place.url) as store:
        store.append("call-1", [A])
        with fault.provoked(place, store):
            if fault.told is None:
                assert not within_limits(lambda: append(store)).duplicate
            else:
                with pytest.raises(fault.told, match=fault.said):
                    within_limits(lambda: append(store))
            if fault.read is None:
                assert store.log_head() == (1 if fault.told else 3)
            else:
                with pytest.raises(fault.read, match=fault.said):
                    within_limits(store.log_head)
        assert store.find("one") is None or fault.told is None
        assert store.head("call-1") == (0 if fault.told else 2)
        assert append(store).duplicate == (fault.told is None)
        assert [e.version for e in store.read("call-1")] == [0, 1, 2]
        assert [check for check in store.check() if not check.good] == []


# -- what ends sessions or the server ---------------------------------------------------------


def test_one_process_of_the_server_that_dies_ends_all_sessions(place: Place) -> None:
    """57P02, and 57P03 while it recovers: nobody is told, and it is stored once."""
    which = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    with refold.open(place.url) as store:
        store.append("call-1", [A])
        ((pid,),) = place.said(which)
        postgres.signalled([pid], signal.SIGKILL)
        place.is_sent_away()
        assert store.append("call-1", [A], expected=0).version == 1
        assert store.log_head() == 2
        assert [check for check in store.check() if not check.good] == []


def test_a_server_that_is_stopped_in_order_is_waited_for(place: Place) -> None:
    """57P01: its clients are sent away; when it is back, all goes on."""
    with refold.open(place.url) as store:
        store.append("call-1", [A])
        place.server.stop()
        later = threading.Timer(0.5, place.server.start)
        later.start()
        assert store.append("call-1", [A], expected=0).version == 1
        later.join()
        assert [e.position for e in store.read_all()] == [1, 2]


def test_a_write_ahead_log_that_cannot_grow_stops_the_server(place: Place) -> None:
    """It gives up at once (PANIC) and starts anew; what has not become part of it is stored."""
    with refold.open(place.url) as store:
        store.append("call-1", [A])
        limited([writer_pid(store)], 4096)
        assert store.append("call-1", [A], expected=0).version == 1
        assert [e.position for e in store.read_all()] == [1, 2]
        assert [check for check in store.check() if not check.good] == []


@pytest.mark.usefixtures("hasty")
def test_a_disk_that_stays_full_stops_it_for_good(place: Place) -> None:
    """It falls over again and again: who appends is told; with room again the key settles it."""
    with refold.open(place.url) as store:
        store.append("call-1", [A])
        limited([place.server.process.pid, writer_pid(store)], 4096)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            within_limits(lambda: store.append("call-1", [A], key="one"))
        place.server.stop()
        place.server.start()
        store.append("call-1", [A], key="one")
        assert [e.version for e in store.read("call-1")] == [0, 1]
        assert [check for check in store.check() if not check.good] == []


def test_a_handler_that_takes_too_long_in_its_transaction(place: Place) -> None:
    """25P03: the server undoes it, append and rows; the next one stores both."""
    slow = [True]

    def sleeps(recorded: Recorded) -> bool:
        if slow:
            slow.clear()
            time.sleep(0.6)
        return False

    limit = "&options=-c%20idle_in_transaction_session_timeout%3D200"
    with refold.open(place.url + limit, inline=[sums(fails_on=sleeps)]) as store:
        with pytest.raises(Unavailable):
            store.append("call-1", [Event("added", {"n": 1})])
        assert store.log_head() == 0
        store.append("call-1", [Event("added", {"n": 2})])
        with Projector(store, [sums()]) as projector:
            assert [row.amount for row in projector.rows(SUMS)] == [2]
        assert [check for check in store.check() if not check.good] == []


@pytest.mark.usefixtures("hasty")
def test_a_password_that_was_changed_is_told_at_once(place: Place) -> None:
    """28P01: who was connected goes on; then it is the caller's to mend, and he goes on with it."""
    place.said("CREATE ROLE agent LOGIN PASSWORD 'old'")
    place.said(f"CREATE SCHEMA {place.schema}_own AUTHORIZATION agent")
    url = place.url.partition("@")[2].replace(place.schema, f"{place.schema}_own")
    with refold.open(f"postgresql://agent:old@{url}") as store:
        store.append("call-1", [A])
        place.said("ALTER ROLE agent PASSWORD 'new'")
        store.append("call-1", [A])
        place.said("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agent'")
        for call in (lambda: store.append("call-1", [A], key="one"), store.log_head):
            with pytest.raises((UsageError, OutcomeUnknown)) as caught:
                call()
            assert "old" not in str(caught.value)
            assert "password authentication failed" in str(caught.value.__cause__ or caught.value)
        with pytest.raises(UsageError) as refused:
            store.append("call-1", [A], key="one")
        assert refused.value.code == "not_writable"
        place.said("ALTER ROLE agent PASSWORD 'old'")
        store.append("call-1", [A], key="one")
        assert [e.version for e in store.read("call-1")] == [0, 1, 2]
