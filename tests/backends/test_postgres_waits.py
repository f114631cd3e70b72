"""How long things take in PostgreSQL, who waits for whom, and what an interrupt leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import psycopg
import pytest

import refold
import refold.projections
from refold import Event
from refold.backends.postgres import PostgresBackend, doctor, queries, writer
from refold.backends.postgres import session as sessions
from refold.backends.postgres.address import parsed
from refold.backends.postgres.session import ServerSession, Sessions, connected
from refold.core.query import Query
from refold.core.snapshot import Snapshot
from refold.errors import BackendError, Conflict, Unavailable
from tests.support import postgres

A = Event("test.a")


@pytest.fixture
def url() -> str:
    """A store whose schema is yet to be made."""
    return postgres.schema_of_its_own()


@pytest.fixture
def backend(url: str) -> Iterator[PostgresBackend]:
    """The backend of the store."""
    opened = PostgresBackend(url)
    yield opened
    opened.close()


class Interrupted:
    """Looks for an answer until Ctrl-C comes."""

    def poll(self, _ms: int) -> list[object]:
        """The interrupt."""
        raise KeyboardInterrupt


def test_an_interrupt_while_an_answer_is_due_costs_the_connection_alone(url: str) -> None:
    """The append may be stored or not; the next one goes by another connection."""
    with refold.open(url) as store:
        store.append("call-1", [A])
        session: Any = store._backend._writer._session  # type: ignore[attr-defined]
        session.__dict__["_sooner"] = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            store.append("call-1", [A])
        assert session.closed
        version = store.append("call-1", [A]).version
        assert version in (1, 2)
        assert [event.version for event in store.read("call-1")] == list(range(version + 1))


def test_a_look_at_all_takes_its_time(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Doctor waits for a server that works; whoever reads takes one that is silent for lost."""
    slow = "SELECT x FROM (SELECT pg_sleep(0.4)::text AS x OFFSET 0) AS s WHERE x <> ''"
    asked = doctor._queries() | {"streams": [("slow", slow)]}
    monkeypatch.setattr(doctor, "_queries", lambda: asked)
    monkeypatch.setattr(sessions, "READ_S", 0.1)
    backend._sessions.close_idle()
    monkeypatch.setattr(sessions, "RETRY_S", 0.0)
    assert [check for check in backend.check() if not check.good] == []
    with pytest.raises(Unavailable):
        backend._read(lambda session: session.execute("SELECT pg_sleep(0.4)"))


@pytest.mark.parametrize("limit", ["", "&options=-c%20statement_timeout%3D1000"])
def test_a_query_that_takes_too_long_ends_at_the_server(
    url: str, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """By refold's limit or by one that is set; so it is told of as what it is."""
    monkeypatch.setattr("refold.backends.postgres.tables.QUERY_S", 60.0 if limit else 0.2)
    refold.open(url).close()
    with refold.open(url + limit) as store:
        with pytest.raises(Unavailable) as caught:
            refold.projections.Projector(store, []).query("SELECT pg_sleep(30)")
        assert isinstance(caught.value.__cause__, psycopg.errors.QueryCanceled)
        store.append("call-1", [A])


def test_what_is_rare_is_looked_for_bit_by_bit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement looks through more than so many positions, wherever the next one is."""
    monkeypatch.setattr(queries, "POSITIONS_PER_LOOK", 10)
    looked: list[tuple[int, int]] = []
    real = ServerSession.run

    def run(session: ServerSession, name: str, *values: Any) -> list[tuple[Any, ...]]:
        if name == "log_page" and values[3:5] != (None, None):
            looked.append((values[1], values[6]))
        return real(session, name, *values)

    monkeypatch.setattr(ServerSession, "run", run)
    with refold.open(url) as store:
        store.append("rare-1", [A])
        for _ in range(3):
            store.append("call-1", [A] * 11)
        store.append("rare-1", [Event("test.b")] * 3)
        found = [e.position for e in store.read_all(categories=["rare"])]
        assert found == [1, 35, 36, 37]
        assert [e.position for e in store.read_all(types=["test.b"])] == [35, 36, 37]
        assert [e.position for e in store.read_all(types=["test.none"])] == []
    assert len(looked) >= 8
    assert {ends - after for after, ends in looked} == {10}


def test_a_condition_on_much_is_looked_at_before_the_turn(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the turn, in which everybody waits, only what came since is; it says the same."""
    monkeypatch.setattr(writer, "LOOK_AHEAD", 3)
    after: list[int] = []
    real = ServerSession.run

    def run(session: ServerSession, name: str, *values: Any) -> list[tuple[Any, ...]]:
        if name == "append" and values[9]:
            after.extend(one[1] for one in json.loads(values[9]))
        return real(session, name, *values)

    monkeypatch.setattr(ServerSession, "run", run)
    none, some = Query(types=["test.none"]), Query(types=["test.b"])
    with refold.open(url) as store, refold.open(url) as other:
        store.append("call-1", [A, A, Event("test.b"), A, A])
        store.append("call-1", [A], unless=none, after=0)
        with pytest.raises(Conflict):
            store.append("call-1", [A], unless=some, after=0)
        store.append("call-1", [A], unless=some, after=3)
        assert after == [5, 3]
        # What another appends after the look breaks it all the same.
        seen = PostgresLook(monkeypatch, lambda: other.append("call-2", [Event("test.none")]))
        with pytest.raises(Conflict):
            store.append("call-1", [A], unless=none, after=0)
        assert seen.count == 1
        assert store.head("call-1") == 6


class PostgresLook:
    """Does something after each look at a condition before the turn, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Any) -> None:
        self.count = 0
        real = writer.PostgresWriter._looked_ahead

        def looked(keeper: writer.PostgresWriter, *given: Any) -> Any:
            found = real(keeper, *given)
            if given[1].conditions:
                self.count += 1
                then()
            return found

        monkeypatch.setattr(writer.PostgresWriter, "_looked_ahead", looked)


def test_a_pooler_gets_its_sessions_back_as_they_were(url: str) -> None:
    """Whatever isolation they have by default, writers see each other; nothing is left set."""
    strict = f"{url}&pgbouncer=true&options=-c%20default_transaction_isolation%3Dserializable"
    with refold.open(strict) as one, refold.open(strict) as other:
        for number in range(6):
            (one, other)[number % 2].append("call-1", [Event("test.a", {"n": number})])
        assert [e.data["n"] for e in one.read("call-1")] == list(range(6))
        assert isinstance(one._backend, PostgresBackend)
        session = one._backend._writer._connection()
        shown = session.execute("SHOW default_transaction_isolation").fetchall()
        assert shown == [("serializable",)]


def test_snapshots_are_left_out_where_all_connections_are_in_use(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are a cache: nobody is told that one was not kept."""
    monkeypatch.setattr(sessions, "RETRY_S", 0.05)
    taken = Snapshot("call-1", "fold", "print", 0, 1, 1, 1, b"state", b"digest")
    with ExitStack() as stack:
        for _ in range(sessions.SESSIONS_MAX):
            stack.enter_context(backend._sessions.lent())
        backend.keep_snapshots([taken])
    assert backend.snapshot("call-1", fold="fold", fingerprint="print", last=9) is None
    backend.keep_snapshots([taken])
    assert backend.snapshot("call-1", fold="fold", fingerprint="print", last=9) == taken


def test_an_interrupt_takes_no_connection_away(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes while one is waited for or given back: all can be lent again."""
    monkeypatch.setattr(sessions, "RETRY_S", 0.2)
    pool = Sessions(parsed(url))
    with pool.lent():
        pass
    lines = 0

    def borrowed(interrupted_at: int) -> None:
        """Interrupt at the line of that number in what hands connections out."""
        nonlocal lines
        lines = 0

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal lines
            if frame.f_code.co_filename.endswith(("threading.py", "queue.py")):
                lines += event == "line"
                if lines == interrupted_at:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            with pool.lent():
                pass
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)

    for line in range(1, 20):
        borrowed(line)
        with ExitStack() as stack:
            for _ in range(sessions.SESSIONS_MAX):
                stack.enter_context(pool.lent())
    pool.close()


def test_a_nul_in_metadata_is_read_by_sql_and_by_doctor(url: str) -> None:
    """Beside tags, and in what events share; what an event says itself comes on top."""
    with refold.open(url) as store:
        own = Event("test.a", metadata={"own": "\0", "by": "him"})
        store.append("call-1", [own, A], metadata={"k": "a\0b", "by": "me"}, tags=["x:1", "a:2"])
        store.append("call-2", [own])
        assert [check for check in store.check() if not check.good] == []
        found = refold.projections.Projector(store, []).query(
            "SELECT metadata FROM events ORDER BY position"
        )
        assert [json.loads(text) for (text,) in found] == [e.metadata for e in store.read_all()]
        assert json.loads(found[0][0])["by"] == "him"
        with postgres.connect(postgres.shared()) as admin:
            tags = f"{parsed(url).schema}.tags"
            admin.execute(f"DELETE FROM {tags} WHERE tag = 'x:1'".encode())
            assert [c.name for c in store.check() if not c.good] == ["tags"]


def test_what_fails_when_it_is_committed_is_not_told_as_stored(url: str) -> None:
    """The answer of the function that appends comes before its commit, which then fails."""
    late = """
        CREATE FUNCTION {0}.refuse_late() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''too late''; END';
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON {0}.commits DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION {0}.refuse_late()"""
    with refold.open(url) as store, connected(parsed(url)) as admin:
        assert store.append("call-1", [A]).version == 0
        admin.execute(late.format(admin.schema).encode(), prepare=False)
        for _ in range(2):
            with pytest.raises(BackendError, match="too late"):
                store.append("call-1", [A], expected=0)
            assert (store.head("call-1"), store.log_head()) == (0, 1)
        admin.execute(f"DROP TRIGGER late ON {admin.schema}.commits".encode())
        assert store.append("call-1", [A], expected=0).version == 1
