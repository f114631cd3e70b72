"""A table of events moves in from PostgreSQL: exactly, streamed, and without a word of a secret."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

import refold
from refold.conversation.importers import sql_source
from refold.conversation.importers.sql_table import import_table
from refold.errors import Unavailable, UsageError
from tests.support import postgres

SCHEMA = """CREATE TABLE events(
 id bigserial PRIMARY KEY, stream_id text, event_type text, version int, data jsonb, metadata jsonb,
 occurred_at timestamptz)"""
ADDED = "INSERT INTO events(stream_id, version, event_type, data, metadata, occurred_at) "
LONG = "1.00000000000000000000000000012"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server for the tests of this file."""
    with postgres.server() as found:
        yield found


@pytest.fixture
def store() -> Iterator[refold.Store]:
    """An empty log: of what kind it is makes no difference to what is read."""
    with refold.open("memory:") as opened:
        yield opened


@pytest.fixture
def db(port: int) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """An empty table of the common schema."""
    with postgres.connect(port) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute(SCHEMA)
        yield connection


def url(port: int, password: str = postgres.PASSWORD, more: str = "") -> str:
    """The URL of the server's one database."""
    return f"postgresql://postgres:{quote(password, safe='')}@127.0.0.1:{port}/postgres{more}"


def test_each_stream_comes_in_the_order_of_its_versions(
    store: refold.Store, db: psycopg.Connection[Any], port: int
) -> None:
    """With types, data, metadata and times, in UTC; what else a row has stands beside."""
    for stream, version in (("b-1", 1), ("a-1", 2), ("a-1", 1), ("B-1", 1)):
        db.execute(
            ADDED + "VALUES (%s, %s, 'Said', %s, '{\"by\": \"me\"}', '2026-03-02T11:00:00.5+01')",
            [stream, version, json.dumps({"n": version})],
        )
    report = import_table(store, url(port))
    assert (report.imported, report.events, report.ok, report.loss) == (3, 4, True, [])
    first, second = store.read("a-1")
    assert (first.type, first.data, second.data) == ("Said", {"n": 1}, {"n": 2})
    assert first.occurred_at.isoformat() == "2026-03-02T10:00:00.500000+00:00"
    assert (first.metadata["by"], first.metadata["row"]) == ("me", {"id": 3})
    assert import_table(store, url(port)).unchanged == 3


def test_a_long_table_is_read_piece_by_piece(
    store: refold.Store, db: psycopg.Connection[Any], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one order, from one moment on."""
    monkeypatch.setattr(sql_source, "ROWS_AT_ONCE", 7)
    numbered = "SELECT 's-' || n % 3, n / 3, 'Said', '{}', '{}', now() "
    db.execute(f"{ADDED}{numbered}FROM generate_series(1, 60) n")
    report = import_table(store, url(port))
    assert (report.imported, report.events, report.loss) == (3, 60, [])
    assert [one.metadata["row"]["id"] for one in store.read("s-1")] == list(range(1, 61, 3))


def test_a_table_that_grew_adds_what_is_new(
    store: refold.Store, db: psycopg.Connection[Any], port: int
) -> None:
    """Behind the rows that are as they were; one that is not is named."""
    added = ADDED + "VALUES ('a-1', %s, 'Said', %s, NULL, '2026-03-02T10:00:00Z')"
    for version in range(4):
        db.execute(added, [version, json.dumps({"n": version})])
        report = import_table(store, url(port))
        assert (report.problems, report.events, report.grown) == ([], 1, int(version > 0))
    assert [one.data["n"] for one in store.read("a-1")] == [0, 1, 2, 3]
    db.execute("UPDATE events SET data = '{}' WHERE version = 2")
    (problem,) = import_table(store, url(port)).problems
    assert "the row of version 2 has another payload than a-1@2" in problem.message


def test_a_value_is_read_to_the_last_digit(
    store: refold.Store, db: psycopg.Connection[Any], port: int
) -> None:
    """In the data and beside it; JSON as JSON, what JSON has no form for as PostgreSQL's text."""
    db.execute("CREATE TYPE mood AS ENUM ('glad')")
    db.execute(
        """CREATE TABLE told AS SELECT
        7::bigint AS stream, 1::numeric AS version, 'Said' AS type, '{"n": LONG}'::jsonb AS data,
        LONG::numeric AS price, 0.1::float8 AS rate, '{"n": LONG}'::json AS more,
        ARRAY[1, 2] AS list, true AS is_new, 'glad'::mood AS mood, '2026-03-02'::date AS day,
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS own, 'x' AS note
        """.replace("LONG", LONG)
    )
    columns = {"stream": "stream", "type": "type"}
    report = import_table(store, url(port), table="told", columns=columns)
    assert (report.imported, report.problems, report.loss) == (1, [], [])
    (one,) = store.read("7")
    assert one.raw == f'{{"n":{LONG}}}'.encode()
    with refold.open("memory:") as other:
        assert import_table(other, url(port), table="public.told", columns=columns).imported == 1
    row = one.metadata["row"]
    assert row == {
        "price": row["price"], "rate": 0.1, "more": row["more"], "list": "{1,2}", "is_new": True,
        "mood": "glad", "day": "2026-03-02", "own": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "note": "x",
    }  # fmt: skip
    assert [str(row["price"]), str(row["more"]["n"])] == [LONG, LONG]


def test_what_is_odd_costs_its_stream_or_itself(
    store: refold.Store, db: psycopg.Connection[Any], port: int
) -> None:
    """A number that is none, and a key that stands twice, its stream; a blob or a time itself."""
    db.execute("ALTER TABLE events ADD score numeric, ADD raw bytea, ADD doc json")
    rows = [
        ("a-1", 1, "infinity", None, b"ab", None), ("b-1", 1, "now", "NaN", None, None),
        ("c-1", 1, "now", None, None, '{"k": 1, "k": 2}'), ("d-1", None, "now", None, None, None),
        (None, 1, "now", None, None, None), (None, 2, "now", None, None, None),
    ]  # fmt: skip
    for stream, version, at, score, raw, doc in rows:
        db.execute(
            "INSERT INTO events(event_type, data, stream_id, version, occurred_at, score, raw, doc)"
            " VALUES ('Said', '{}', %s, %s, %s, %s, %s, %s)",
            [stream, version, at, score, raw, doc],
        )
    report = import_table(store, url(port))
    assert [one.stream for one in store.streams()] == ["a-1"]
    assert [(one.what, one.pointer) for one in report.loss] == [
        ("a blob of 2 bytes", "/raw"), ("'infinity' is not a time", "/occurred_at"),
    ]  # fmt: skip
    told = [(one.stream, one.message) for one in report.problems]
    assert [stream for stream, _ in told] == ["b-1", "c-1", "d-1", None]
    assert "2 rows: a stream None is neither text" in told[3][1]
    assert all(postgres.PASSWORD not in str(one) for one in (*report.problems, *report.loss))


def test_what_was_read_before_the_connection_broke_stays(
    store: refold.Store, db: psycopg.Connection[Any], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that were whole by then; the rest is told, and the next import brings it."""
    monkeypatch.setattr(sql_source, "ROWS_AT_ONCE", 10)
    numbered = "SELECT 's-' || n / 100, n, 'Said', '{}', '{}', now() "
    db.execute(f"{ADDED}{numbered}FROM generate_series(100, 399) n")
    read, others = sql_source.PostgresTables.rows, "SELECT pg_terminate_backend(pid) FROM "
    others += "pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"

    def broken(*given: Any) -> Iterator[sql_source.Row]:
        for number, row in enumerate(read(*given)):
            if number == 150:
                db.execute(others)
            yield row

    with monkeypatch.context() as patched:
        patched.setattr(sql_source.PostgresTables, "rows", broken)
        report = import_table(store, url(port))
    assert (report.imported, report.failed, report.interrupted) == (1, 1, True)
    assert "nothing after this is read" in report.problems[0].message
    report = import_table(store, url(port))
    assert (report.imported, report.unchanged, report.ok) == (2, 1, True)
    assert not report.interrupted


def test_a_server_that_is_away_is_told_from_one_that_refuses(store: refold.Store) -> None:
    """The first may be there later; a user, a password or a database that is wrong will not."""
    with postgres.servers() as server:
        with pytest.raises(UsageError, match="authentication failed"):
            import_table(store, url(server.port, "wrong"))
        server.kill()
        with pytest.raises(Unavailable, match=r"cannot be reached now.*import again later"):
            import_table(store, url(server.port))
        server.start()
        with pytest.raises(UsageError, match="no table 'events'"):
            import_table(store, url(server.port))


@pytest.mark.parametrize(
    ("said", "is_away"),
    [
        ('connection failed: FATAL:  database "x" does not exist', False),
        ("connection failed: fe_sendauth: no password supplied", False),
        ("connection failed: FATAL:  the database system is starting up", True),
        ("connection failed: FATAL:  sorry, too many clients already", True),
        ("connection failed: Connection refused", True),
        ("connection timeout expired", True),
    ],
)
def test_what_a_connection_fails_on_says_whether_to_try_again(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, said: str, is_away: bool
) -> None:
    """By its words, as no SQLSTATE comes with them."""

    def refuses(*_: Any, **__: Any) -> None:
        raise psycopg.OperationalError(said)

    monkeypatch.setattr(psycopg, "connect", refuses)
    with pytest.raises(Unavailable if is_away else UsageError):
        import_table(store, "postgresql://127.0.0.1/postgres")


@pytest.mark.parametrize("wrong", ["secret-of-mine", "a@secret-of-mine", "a/secret-of-mine"])
@pytest.mark.parametrize(
    "more",
    ["", "?sslmode=odd", "?odd=1", "?password=secret-of-mine", "?password=secret+of-mine%zz"],
)
@pytest.mark.parametrize("is_written_right", [True, False])
def test_a_password_is_never_told(
    store: refold.Store, port: int, wrong: str, more: str, is_written_right: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Whatever is wrong with the URL, and also where its password is not written as it must be."""
    given = quote(wrong, safe="") if is_written_right else wrong
    place = f"postgresql://postgres:{given}@127.0.0.1:{port}/postgres{more}"
    with caplog.at_level(logging.DEBUG), pytest.raises(UsageError) as refused:
        import_table(store, place)
    said = [str(refused.value), repr(refused.value.facts), caplog.text]
    assert [one for one in said if "secret" in one] == []
    assert "postgresql://" in said[0]


def test_another_table_is_refused_by_the_names_there_are(
    store: refold.Store, db: psycopg.Connection[Any], port: int
) -> None:
    """And a database that is not there by its name."""
    with pytest.raises(UsageError, match=r"no table 'other': there are public\.events"):
        import_table(store, url(port), table="other")
    with pytest.raises(UsageError, match='database "none" does not exist'):
        import_table(store, url(port).removesuffix("/postgres") + "/none")


def test_the_extra_is_named_where_it_is_missing(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what to type."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"pip install 'refold\[postgres\]'"):
        import_table(store, "postgresql://127.0.0.1/postgres")
