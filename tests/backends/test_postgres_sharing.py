"""Roles of a shared store: each can do what it is for, on the oldest and the newest server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import refold
from refold import Event
from refold.backends.postgres import schema
from refold.errors import UsageError
from refold.projections import Projector
from refold.readmodels import tool_usage
from refold.roles import make_roles, roles_of, setup_sql
from tests.support import postgres
from tests.support.roles import VERSIONS, Shared, shared

A = Event("test.a", {"n": 1})
CALL = Event("tool.call", {"call_id": "c", "name": "refund", "arguments": "{}"})
DAY_US = 86_400_000_000


@pytest.fixture(params=VERSIONS, ids=str)
def made(request: pytest.FixtureRequest) -> Shared:
    """A store with roles."""
    return shared(request.param)


@pytest.fixture
def root(made: Shared) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection of the superuser."""
    with postgres.connect(postgres.shared(made.version)) as session:
        yield session


def test_a_writer_does_all_that_appends_are(made: Shared) -> None:
    """Keys, several streams, conditions, branches, decisions, and reading it all."""
    with refold.open(made.url(made.login("writer")), mode="write") as store:
        assert store.append("call-1", [A, CALL], key="k").version == 1
        assert store.append("call-1", [A, CALL], key="k").duplicate
        together = [refold.Append("call-1", [A]), refold.Append("call-2", [A, A])]
        store.append_together(together, key="both")
        store.append("call-3", [Event("test.b")], metadata={"tags": ["t", "u"]})
        store.branch("call-1", at=1).adding(A).save("call-1~x")
        seen = [(e.stream, e.version, e.position) for e in store.read_all()]
        assert [position for *_, position in seen] == list(range(1, len(seen) + 1))
        assert ("call-1", 2, 3) in seen
        assert [c for c in store.check() if not c.good] == []


def test_a_reader_reads_and_hears(made: Shared) -> None:
    """Whatever is asked, as SQL too; what it appends is refused."""
    reads, writes = made.url(made.login("reader")), made.url(made.login("writer"))
    with refold.open(writes) as writer, refold.open(reads, mode="read") as reader:
        writer.append("call-1", [A])
        with reader.subscribe() as heard:
            assert next(iter(heard)).stream == "call-1"
            writer.append("call-2", [A])
            assert next(iter(heard)).stream == "call-2"
        assert Projector(reader, []).query("SELECT stream FROM events ORDER BY position") == [
            ("call-1",),
            ("call-2",),
        ]
        assert [c for c in reader.check() if not c.good] == []
    with refold.open(reads) as reader, pytest.raises(UsageError) as caught:
        reader.append("call-1", [A])
    assert caught.value.code == "not_writable"


def test_a_maintainer_keeps_what_is_made_of_the_log(made: Shared) -> None:
    """What one of them makes is all of theirs, and who may read the log reads it."""
    first, second = made.login("maintainer"), made.login("maintainer")
    reader = made.login("reader")
    with refold.open(made.url(first)) as store:
        store.append("call-1", [CALL])
        Projector(store, [tool_usage]).catch_up()
    with refold.open(made.url(second)) as store:
        Projector(store, [tool_usage]).rebuild("tool_usage")
        Projector(store, [tool_usage]).confirm("tool_usage")
    with refold.open(made.url(reader), mode="read") as store:
        projector = Projector(store, [tool_usage])
        assert projector.query("SELECT tool, calls FROM tool_usage") == [("refund", 1)]
        assert projector.status()[0].state == "current"
    with refold.open(made.url(made.login("writer"))) as store:
        store.append("call-2", [CALL])
        with pytest.raises(UsageError) as caught:
            Projector(store, [tool_usage]).catch_up()
    assert caught.value.code == "not_writable"


def test_roles_may_be_made_again(made: Shared, root: psycopg.Connection[tuple[Any, ...]]) -> None:
    """By another admin too, and by the superuser: nothing is there twice, and nothing is lost."""
    look = f"""
SELECT
    (SELECT count(*) FROM pg_policy JOIN pg_class AS c ON c.oid = polrelid
     WHERE c.relnamespace = '{made.place}'::regnamespace),
    (SELECT count(*) FROM pg_trigger WHERE tgname = 'refold_writer'),
    (SELECT array_agg((relname, relacl::text, relowner) ORDER BY relname) FROM pg_class
     WHERE relnamespace = '{made.place}'::regnamespace)""".encode()
    before = root.execute(look).fetchone()
    assert make_roles(made.url(made.admin), prefix=made.prefix) == roles_of(made.prefix)
    root.execute(f"SET search_path = {made.place}".encode())
    root.execute(setup_sql(made.url(made.admin), prefix=made.prefix).encode())
    assert root.execute(look).fetchone() == before
    with pytest.raises(UsageError):
        make_roles(made.url(made.admin), prefix="others")


def test_roles_of_another_store_are_not_taken_for_its_own(
    made: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their members would be its owners: they are told, and the name is to be chosen then."""
    monkeypatch.setattr(schema, "PREFIX", made.prefix)
    member = made.login("maintainer")
    other = made._replace(schema=f"Other_{made.schema}")
    for _ in range(2):
        with pytest.raises(UsageError, match=f"{member}.*give --prefix, another name or") as caught:
            make_roles(other.url(made.admin))
        assert caught.value.code == "not_writable"
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'log' AND schemaname = %s"
    with made.session(made.admin) as admin:
        assert admin.execute(owner, [other.schema]).fetchone() == (made.admin,)
        make_roles(made.url(made.admin))  # It is this store's own.
        make_roles(other.url(made.admin), prefix=made.prefix)
        assert admin.execute(owner, [other.schema]).fetchone() == (f"{made.prefix}_maintainer",)


def test_the_sql_alone_makes_all_of_it(root: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Whoever looks after the server may run it instead; refold finds nothing left to do."""
    url = postgres.schema_of_its_own()
    script = setup_sql(url, prefix="printed")
    with postgres.connect(postgres.shared()) as session:
        for _ in range(2):
            session.execute(script.encode())
    with refold.open(url, mode="write") as store:
        assert store.append("call-1", [A]).version == 0
        assert [c for c in store.check() if not c.good] == []
    assert setup_sql(url).startswith("CREATE SCHEMA IF NOT EXISTS")
    assert "CREATE ROLE" not in setup_sql(url)
    assert "refold_maintainer" in setup_sql(url, roles=True)


def test_a_newer_refold_gives_what_it_makes(made: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a migration makes belongs to the maintainers and is read by who reads, at once."""
    known = schema.migrations()
    more = [*known, "CREATE TABLE refold.later (tenant integer, a integer);"]
    monkeypatch.setattr(schema, "migrations", lambda: more)
    with pytest.raises(UsageError) as caught:
        refold.open(made.url(made.login("writer")))
    assert caught.value.code == "not_writable"
    refold.open(made.url(made.login("maintainer"))).close()
    with made.session(made.login("reader")) as reader:
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'later' AND schemaname = %s"
        assert reader.execute(owner, [made.schema]).fetchone() == (f"{made.prefix}_maintainer",)
        assert reader.execute("SELECT count(*) FROM later").fetchone() == (0,)
    with refold.open(made.url(made.login("writer"))) as store:
        assert store.append("call-1", [A]).version == 0


def test_who_writes_for_an_older_schema_is_refused(
    made: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was open when a newer refold came: nothing of it is stored; it reads on."""
    url = made.url(made.login("writer"))
    with refold.open(url) as older:
        older.append("old-1", [A])
        more = [*schema.migrations(), "CREATE TABLE refold.yet_later (tenant integer);"]
        monkeypatch.setattr(schema, "migrations", lambda: more)
        refold.open(made.url(made.login("maintainer"))).close()
        for work in (
            lambda: older.append("old-1", [A]),
            lambda: older.append("old-1", [A], key="k-of-older"),
            lambda: older.append_together([refold.Append("old-1", [A]), refold.Append("o-2", [A])]),
        ):
            with pytest.raises(UsageError, match="start it anew with that refold") as caught:
                work()
            assert caught.value.code == "newer_schema"
        assert len(list(older.read("old-1"))) == 1
        with refold.open(url) as newer:
            assert newer.append("old-1", [A], expected=0).version == 1


def test_who_owns_no_table_makes_the_months(made: Shared) -> None:
    """Those that an append may need soon, and others where his clock may say what it likes."""
    now = [refold.engine.store.system_clock()]
    months = (
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'log'::regclass "
        "AND inhrelid <> 'log_default'::regclass"
    )
    writer = made.login("writer")
    with refold.open(made.url(writer), clock=lambda: now[0]) as store:
        store.append("call-1", [A])
        with made.session(made.admin) as admin, made.session(writer) as session:
            assert admin.execute(months).fetchone() == (3,)
            for at in (0, now[0] + 200 * DAY_US):
                asked = f"SELECT make_month({at}, NULL)".encode()
                assert session.execute(asked).fetchone() == (False,)
            assert admin.execute(months).fetchone() == (3,)
            made.any_clock()
            now[0] += 200 * DAY_US
            store.append("call-1", [A])
            assert admin.execute(months).fetchone() == (6,)
            guarded = (
                "SELECT count(*) FROM pg_class WHERE relname LIKE 'log_20%' AND relrowsecurity"
            )
            guarded += f" AND relnamespace = '{made.place}'::regnamespace"
            assert admin.execute(guarded.encode()).fetchone() == (6,)


@pytest.mark.parametrize("prefix", ["", "A", "a b", "pg_x", "a" * 41, 'x"; DROP ROLE postgres'])
def test_a_prefix_is_the_beginning_of_a_name(prefix: str) -> None:
    """And no SQL."""
    with pytest.raises(UsageError):
        setup_sql("postgresql://h/d", prefix=prefix)
    with pytest.raises(UsageError):
        make_roles("postgresql://h/d", prefix=prefix)


def test_only_a_server_has_roles() -> None:
    """A file has the permissions of a file."""
    for use in (make_roles, setup_sql):
        with pytest.raises(UsageError) as caught:
            use("calls.db")
        assert "postgresql://" in str(caught.value)


def test_roles_are_for_who_may_make_them(made: Shared) -> None:
    """A writer may not, and is told so."""
    with pytest.raises(UsageError) as caught:
        make_roles(made.url(made.login("writer")), prefix=made.prefix)
    assert caught.value.code == "not_writable"


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("DROP POLICY refold_tenant ON streams", "streams"),
        ("ALTER TABLE keys DISABLE ROW LEVEL SECURITY", "keys"),
        ("ALTER TABLE commits DISABLE TRIGGER refold_writer", "commits"),
        ("DROP TRIGGER refold_writer ON streams", "streams"),
        ("GRANT EXECUTE ON FUNCTION guard(regclass) TO PUBLIC", "guard"),
    ],
)
def test_doctor_says_what_was_taken_away(done: str, said: str) -> None:
    """And what it says mends it: making the roles again."""
    made = shared(postgres.NEWEST)
    reads, writes = made.url(made.login("reader")), made.url(made.login("writer"))
    with refold.open(writes) as store:
        store.append("call-1", [A])
        with made.session(made.admin) as admin:
            admin.execute(done.encode())
        (found,) = (check for check in store.check() if check.name == "roles")
        assert not found.good
        assert said in found.detail
        make_roles(made.url(made.admin), prefix=made.prefix)
        assert [check for check in store.check() if not check.good] == []
    with refold.open(reads, mode="read") as store:
        assert [check for check in store.check() if not check.good] == []
