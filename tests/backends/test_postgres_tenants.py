"""Logs of several tenants in the same tables: each has all that a log has, and sees no other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

import refold
from refold import Event
from refold.backends.postgres import PostgresBackend
from refold.backends.postgres.address import parsed
from refold.errors import UsageError
from refold.feeds.kafka.standing import FEED, FeedStanding, keep, keeper_of, lags
from refold.ports import Begin
from refold.projections import Projector
from refold.readmodels import Wanted, built_in, find, tool_usage
from tests.support import postgres
from tests.support.roles import VERSIONS, Shared, shared

OURS, THEIRS = 7, 8
CALL = Event("tool.call", {"call_id": "c", "name": "refund", "arguments": "{}"})
SECRET = Event("user.utterance", {"text": "the secret word"})
COUNTED = (
    "SELECT count(*) FROM log WHERE tenant = {t}",
    "SELECT count(*) FROM commits WHERE tenant = {t}",
    "SELECT count(*) FROM streams WHERE tenant = {t}",
    "SELECT count(*) FROM streams WHERE name = 'secret-1'",
    "SELECT count(*) FROM keys WHERE tenant = {t}",
    "SELECT count(*) FROM keys WHERE key = 'secret-key'",
    "SELECT count(*) FROM tags WHERE tenant = {t}",
    "SELECT count(*) FROM tags WHERE tag = 'secret-tag'",
    "SELECT count(*) FROM snapshots WHERE tenant = {t}",
    "SELECT count(*) FROM detached WHERE tenant = {t}",
    "SELECT count(*) FROM log_default WHERE tenant = {t}",
    "SELECT count(*) FROM log WHERE tenant <> {ours}",
    "SELECT count(*) FROM log WHERE body::text LIKE '%secret%'",
    "SELECT count(*) FROM events WHERE data::text LIKE '%secret%'",
    "SELECT count(*) FROM events_attached WHERE data::text LIKE '%secret%'",
    "SELECT count(*) FROM (SELECT set_config('refold_session.tenant', '{t}', false)) AS s, events",
    "SELECT count(*) FROM {their_room}.conversations",
    "SELECT count(*) FROM {their_room}.search",
    'SELECT count(*) FROM {their_room}."search_texts@1"',
    "SELECT count(*) FROM {their_room}.refold_projections",
    "SELECT count(*) FROM {their_room}.refold_progress",
    "SELECT coalesce(found_after({t}, '{{}}', '{{user.utterance}}', 0), 0)",
    "SELECT coalesce(found_after({t}, '{{secret-tag}}', NULL, 0), 0)",
    "SELECT count(*) FROM pg_stats WHERE schemaname = '{schema}' AND tablename = 'streams'",
    "SELECT count(*) FROM pg_stats WHERE schemaname = '{schema}' AND tablename LIKE 'log%'",
)
"""Questions about another tenant: to each the answer is 0, though there is something."""


@pytest.fixture(scope="module", params=VERSIONS, ids=str)
def made(request: pytest.FixtureRequest) -> Shared:
    """A store with roles in which another tenant has what somebody would like to know."""
    shop = shared(request.param)
    keeper = shop.login("maintainer")
    with refold.open(shop.url(keeper, tenant=THEIRS)) as store:
        store.append(
            "secret-1", [SECRET, CALL], key="secret-key", metadata={"tags": ["secret-tag"]}
        )
        Projector(store, built_in()).catch_up()
    with shop.session(keeper) as session:
        session.execute("ANALYZE log, streams")
    return shop


@pytest.fixture
def writer(made: Shared) -> str:
    """A login that writes for one tenant."""
    return made.login("writer", tenants=[OURS])


@pytest.fixture
def session(made: Shared, writer: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A plain connection of it."""
    with made.session(writer) as opened:
        yield opened


def asked(made: Shared, sql: str) -> bytes:
    """A question, about the other tenant."""
    room = f'"{made.schema}@{THEIRS}"'
    given = {"t": THEIRS, "ours": OURS, "their_room": room, "schema": made.schema}
    return sql.format(**given).encode()


def test_a_login_that_sees_its_tenant_no_more_is_told_that(made: Shared) -> None:
    """And not that the log went back, which is to be mended otherwise."""
    reader, writer = (made.login(group, tenants=[9]) for group in ("reader", "writer"))
    reads, writes = (made.url(login, tenant=9) for login in (reader, writer))
    with refold.open(reads, mode="read") as store, refold.open(writes) as other:
        other.append("call-1", [CALL])
        assert store.log_head() == other.log_head()
        with made.session(made.admin) as admin:
            admin.execute("DELETE FROM tenants WHERE tenant = %s", [9])
        for one in (store, other):
            backend = one._backend
            assert isinstance(backend, PostgresBackend)
            backend._sessions.close_idle()
            backend._writer.close()
        for use in (store.log_head, other.log_head, lambda: other.append("call-1", [CALL])):
            with pytest.raises(UsageError, match="tenant 9 is not of this login") as caught:
                use()
            assert caught.value.code == "not_writable"
        for login in (reader, writer):
            made.bind(login, 9)
        assert other.append("call-1", [CALL]).version == store.head("call-1")


def test_nothing_of_another_tenant_is_seen(
    made: Shared, session: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Whatever is asked, of whatever table; and what is asked for is there for who may see it."""
    reader = made.login("reader", tenants=[OURS])
    with made.session(reader) as other, made.session(made.admin) as admin:
        for sql in COUNTED:
            for one in (session, other):
                assert one.execute(asked(made, sql)).fetchone() == (0,), sql
        for sql in ("log", "streams", "keys", "tags", "commits"):
            there = f"SELECT count(*) > 0 FROM {sql} WHERE tenant = {THEIRS}"
            assert admin.execute(there.encode()).fetchone() == (True,), sql
        room = f'SELECT count(*) > 0 FROM "{made.schema}@{THEIRS}".search'
        assert admin.execute(room.encode()).fetchone() == (True,)


def test_no_function_of_the_askers_gets_to_see_a_row(
    made: Shared, session: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """However cheap it says that it is: rows of others are left out before."""
    session.execute(
        "CREATE FUNCTION pg_temp.leak(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 "
        "AS $$ BEGIN RAISE EXCEPTION 'seen: %', what; END $$"
    )
    room = f'"{made.schema}@{THEIRS}"'
    for sql in (
        "SELECT 1 FROM log WHERE pg_temp.leak(body::text)",
        "SELECT 1 FROM log WHERE pg_temp.leak(stream) AND tenant = 8",
        "SELECT 1 FROM streams WHERE pg_temp.leak(name)",
        "SELECT 1 FROM keys WHERE pg_temp.leak(key)",
        "SELECT 1 FROM events WHERE pg_temp.leak(data::text)",
        f"SELECT 1 FROM {room}.search WHERE pg_temp.leak(text)",
    ):
        assert session.execute(sql.encode()).fetchall() == [], sql


def test_a_login_is_of_its_tenant_whatever_it_sets(
    made: Shared, writer: str, session: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """It appends to its own log, and to no other; keys and streams of others are free to it."""
    for other in (THEIRS, 0):
        for what in (f"channel({other})", f"set_config('refold_session.tenant', '{other}', false)"):
            try:
                session.execute(f"SELECT {what}".encode())
            except psycopg.errors.InsufficientPrivilege:
                assert what.startswith("channel")
        with refold.open(made.url(writer, tenant=other)) as store:
            with pytest.raises(UsageError) as caught:
                store.append("call-1", [CALL])
            assert caught.value.code == "not_writable"
            assert store.log_head() == 0
            assert list(store.streams()) == []
    with refold.open(made.url(writer, tenant=OURS)) as store:
        first = store.append("secret-1", [CALL], key="secret-key", expected=refold.NO_STREAM)
        assert (first.version, first.duplicate) == (0, False)
        assert [e.id for e in store.read_all()] == [f"secret-1@{n}" for n in range(first.position)]
    assert session.execute("SELECT seen()::text").fetchone() == ("{[7,8)}",)


def test_what_is_sent_says_nothing(made: Shared, writer: str) -> None:
    """Whoever listens where channels were once called after tenants, and on his own, hears his."""
    others = made.login("writer", tenants=[THEIRS])
    with made.session(writer) as session, refold.open(made.url(others, tenant=THEIRS)) as store:
        oid = session.execute("SELECT 'log'::regclass::oid").fetchone()
        ((own,),) = session.execute(f"SELECT channel({OURS})".encode()).fetchall()
        for name in (f"refold_{oid}_{THEIRS}", own):
            session.execute(f'LISTEN "{name}"'.encode())
        store.append("secret-2", [SECRET])
        assert [*session.notifies(timeout=0.2)] == []
        with refold.open(made.url(writer, tenant=OURS)) as ours:
            ours.append("call-2", [CALL])
        heard = [(one.channel, one.payload) for one in session.notifies(timeout=60, stop_after=1)]
        assert heard == [(own, "")]


def test_a_login_may_be_of_several(made: Shared) -> None:
    """And of none but tenant 0 where nobody said so; what is taken away counts at once."""
    both = made.login("writer", tenants=[OURS, THEIRS])
    with made.session(both) as session:
        assert session.execute("SELECT seen()::text").fetchone() == ("{[7,9)}",)
        there = f"SELECT count(*) > 0 FROM log WHERE tenant = {THEIRS}".encode()
        assert session.execute(there).fetchone() == (True,)
        with made.session(made.admin) as admin:
            gone = f"DELETE FROM tenants WHERE role = '{both}'::regrole AND tenant = {THEIRS}"
            admin.execute(gone.encode())
        assert session.execute(there).fetchone() == (False,)
    with made.session(made.login("writer")) as session:
        assert session.execute("SELECT seen()::text").fetchone() == ("{[0,1)}",)


def test_who_is_bound_asks_in_sql_before_anybody_looks_after_it(made: Shared) -> None:
    """The schema of his tenant is made with the binding; where it may not be, he still appends."""
    writer = made.login("writer", tenants=[71])
    with refold.open(made.url(writer, tenant=71)) as store:
        store.append("call-1", [CALL, CALL])
        assert Projector(store, []).query("SELECT count(*) FROM events") == [(2,)]
    keeper, other = made.login("maintainer"), made.login("writer")
    with made.session(made.admin) as admin:
        group = f"{made.prefix}_maintainer"
        admin.execute(f"REVOKE CREATE ON DATABASE postgres FROM {group}".encode())
        with made.session(keeper) as session:
            warned: list[str] = []
            session.add_notice_handler(lambda said: warned.append(str(said.message_primary)))
            bound = "INSERT INTO tenants VALUES (%s::regrole, 72) RETURNING current_user::text"
            assert session.execute(bound, [other]).fetchone() == (keeper,)
            assert "make_room(72)" in warned[0]
        admin.execute(f"GRANT CREATE ON DATABASE postgres TO {group}".encode())
    with refold.open(made.url(other, tenant=72)) as store:
        assert store.append("call-1", [CALL]).version == 0
        with pytest.raises(UsageError, match="events"):
            Projector(store, []).query("SELECT count(*) FROM events")
        refold.open(made.url(keeper, tenant=72)).close()
        assert Projector(store, []).query("SELECT count(*) FROM events") == [(1,)]


def test_a_tenant_has_read_models_of_its_own(tmp_path: Path) -> None:
    """Of the same names, one beside the other, with the same streams in each; also inline."""
    one = postgres.schema_of_its_own(postgres.NEWEST)
    rows = {}
    for tenant, count in ((0, 1), (7, 2), (8, 3)):
        url = f"{one}&tenant={tenant}"
        with refold.open(url, inline=[tool_usage]) as store:
            for number in range(count):
                store.append(f"call-{number}", [CALL, SECRET])
            projector = Projector(store, built_in())
            assert projector.status()[0].state == "new"
            projector.catch_up()
            rows[tenant] = projector.query("SELECT tool, calls FROM tool_usage")
            assert find(store, Wanted(text="secret")).streams == {f"call-{n}" for n in range(count)}
            assert projector.query("SELECT count(*) FROM events") == [(2 * count,)]
            assert {s.position for s in projector.status()} == {2 * count}
    assert rows == {0: [("refund", 1)], 7: [("refund", 2)], 8: [("refund", 3)]}
    with refold.open(f"{one}&tenant=9", mode="read") as store:
        assert {s.state for s in Projector(store, [tool_usage]).status()} == {"new"}
        with pytest.raises(UsageError):
            Projector(store, []).query("SELECT * FROM tool_usage")


def keep_feed(begin: Begin, position: int) -> None:
    """Say that a feed has come so far."""
    standing = FeedStanding("lot", ["topic"], 1, position=position)
    keep(begin().execute, f"{FEED}one", msgspec.json.encode(standing).decode())


def test_a_feed_of_each_tenant_is_where_it_is() -> None:
    """What feeds keep of how far they have come is kept for each log apart."""
    url = postgres.schema_of_its_own()
    for tenant in (0, 7, 8):
        with refold.open(f"{url}&tenant={tenant}") as store:
            assert lags(store) == []
            store.append("call-1", [CALL] * (tenant + 1))
            keeper_of(store, room=True).write(partial(keep_feed, position=tenant))
    for tenant in (0, 7, 8):
        with refold.open(f"{url}&tenant={tenant}", mode="read") as store:
            (one,) = lags(store)
            assert (one["position"], one["lag_events"]) == (tenant, 1)


def test_doctor_looks_at_the_read_models_of_a_tenant() -> None:
    """One that stands beyond the end of its log is told of; that of another log is not."""
    url = postgres.schema_of_its_own()
    for tenant in (7, 8):
        with refold.open(f"{url}&tenant={tenant}") as store:
            store.append("call-1", [CALL])
            Projector(store, [tool_usage]).catch_up()
    schema = parsed(url).schema
    with postgres.connect(postgres.shared()) as root:
        root.execute(f'UPDATE "{schema}@7".refold_progress SET position = 99'.encode())
    for tenant, bad in ((7, ["projections"]), (8, [])):
        with refold.open(f"{url}&tenant={tenant}", mode="read") as store:
            assert [check.name for check in store.check() if not check.good] == bad


def test_the_events_of_a_room_are_shown_to_who_looks_at_them() -> None:
    """A session that looks at another tenant is told, and not shown the wrong ones."""
    url = postgres.schema_of_its_own()
    schema = parsed(url).schema
    with refold.open(f"{url}&tenant=7") as store:
        store.append("call-1", [CALL])
    with postgres.connect(postgres.shared()) as root:
        look = f'SELECT stream FROM "{schema}@7".events'.encode()
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            root.execute(look)
        root.execute("SET refold_session.tenant = '7'")
        assert root.execute(look).fetchall() == [("call-1",)]


def test_a_tenant_is_copied_into_another(tmp_path: Path) -> None:
    """From one log among others to a file, and to another among others."""
    url = postgres.schema_of_its_own()
    with refold.open(f"{url}&tenant=7") as source, refold.open(f"{url}&tenant=8") as target:
        source.append("call-1", [CALL, SECRET], key="k")
        source.branch("call-1", at=0).adding(SECRET).save("call-1~x")
        for into in (target, refold.open(tmp_path / "a.db")):
            assert source.copy_into(into) == source.log_head()
            assert [*into.read_all()] == [*source.read_all()]
            into.close()
