"""A store in PostgreSQL: its address, its schema, its partitions, what doctor finds, SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import refold
import refold.projections
import refold.readmodels
from refold import Append, Event
from refold.backends.postgres import PostgresBackend
from refold.backends.postgres.address import parsed
from refold.backends.postgres.schema import fingerprint
from refold.backends.postgres.statements import FOLDER, statement
from refold.conversation import UserUtterance
from refold.core.query import Query
from refold.errors import BackendError, UsageError
from refold.partitions import Partitions
from refold.readmodels.searching import TEXTS
from tests.support import postgres

MARCH = 1_772_323_200_000_000
"""2026-03-01, in microseconds."""


@pytest.fixture
def url() -> str:
    """A store whose schema is yet to be made."""
    return postgres.schema_of_its_own()


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection beside the store, which looks at its schema."""
    with postgres.connect(postgres.shared()) as connection:
        schema = url.rpartition("=")[2]
        connection.execute("SELECT set_config('search_path', %s, false)", (schema,))
        yield connection


def told(store: refold.Store) -> None:
    """Appends of each sort."""
    for number in range(3):
        event = Event("test.a", {"n": number, "text": "\u0000é"}, metadata={"own": number})
        late = Event("test.b.v2", [1, 2], occurred_at=5)
        store.append(f"call-{number}", [event, late], metadata={"by": "me"}, tags=["x:1"])
    parts = [Append("call-1", [Event("test.c")]), Append("call-2", [Event("test.c")])]
    store.append_together(parts, key="both")
    store.append("call-1", [Event("test.d", {"n": 7})], key="one")
    store.branch("call-1", at=0).adding(Event("test.e")).save("call-1~b")


# -- where it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://h/d?schema=pg_mine",
        "postgresql://h/d?schema=a%22b",
        "postgresql://h/d?schema=",
        "postgresql://h/d?tenant=x",
        "postgresql://h/d?tenant=2147483648",
        "postgresql://h/d?pgbouncer=maybe",
        "postgresql://u:hidden-word@h/d?no_such_option=1",
    ],
)
def test_an_address_that_is_none_is_refused(given: str) -> None:
    """With what is wrong with it, and without the password."""
    with pytest.raises(UsageError) as caught:
        refold.open(given)
    assert "hidden-word" not in str(caught.value)


def test_an_address_says_where_and_what() -> None:
    """Options of refold are its own; all others, and several hosts, are libpq's."""
    address = parsed("postgres://u:p@a,b/d?schema=s1&tenant=7&pgbouncer=true&sslmode=require")
    assert (address.schema, address.tenant, address.is_pooled) == ("s1", 7, True)
    assert address.conninfo["host"] == "a,b"
    assert address.conninfo["sslmode"] == "require"
    assert "p@" not in address.shown


def test_two_schemas_and_two_tenants_are_logs_of_their_own(url: str) -> None:
    """Each has its own positions, streams, keys and tags."""
    others = [f"{url}&tenant=1", f"{url}&tenant=2", postgres.schema_of_its_own(), url]
    for other in others:
        with refold.open(other) as store:
            told(store)
            assert store.log_head() == 11
            assert len(list(store.read_all(matching=Query(tags=["x:1"])))) == 6
            assert [check for check in store.check() if not check.good] == []


def test_a_pooler_may_stand_between(url: str) -> None:
    """Without prepared statements or a listener; everything else is the same."""
    with refold.open(f"{url}&pgbouncer=true") as store:
        told(store)
        for number in range(20):
            store.append("call-9", [Event("test.a", {"n": number})])
        follower = store.subscribe(after=30)
        assert next(follower).position == 31
        assert store.log_head() == 31
        backend = store._backend
        assert isinstance(backend, PostgresBackend)
        assert backend.query("SELECT count(*) FROM pg_prepared_statements") == [(0,)]


def test_a_newer_schema_and_another_encoding_are_refused(
    url: str, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Nothing is written where it is not known how."""
    refold.open(url).close()
    admin.execute("INSERT INTO migrations (version) VALUES (99)")
    with pytest.raises(UsageError) as caught:
        refold.open(url)
    assert caught.value.code == "newer_schema"
    admin.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    with pytest.raises(UsageError) as caught:
        refold.open(url.replace("/postgres?", "/ascii?"))
    assert caught.value.code == "wrong_encoding"


def test_a_schema_of_a_refold_in_the_making_is_told(
    url: str, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """It has the number of this one and is another: nothing is damaged, and it says what to do."""
    refold.open(url).close()
    for change in (
        "UPDATE migrations SET fingerprint = 'other' WHERE version = 2",
        "ALTER TABLE migrations DROP COLUMN fingerprint",  # As before there was one.
    ):
        admin.execute(change.encode())
        for mode in ("create", "write", "read"):
            with pytest.raises(UsageError, match="refold copy") as caught:
                refold.open(url, mode=mode)
            assert caught.value.code == "other_schema"
    assert fingerprint("SELECT 1; -- Once.\n") == fingerprint("\nSELECT\n  1;")


def test_a_role_that_owns_its_schema_needs_no_more(url: str) -> None:
    """It makes the store where it may make nothing else; a role of less says so."""
    schema = url.rpartition("=")[2]
    with postgres.connect(postgres.shared()) as admin:
        for role in (f"{schema}_owner", f"{schema}_guest"):
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'word'".encode())
        admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {schema}_owner".encode())
    rest = url.partition("@")[2]
    with refold.open(f"postgresql://{schema}_owner:word@{rest}") as store:
        told(store)
        assert [check for check in store.check() if not check.good] == []
    with pytest.raises(UsageError) as caught:
        refold.open(f"postgresql://{schema}_guest:word@{rest}")
    assert caught.value.code == "not_writable"
    with pytest.raises(UsageError) as caught:
        refold.open(f"postgresql://{schema}_guest:word@{rest}x")
    assert caught.value.code == "not_writable"


def test_a_store_opened_to_read_is_only_read(url: str) -> None:
    """Appends, tables and snapshots are refused or left out."""
    with refold.open(url) as store:
        told(store)
    with refold.open(url, mode="read") as store:
        assert store.log_head() == 11
        with pytest.raises(UsageError) as caught:
            store.append("call-1", [Event("test.a")])
        assert caught.value.code == "not_writable"


def test_whatever_isolation_the_server_sets_writers_see_each_other(url: str) -> None:
    """A default of SERIALIZABLE would have each plan on an older log than it is given."""
    strict = f"{url}&options=-c%20default_transaction_isolation%3Dserializable"
    with refold.open(strict) as one, refold.open(strict) as other:
        for number in range(6):
            (one, other)[number % 2].append("call-1", [Event("test.a", {"n": number})])
        assert [e.data["n"] for e in one.read("call-1")] == list(range(6))


# -- partitions -------------------------------------------------------------------------------


def test_a_month_that_cannot_be_made_now_is_made_later(
    url: str, admin: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Its appends go to the default partition, doctor says so, and they are moved.

    All that can be asked stays the same meanwhile.
    """
    now = [MARCH]
    with refold.open(url, clock=lambda: now[0]) as store:
        store.append("call-1", [Event("test.a")])
        admin.execute("BEGIN")
        admin.execute("SELECT count(*) FROM log_default")
        now[0] += 200 * 86_400_000_000
        store.append("call-1", [Event("test.b")], key="b")
        admin.execute("ROLLBACK")
        before = [(e, e.recorded_at_us) for e in store.read_all()]
        assert [c.name for c in store.check() if not c.good] == ["partitions"]
        admin.execute("SELECT make_partition(recorded_at) FROM log_default")
        assert admin.execute("SELECT count(*) FROM log_default").fetchone() == (0,)
        assert [c for c in store.check() if not c.good] == []
        assert [(e, e.recorded_at_us) for e in store.read_all()] == before
        assert store.append("call-1", [Event("test.b")], key="b").duplicate


def test_partitions_stand_ready(url: str, admin: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Of the month of an append, and two beyond it, also over the end of a year."""
    december = MARCH + 290 * 86_400_000_000
    with refold.open(url, clock=lambda: december) as store:
        store.append("call-1", [Event("test.a")])
    found = admin.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = "
        "'log'::regclass ORDER BY 1"
    ).fetchall()
    assert [name for (name,) in found] == [
        "log_2026_12",
        "log_2027_01",
        "log_2027_02",
        "log_default",
    ]


# -- what is found and shown ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        ("UPDATE log SET count = 3 WHERE position = 1", "positions without gaps"),
        ("DELETE FROM log WHERE position = 3", "positions without gaps"),
        ("UPDATE log SET body = '[]' WHERE position = 1", "positions without gaps"),
        ("UPDATE commits SET last = 99 WHERE last = 11", "positions without gaps"),
        ("DELETE FROM commits", "positions without gaps"),
        ("UPDATE log SET version = 9 WHERE position = 1", "versions without gaps"),
        ("DELETE FROM keys", "keys"),
        ("UPDATE log SET key = NULL", "keys"),
        ("DELETE FROM keys WHERE key = 'both' AND part = 0", "keys"),
        ("UPDATE log SET occurred_from = 9, occurred_to = 1 WHERE position = 1", "occurred"),
        ("DELETE FROM streams WHERE name = 'call-0'", "streams"),
        ("UPDATE streams SET version = 7 WHERE name = 'call-0'", "streams"),
        ("UPDATE streams SET version = 0 WHERE name = 'call-0'", "streams"),
        ("UPDATE commits SET last = 10 WHERE last = 11", "positions without gaps"),
        ("UPDATE streams SET last_at = 1 WHERE name = 'call-0'", "streams"),
        ("UPDATE streams SET parent = 'none' WHERE name = 'call-1~b'", "streams"),
        ("UPDATE streams SET category = 'x' WHERE name = 'call-0'", "streams"),
        ("DELETE FROM tags WHERE last_position = 2", "tags"),
        ("UPDATE log SET recorded_at = recorded_at - 60000000 WHERE position = 9", "clock"),
        ("UPDATE log SET types = '{x}' WHERE position = 1", "bodies"),
        ("UPDATE log SET occurred_to = 7 WHERE position = 1", "bodies"),
        ("UPDATE log SET body = '[[\"test.d\",{\"n\":8}]]' WHERE key = 'one'", "digests"),
    ],
)
def test_damage_is_found(
    url: str, admin: psycopg.Connection[tuple[Any, ...]], damage: str, check: str
) -> None:
    """Whatever is not as it was written, by the check whose business it is."""
    with refold.open(url) as store:
        told(store)
        assert [one for one in store.check() if not one.good] == []
        admin.execute(damage.encode())
        assert check in {one.name for one in store.check() if not one.good}


def test_what_was_copied_is_known_again(url: str, tmp_path: Path) -> None:
    """Appends of several times stand in one commit there: none of them is taken for another."""
    now = iter(range(MARCH, MARCH + 100))
    with refold.open(tmp_path / "log.db", clock=lambda: next(now)) as source:
        told(source)
        with refold.open(url) as store:
            source.copy_into(store)
            backend = store._backend
            assert isinstance(backend, PostgresBackend)
            backend._sessions.close_idle()
            backend._writer.close()
            assert store.append("call-1", [Event("test.f")]).position == 12
    for after in range(11):
        reader = PostgresBackend(url, mode="read")
        assert reader.log(after=after, categories=None, types=None, rows_max=1)
        reader._sessions.close_idle()
        assert reader.log_head() == 12
        reader.close()


def test_a_log_is_known_again_without_a_search(url: str) -> None:
    """Of each month one append is looked at, not all of them."""
    with refold.open(url) as store, postgres.connect(postgres.shared()) as admin:
        told(store)
        schema = parsed(url).schema
        many = f"INSERT INTO {schema}.log (tenant, position, version, recorded_at, count, stream, "
        many += "types, body) SELECT 0, 99 + n, n, n, 1, 'call-9', '{}', '[]' "
        admin.execute(f"{many} FROM generate_series(1, 20000) AS n".encode())
        admin.execute(f"ANALYZE {schema}.log".encode())
        admin.execute("SET plan_cache_mode = force_generic_plan")
        asked = statement("holds", schema)
        admin.execute(f"PREPARE holds (integer, bigint, bigint) AS {asked}".encode())
        plan = admin.execute("EXPLAIN (ANALYZE, TIMING OFF) EXECUTE holds(0, 9999, 3)").fetchall()
    looked = [line for (line,) in plan if re.search(r" on log_", line)]
    assert len(looked) > 3
    assert all(re.search(r"\(actual rows=[01](\.00)? |never executed", line) for line in looked)


def test_each_statement_has_a_name_of_its_own() -> None:
    """Of two of one name one would be in nobody's way, and nobody's."""
    texts = [(FOLDER / name).read_text() for name in ("statements.sql", "months.sql")]
    names = re.findall(r"^-- ([a-z_]+)(?:: .*)?$\n(?:-- .*\n)*(?=[A-Z(])", "".join(texts), re.M)
    assert len(names) > 30
    assert len(names) == len(set(names))


def test_an_append_is_known_by_its_own_time(url: str, tmp_path: Path) -> None:
    """Not by that of the commit that it was copied with: another log may have one of that time."""
    now = iter(range(MARCH, MARCH + 100))
    with (
        refold.open(tmp_path / "log.db", clock=lambda: next(now)) as source,
        refold.open(url) as store,
    ):
        told(source)
        source.copy_into(store)
        first, *_, last = (event.recorded_at_us for event in store.read_all())
    for recorded_at in (first, last):
        reader = PostgresBackend(url, mode="read")
        reader._reached.note(1, recorded_at)
        reader._sessions.close_idle()
        if recorded_at == first:
            assert reader.log_head() == 11
        else:
            with pytest.raises(BackendError) as caught:
                reader.log_head()
            assert caught.value.code == "log_went_back"
        reader.close()


def test_what_was_detached_is_no_log_that_went_back(url: str, tmp_path: Path) -> None:
    """Of an append that was copied, and left the log with its month, only the commit is there."""
    now = iter(range(MARCH, MARCH + 100))
    with refold.open(tmp_path / "log.db", clock=lambda: next(now)) as source:
        told(source)
        with refold.open(url) as store:
            source.copy_into(store)
            reader = PostgresBackend(url, mode="read")
            assert reader.log(after=0, categories=None, types=None, rows_max=1)
            store.append("late-1", [Event("test.late")])
            Partitions(store).detach("2026-03")
            reader._sessions.close_idle()
            assert reader.log_head() == 12
            reader.close()


def test_the_view_of_events_is_that_of_a_file(url: str, tmp_path: Path) -> None:
    """The same columns and values, whatever metadata is merged."""

    def rows(store: refold.Store) -> list[tuple[Any, ...]]:
        found = refold.projections.Projector(store, []).query(
            "SELECT position, stream, version, id, category, type, occurred_at, recorded_at, "
            "data, metadata, key FROM events ORDER BY position"
        )
        return [(*row[:8], json.loads(row[8]), json.loads(row[9]), row[10]) for row in found]

    with (
        refold.open(url, clock=lambda: MARCH + 5) as one,
        refold.open(tmp_path / "log.db", clock=lambda: MARCH + 5) as other,
    ):
        for store in (one, other):
            told(store)
        assert rows(one) == rows(other)
        assert len(rows(one)) == 11


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM log",
        "WITH gone AS (DELETE FROM log RETURNING 1) SELECT * FROM gone",
        "SELECT 1; DELETE FROM log",
        "COMMIT",
        "CREATE TABLE mine (a integer)",
        "COPY log TO STDOUT",
        "EXPLAIN ANALYZE DELETE FROM log",
        "SELECT nextval('pg_class')",
        "SELECT make_partition(1)",
        "LISTEN mine",
        "",
    ],
)
def test_a_query_changes_nothing(url: str, sql: str) -> None:
    """What would change anything is refused, and what is set is set back."""
    with refold.open(url) as store:
        told(store)
        query = refold.projections.Projector(store, []).query
        with pytest.raises(UsageError):
            query(sql)
        query("SELECT set_config('search_path', 'nowhere', false)")
        assert query("SELECT count(*) FROM log") == [(7,)]
        assert query('SELECT \'?\' || ?, "?" FROM (VALUES (1.5, true)) AS a ("?", b)', ("x",)) == [
            ("?x", 1.5)
        ]
        store.append("call-1", [Event("test.a")])


def test_a_table_of_words_keeps_words_alone(url: str) -> None:
    """An index finds them, however long a word is, and the text is not read back."""
    long = "x" * 5_000
    with refold.open(url) as store:
        store.append("call-1", [UserUtterance(f"The Café, {long} \0 don't")])
        projector = refold.projections.Projector(store, [refold.readmodels.search])
        projector.catch_up()
        assert projector.rows(TEXTS)[0].text is None
        for words, count in ((["cafe", "don't"], 1), ([long], 1), (["t don"], 0), (["?|' [x"], 0)):
            condition, values = projector.saying(words)
            found = projector.query(f"SELECT position FROM search WHERE {condition}", values)
            assert len(found) == count, words


def test_a_lone_append_goes_on_where_its_statement_was_forgotten() -> None:
    """The driver forgets what is prepared after a ROLLBACK; the next append prepares it again."""
    with refold.open(postgres.schema_of_its_own()) as store:
        store.append("call-1", [Event("said", {"n": 0})])
        writer: Any = store._backend
        writer._writer._session.execute("DEALLOCATE ALL")
        assert store.append("call-1", [Event("said", {"n": 1})]).position == 2
        assert [e.data["n"] for e in store.read("call-1")] == [0, 1]
