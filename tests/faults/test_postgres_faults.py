"""A log in PostgreSQL whose clients, sessions and server are killed under load.

Whoever appends is told of none of it, as long as the server comes back: lost connections are made
again, and what became of a commit is found out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from signal import SIGCONT, SIGSTOP
from typing import Literal

import psycopg
import pytest

import refold
from refold import NO_STREAM, Event
from refold.backends.postgres import PostgresBackend
from refold.backends.postgres import session as sessions
from refold.errors import Conflict, OutcomeUnknown, Unavailable
from tests.faults import victims
from tests.faults.test_kill import Crowd, Told, judge
from tests.support import postgres
from tests.support.postgres import Server, servers, signalled
from tests.support.soak import bound, counted

WRITERS = (victims.write_in_threads, victims.write_in_tasks)
ROUNDS = bound(3, 30)
ANSWERS = 60
DURABLE = ("shared_buffers=32MB", "max_connections=100", "autovacuum=off")
JULY_ENDS = 1_785_542_400_000_000
"""2026-08-01, in microseconds."""


@pytest.fixture(scope="module")
def durable() -> Iterator[Server]:
    """A server whose commits last; the tests of this file may do to it what they like."""
    with servers(DURABLE) as started:
        yield started


@pytest.fixture
def url(durable: Server) -> str:
    """An empty store in it."""
    return postgres.url(durable.port, schema=f"faults_{time.monotonic_ns()}")


class Follower:
    """Follows a log in a thread, and notes the positions that it is given."""

    def __init__(self, url: str) -> None:
        self.positions: list[int] = []
        self._store = refold.open(url)
        self._subscription = self._store.subscribe()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        for event in self._subscription:
            self.positions.append(event.position)

    def check(self, head: int) -> None:
        """Wait until it has come so far: it was given each position once, in order."""
        until = time.monotonic() + 30
        while len(self.positions) < head and time.monotonic() < until:
            time.sleep(0.01)
        self._subscription.close()
        self._thread.join()
        self._store.close()
        assert self.positions == list(range(1, head + 1))


def answered(url: str, harm: Callable[[Iterator[Told]], Iterator[Told]]) -> None:
    """Processes append while harm is done between their answers; then judge the log."""
    refold.open(url).close()
    follower = Follower(url)
    crowd = Crowd(url, "crowd", "FULL", WRITERS)
    try:
        heard = list(harm(crowd.answers(ROUNDS * ANSWERS)))
        for process in crowd.processes:
            crowd.kill(process)
        heard += crowd.last_words()
    finally:
        crowd.close()
    time.sleep(0.2)  # What the killed had sent may still be on its way to be stored.
    with refold.open(url) as store:
        judge(store, {(one.lane, one.turn): one for one in heard})
        head = store.log_head()
    follower.check(head)


def between(answers: Iterator[Told], every: int, harm: Callable[[], object]) -> Iterator[Told]:
    """The answers, and harm after every so many, once each process has begun."""
    begun: set[str] = set()
    for number, answer in enumerate(answers):
        begun.add(answer.lane.rpartition(".")[0])
        if number % every == every // 2 and len(begun) == len(WRITERS):
            harm()
        yield answer


def test_sessions_that_the_server_ends_lose_nothing(durable: Server, url: str) -> None:
    """All connections are cut, again and again: each append is stored once, in its order."""
    with postgres.connect(durable.port) as admin:

        def cut() -> None:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'refold'"
            )
            counted("sessions of PostgreSQL cut")

        answered(url, lambda answers: between(answers, 20, cut))


def test_a_server_that_is_killed_loses_nothing(durable: Server, url: str) -> None:
    """kill -9 of all of its processes, and a start: who appends and who follows goes on."""

    def kill() -> None:
        durable.kill()
        counted("kill -9 of PostgreSQL")
        durable.start()

    answered(url, lambda answers: between(answers, ANSWERS, kill))


def test_processes_that_are_killed_lose_nothing_that_they_were_told(url: str) -> None:
    """kill -9 of who appends: what was told is there, what is there is whole."""
    answered(url, lambda answers: answers)


def test_a_month_ends_under_load(url: str) -> None:
    """Stores whose clocks stand on either side of the edge race for versions, keys and positions.

    Each version and each key has one winner, positions and times stay in order, and the events
    stand in two partitions.
    """
    refold.open(url).close()
    told: list[object] = []

    def work(worker: int) -> None:
        now = iter(range(JULY_ENDS - 40 + worker, JULY_ENDS + 4_000))
        with refold.open(url, clock=lambda: next(now)) as store:
            for number in range(40):
                event = [Event("test.raced", {"by": worker})]
                head = store.head("all-1")
                for stream, expected in (
                    (f"new-{number}", NO_STREAM),
                    ("all-1", NO_STREAM if head < 0 else head),
                ):
                    with suppress(Conflict):
                        told.append(store.append(stream, event, expected=expected))
                key = f"key-{number}"
                store.append("keyed-1", [Event("test.keyed", {"n": number})], key=key)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with refold.open(url) as store:
        events = list(store.read_all())
        assert [e.position for e in events] == list(range(1, len(events) + 1))
        times = [e.recorded_at_us for e in events]
        assert times == sorted(times)
        assert times[0] < JULY_ENDS <= times[-1]
        assert len({(e.stream, e.version) for e in events}) == len(events)
        assert len(told) == len([e for e in events if e.type == "test.raced"])
        assert store.head("keyed-1") == 39
        assert all(store.head(f"new-{number}") == 0 for number in range(40))
        assert [check for check in store.check() if not check.good] == []
        assert isinstance(store._backend, PostgresBackend)
        found = store._backend.query("SELECT DISTINCT tableoid::regclass::text FROM log")
        assert sorted(name for (name,) in found) == ["log_2026_07", "log_2026_08"]


def test_a_long_transaction_holds_nobody_up(durable: Server, url: str) -> None:
    """A reader with a snapshot of an hour ago, or a commit that is undone: positions stay dense."""
    with refold.open(url) as store, postgres.connect(durable.port) as other:
        store.append("call-1", [Event("test.a")])
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        schema = url.rpartition("=")[2]
        other.execute(f"SELECT count(*) FROM {schema}.log".encode())
        for number in range(20):
            store.append("call-1", [Event("test.a")], expected=number)
        assert [e.position for e in store.read_all()] == list(range(1, 22))
        assert other.execute(f"SELECT count(*) FROM {schema}.log".encode()).fetchone() == (1,)
        other.execute("ROLLBACK")


def test_a_server_that_is_gone_is_told_of(
    durable: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, and not for ever: nothing was written, or it is not known."""
    monkeypatch.setattr(sessions, "RETRY_S", 0.3)
    with refold.open(url) as store:
        store.append("call-1", [Event("test.a")])
        durable.kill()
        try:
            with pytest.raises(Unavailable):
                store.log_head()
            with pytest.raises((Unavailable, OutcomeUnknown)):
                store.append("call-1", [Event("test.a")], key="one")
        finally:
            durable.start()
        monkeypatch.undo()
        store.append("call-1", [Event("test.a")], key="one")
        assert store.log_head() == store.head("call-1") + 1 == 2


def test_a_server_that_stands_still_is_told_of(
    durable: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what is sent and answers nothing: whoever waits is told so in the end."""
    for limit in ("READ_S", "RETRY_S"):
        monkeypatch.setattr(sessions, limit, 0.3)
    monkeypatch.setattr(sessions.connected, "__kwdefaults__", {"answer_s": 0.3})
    with refold.open(f"{url}&connect_timeout=2") as store:
        store.append("call-1", [Event("test.a")])
        store.log_head()
        pids = durable.pids()
        signalled(pids, SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                store.log_head()
            with pytest.raises(OutcomeUnknown):
                store.append("call-1", [Event("test.a")], key="one")
        finally:
            signalled(pids, SIGCONT)
        monkeypatch.undo()
        store.append("call-1", [Event("test.a")], key="one")
        assert store.log_head() == store.head("call-1") + 1 == 2


def test_a_limit_of_the_server_is_told_as_one(durable: Server, url: str) -> None:
    """A statement that took too long was undone; the next one is tried as any."""
    with refold.open(f"{url}&options=-c%20statement_timeout%3D1000") as hasty:
        hasty.append("call-1", [Event("test.a")])
        with postgres.connect(durable.port) as admin:
            log = f"'{url.rpartition('=')[2]}.log'::regclass::oid::bigint"
            admin.execute(f"SELECT pg_advisory_lock({log} << 32)".encode())  # Everybody's turn.
            with pytest.raises(Unavailable) as caught:
                hasty.append("call-2", [Event("test.a")])
        assert isinstance(caught.value.__cause__, psycopg.errors.QueryCanceled)
        assert hasty.head("call-2") == -1
        assert hasty.append("call-1", [Event("test.a")]).position == 2


def test_an_append_of_another_process_wakes_who_waits(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, where he would else have looked an hour later."""
    monkeypatch.setattr("refold.engine.subscription.LOOK_EVERY_S", 3_600)
    with refold.open(url) as one, refold.open(url) as other:
        one.append("call-1", [Event("test.a")])
        waiting = one.subscribe()
        assert next(waiting).position == 1
        later = threading.Timer(0.5, lambda: other.append("call-1", [Event("test.b")]))
        later.start()
        assert next(waiting).position == 2
        later.join()


def test_what_is_missing_is_told(url: str) -> None:
    """A store that was never made is not found; nothing is made to look."""
    modes: tuple[Literal["read", "write"], ...] = ("read", "write")
    for mode in modes:
        with pytest.raises(refold.errors.NotFound):
            refold.open(url, mode=mode)
    with pytest.raises(Unavailable):
        refold.open("postgresql://127.0.0.1:1/none?connect_timeout=2")
