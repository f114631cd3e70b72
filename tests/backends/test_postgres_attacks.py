"""Attacks on a shared store: what each role tries, and with which SQLSTATE it is refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

import refold
from refold import Event
from tests.support import postgres
from tests.support.roles import VERSIONS, Shared, shared

DENIED = "42501"
DEEP = "[[]," * 1500 + "0" + "]" * 1500
HALF = r"""ARRAY['[["test.a",{"a":"\ud83d"}]]']"""
DIGITS = "9" * 4300
LARGE = """ARRAY['[["test.a","' || repeat('x', 8388609) || '"]]']"""
UNREADABLE = (
    f"9{DIGITS}",
    f"-{DIGITS}",
    "1e309",
    "-1.8E+308",
    "1.7976931348623159e308",
    "0.1e400",
    "1e99999",
    f"{DIGITS}.5",
    f"{DIGITS}e-9",
    f"{DIGITS}e-0003000",
    f"1{'0' * 308}9.0",
)
READABLE = (
    DIGITS,
    f"-{DIGITS[1:]}",
    "1.7976931348623158e308",
    "-1e308",
    "1e-999",
    "1e-99999",
    "0e999",
    f"0.{DIGITS}",
    f"{DIGITS}e-4000",
)
"""Numbers of JSON that msgspec refuses and takes; the last of them are zero or less than 1."""
NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

OF_READERS: tuple[str, ...] = (
    "INSERT INTO log_default SELECT * FROM log",
    "INSERT INTO log SELECT * FROM log",
    "UPDATE log SET body = '[]'",
    "UPDATE log SET recorded_at = 1",
    "DELETE FROM log",
    "TRUNCATE log",
    "TRUNCATE log_default",
    "WITH gone AS (DELETE FROM log RETURNING 1) SELECT * FROM gone",
    "MERGE INTO log USING streams ON false WHEN MATCHED THEN DELETE",
    "SELECT * FROM log FOR UPDATE",
    "COPY log FROM STDIN",
    "COPY (DELETE FROM log RETURNING 1) TO STDOUT",
    "UPDATE streams SET version = 0",
    "INSERT INTO streams SELECT * FROM streams",
    "DELETE FROM keys",
    "UPDATE keys SET position = 1",
    "INSERT INTO commits VALUES (0, 99, 100, 1, gen_random_uuid())",
    "DELETE FROM commits",
    "INSERT INTO tags SELECT * FROM tags",
    "INSERT INTO snapshots SELECT * FROM snapshots",
    "DELETE FROM migrations",
    "INSERT INTO migrations VALUES (99)",
    "SELECT * FROM tenants",
    "INSERT INTO tenants VALUES (session_user::regrole, 7)",
    "SELECT * FROM settings",
    "UPDATE settings SET clock_ahead_s = NULL",
    "ALTER TABLE log DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE log NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE log DISABLE TRIGGER ALL",
    "ALTER TABLE commits DISABLE TRIGGER refold_writer",
    "ALTER TABLE log DETACH PARTITION log_default",
    "ALTER TABLE log ADD COLUMN mine integer",
    "ALTER TABLE log OWNER TO CURRENT_USER",
    "ALTER FUNCTION seen() SECURITY INVOKER",
    "CREATE OR REPLACE FUNCTION seen() RETURNS int4multirange LANGUAGE sql AS 'SELECT NULL'",
    "CREATE POLICY mine ON log USING (true)",
    "ALTER POLICY refold_tenant ON log USING (true)",
    "DROP POLICY refold_tenant ON log",
    "CREATE TRIGGER mine BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION check_commit()",
    "CREATE RULE mine AS ON INSERT TO log DO INSTEAD NOTHING",
    "CREATE INDEX ON log (version)",
    "CREATE TABLE mine (a integer)",
    "CREATE VIEW mine AS SELECT * FROM log",
    "CREATE TABLE mine PARTITION OF log FOR VALUES FROM (1) TO (2)",
    "DROP TABLE log",
    "DROP TABLE log_default",
    "DROP VIEW events",
    "DROP FUNCTION check_commit()",
    "DROP TRIGGER refold_writer ON commits",
    "SELECT 1; LOCK TABLE log IN ACCESS EXCLUSIVE MODE",
    "SET session_replication_role = replica",
    "SET SESSION AUTHORIZATION postgres",
    "SET ROLE postgres",
    "SELECT make_partition(0)",
    "SELECT guard('log')",
    "SELECT refuse('')",
    "SELECT channel(7)",
    "SELECT channel_of(7)",
    "SET row_security = off; SELECT * FROM log",
    "CREATE STATISTICS mine ON tenant, version FROM log",
    "COMMENT ON TABLE log IS 'mine'",
)
"""What neither a writer nor a reader may do; one statement each, refused as a privilege."""
OF_VIEWS = ("UPDATE events SET data = '{}'", "DELETE FROM events")
OF_READERS_ALONE = (
    "SELECT forget_commits(0, 10)",
    f"SELECT make_month({NOW}, 10)",
    "SELECT take_turn(0, 'log')",
    "SELECT lasts(true)",
)

GOOD = {
    "of_tenant": "0",
    "known_schema": "schema_number()",
    "commit_token": "gen_random_uuid()",
    "now_at": NOW,
    "restarts": "false",
    "durable": "false",
    "names": "ARRAY['call-1']",
    "believed": "ARRAY[1]::bigint[]",
    "free_keys": "NULL",
    "conditions": "NULL",
    "beliefs_at": "NULL",
    "streams": "ARRAY['call-1']",
    "offsets": "ARRAY[0]::bigint[]",
    "versions": "ARRAY[2]::bigint[]",
    "counts": "ARRAY[1]::bigint[]",
    "kinds": "ARRAY['test.a']",
    "row_keys": "NULL",
    "digests": "ARRAY[NULL]::bytea[]",
    "metadatas": "ARRAY[NULL]::text[]",
    "bodies": """ARRAY['[["test.a",{}]]']""",
    "said_first": "ARRAY[NULL]::bigint[]",
    "said_last": "ARRAY[NULL]::bigint[]",
    "said_whole": "ARRAY[NULL]::boolean[]",
    "parents": "ARRAY[NULL]::text[]",
    "forks": "ARRAY[NULL]::bigint[]",
    "tags": "NULL",
}
"""The arguments of an append that is right, of one event to `call-1`, which has two."""
TWO = {
    "offsets": "ARRAY[0, 1]::bigint[]",
    "counts": "ARRAY[1, 1]::bigint[]",
    "kinds": "ARRAY['test.a', 'test.a']",
    "digests": r"ARRAY['\x01', '\x01']::bytea[]",
    "metadatas": "ARRAY[NULL, NULL]::text[]",
    "bodies": """ARRAY['[["test.a",{}]]', '[["test.a",{}]]']""",
    "said_first": "ARRAY[NULL, NULL]::bigint[]",
    "said_last": "ARRAY[NULL, NULL]::bigint[]",
    "said_whole": "ARRAY[NULL, NULL]::boolean[]",
    "parents": "ARRAY[NULL, NULL]::text[]",
    "forks": "ARRAY[NULL, NULL]::bigint[]",
    "streams": "ARRAY['call-1', 'call-1']",
    "versions": "ARRAY[2, 3]::bigint[]",
}
NEW = {
    "names": "ARRAY['new-1']",
    "believed": "ARRAY[-1]::bigint[]",
    "streams": "ARRAY['new-1']",
    "versions": "ARRAY[0]::bigint[]",
}
BRANCH = NEW | {"names": "ARRAY['new-1~x']", "streams": "ARRAY['new-1~x']"}
FORGED: dict[str, dict[str, str]] = {
    "a decision about personal data": NEW
    | {
        "names": "ARRAY['refold-privacy']",
        "streams": "ARRAY['refold-privacy']",
        "kinds": "ARRAY['hold.released']",
        "bodies": """ARRAY['[["hold.released",{"hold":"hold-1"}]]']""",
    },
    "a position further on": {"offsets": "ARRAY[5]::bigint[]"},
    "a position before": {"offsets": "ARRAY[-1]::bigint[]"},
    "a gap between two": TWO | {"offsets": "ARRAY[0, 2]::bigint[]"},
    "two in another order": TWO | {"offsets": "ARRAY[1, 0]::bigint[]"},
    "a version again, believed or not": {
        "versions": "ARRAY[0]::bigint[]",
        "names": "ARRAY[]::text[]",
        "believed": "ARRAY[]::bigint[]",
    },
    "a version further on": {"versions": "ARRAY[7]::bigint[]"},
    "an old version and the next": TWO | {"versions": "ARRAY[0, 2]::bigint[]"},
    "the next and an old version": TWO | {"versions": "ARRAY[2, 1]::bigint[]"},
    "a stream that begins at 3": NEW | {"versions": "ARRAY[3]::bigint[]"},
    "more than it holds": {"counts": "ARRAY[3]::bigint[]"},
    "nothing": {"counts": "ARRAY[0]::bigint[]", "bodies": "ARRAY['[]']"},
    "minus one": {"counts": "ARRAY[-1]::bigint[]"},
    "a type that it is not": {"kinds": "ARRAY['test.b']"},
    "an event without a type": {"bodies": "ARRAY['[[1,{}]]']"},
    "an event without data": {"bodies": """ARRAY['[["test.a"]]']"""},
    "an event of five parts": {"bodies": """ARRAY['[["test.a",{},null,{},1]]']"""},
    "metadata of an event that is none": {"bodies": """ARRAY['[["test.a",{},null,[]]]']"""},
    "metadata that is none": {"metadatas": "ARRAY['[]']"},
    "a time in a year": {"now_at": f"{NOW} + 31536000000000"},
    "time again from 1970": {"restarts": "true", "now_at": "1"},
    "a time that no event has": {
        "said_first": "ARRAY[1]::bigint[]",
        "said_last": "ARRAY[2]::bigint[]",
        "said_whole": "ARRAY[true]",
    },
    "a time that it does not tell": {"bodies": """ARRAY['[["test.a",{},5]]']"""},
    "a time before all times": {
        "bodies": """ARRAY['[["test.a",{},-5]]']""",
        "said_first": "ARRAY[-5]::bigint[]",
        "said_last": "ARRAY[-5]::bigint[]",
        "said_whole": "ARRAY[true]",
    },
    "no name": NEW | {"names": "ARRAY['']", "streams": "ARRAY['']"},
    "a name that nobody can print": NEW
    | {"names": "ARRAY[E'new\\t1']", "streams": "ARRAY[E'new\\t1']"},
    "a name without end": NEW
    | {"names": "ARRAY[repeat('x', 256)]", "streams": "ARRAY[repeat('x', 256)]"},
    "a branch of nothing": NEW
    | {
        "parents": "ARRAY['nothing-1']",
        "forks": "ARRAY[0]::bigint[]",
        "versions": "ARRAY[1]::bigint[]",
    },
    "a branch beyond its parent": NEW
    | {
        "parents": "ARRAY['call-1']",
        "forks": "ARRAY[7]::bigint[]",
        "versions": "ARRAY[8]::bigint[]",
    },
    "half a branch": NEW | {"parents": "ARRAY['call-1']"},
    "a branch with the name of none": NEW
    | {
        "parents": "ARRAY['call-1']",
        "forks": "ARRAY[0]::bigint[]",
        "versions": "ARRAY[1]::bigint[]",
    },
    "one version at two times": TWO
    | {"versions": "ARRAY[2, 2]::bigint[]", "times": f"ARRAY[{NOW}, {NOW} + 9]"},
    "a branch of itself": BRANCH
    | {
        "parents": "ARRAY['new-1~x']",
        "forks": "ARRAY[0]::bigint[]",
        "versions": "ARRAY[1]::bigint[]",
    },
    "two branches of each other": TWO
    | {
        "names": "ARRAY[]::text[]",
        "believed": "ARRAY[]::bigint[]",
        "streams": "ARRAY['new-1~x', 'new-1~y']",
        "parents": "ARRAY['new-1~y', 'new-1~x']",
        "forks": "ARRAY[0, 0]::bigint[]",
        "versions": "ARRAY[1, 1]::bigint[]",
    },
    "a branch that begins elsewhere": BRANCH
    | {
        "parents": "ARRAY['call-1']",
        "forks": "ARRAY[0]::bigint[]",
        "versions": "ARRAY[2]::bigint[]",
    },
    "a stream of branches that begins at 3": BRANCH | {"versions": "ARRAY[3]::bigint[]"},
    "a key of another spelling": {
        "row_keys": r"ARRAY[E'new\x1f00']",
        "digests": r"ARRAY['\x01']::bytea[]",
    },
    "a key of three": {
        "row_keys": r"ARRAY[E'new\x1f0\x1f0']",
        "digests": r"ARRAY['\x01']::bytea[]",
    },
    "no key": {"row_keys": "ARRAY['']", "digests": r"ARRAY['\x01']::bytea[]"},
    "half a character": {"bodies": HALF},
    "the other half": {"bodies": HALF.replace("ud83d", "uDE00")},
    **{
        f"a number of {len(number)} characters, {number[:9]}": {
            "bodies": f"""ARRAY['[["test.a",{{"a":[true,{number}]}}]]']"""
        }
        for number in UNREADABLE
    },
    "a number in its metadata": {"metadatas": f"""ARRAY['{{"a":9{DIGITS}}}']"""},
    "two halves apart": {"bodies": HALF.replace("ud83d", r"ud83d\\\ude00")},
    "half a character in its metadata": {"metadatas": r"""ARRAY['{"a":"\ud83d"}']"""},
    "more than an event may hold": {"bodies": LARGE},
    "a tag that it does not have": {"tags": "ARRAY['t']"},
    "a part more of what stands": {
        "row_keys": r"ARRAY[E'k\x1f1']",
        "digests": r"ARRAY['\x01']::bytea[]",
    },
    "a part of nothing": {
        "row_keys": r"ARRAY[E'new\x1f1']",
        "digests": r"ARRAY['\x01']::bytea[]",
    },
    "parts of two digests": TWO
    | {
        "row_keys": r"ARRAY['new', E'new\x1f1']",
        "digests": r"ARRAY['\x01', '\x02']::bytea[]",
    },
    "another tenant": {
        "of_tenant": "7",
        "believed": "ARRAY[-1]::bigint[]",
        "versions": "ARRAY[0]::bigint[]",
    },
    "two that were and then were before": TWO | {"times": f"ARRAY[{NOW}, {NOW} - 9]"},
    "two of which one was long before": TWO | {"times": f"ARRAY[9, {NOW}]"},
    "one that was before what stands": {"times": "ARRAY[9]::bigint[]"},
    "tags that nobody finds it by": {"metadatas": """ARRAY['{"tags":["x:1"]}']"""},
    "a tag that it does not have, with a NUL": {
        "metadatas": r"""ARRAY['{"a":"\u0000"}']""",
        "tags": "ARRAY['t']",
    },
    "tags beside a NUL": {"metadatas": r"""ARRAY['{"tags":["x:1"],"a":"\u0000"}']"""},
    "tags beside what is no NUL": {"metadatas": r"""ARRAY['{"tags":["x:1"],"a":"\\u0000"}']"""},
    "a tag with a NUL": {
        "metadatas": r"""ARRAY['{"tags":["x\u0000"]}']""",
        "tags": "ARRAY['x']",
    },
    "tags that are no list": {"metadatas": """ARRAY['{"tags":"x:1"}']"""},
    "one of its tags alone": {"metadatas": """ARRAY['{"tags":["x","y"]}']""", "tags": "ARRAY['x']"},
    "deeper than it can be read": {"bodies": f"""ARRAY['[["test.a",{DEEP}]]']"""},
    "deeper than its metadata can be read": {"metadatas": f"""ARRAY['{{"a":{DEEP}}}']"""},
    "two at one position": TWO | {"offsets": "ARRAY[0, 0]::bigint[]"},
    "one before and one that is right": TWO
    | {"offsets": "ARRAY[-1, 0]::bigint[]", "versions": "ARRAY[1, 2]::bigint[]"},
    "one that is right and one before": TWO
    | {"offsets": "ARRAY[0, -1]::bigint[]", "versions": "ARRAY[2, 1]::bigint[]"},
    "one again, far before": TWO
    | {"offsets": "ARRAY[-2, 0]::bigint[]", "versions": "ARRAY[0, 2]::bigint[]"},
    "two that overlap": TWO
    | {
        "counts": "ARRAY[2, 1]::bigint[]",
        "bodies": """ARRAY['[["test.a",{}],["test.a",{}]]', '[["test.a",{}]]']""",
    },
    "less than nothing and one more": TWO
    | {"offsets": "ARRAY[0, -1]::bigint[]", "counts": "ARRAY[-1, 2]::bigint[]"},
    "one now and one in 2090": TWO | {"times": f"ARRAY[{NOW}, 3786912000000000]"},
    "one in 2090 and one now": TWO | {"times": f"ARRAY[3786912000000000, {NOW}]"},
    "one in a month long gone, one now": TWO | {"times": f"ARRAY[1736500000000000, {NOW}]"},
    "times that begin at number 2": TWO
    | {"times": f"('[2:3]={{' || {NOW} || ',3786912000000000}}')::bigint[]"},
    "one without a time": TWO | {"times": f"ARRAY[NULL, {NOW}]"},
    "fewer times than appends": TWO | {"times": f"ARRAY[{NOW}]"},
}
"""Appends that say otherwise than the log, each refused as a privilege."""
RIGHT: dict[str, dict[str, str]] = {
    "numbers that can be read": {
        "bodies": f"""ARRAY['[["test.a",{{"a":[{",".join(READABLE)}]}}]]']"""
    },
    "text that looks like a number that cannot": {
        "bodies": f"""ARRAY['[["test.a",{{"a":"1, 1e999, \\",9{DIGITS} "}}]]']"""
    },
    "whole characters": {"bodies": HALF.replace("ud83d", r"ud83D\uDe00")},
    "what looks like half a one": {"bodies": HALF.replace("ud83d", r"\ud83d")},
    "a branch": BRANCH
    | {
        "parents": "ARRAY['call-1']",
        "forks": "ARRAY[0]::bigint[]",
        "versions": "ARRAY[1]::bigint[]",
    },
    "a branch of what is new": TWO
    | {
        "names": "ARRAY[]::text[]",
        "believed": "ARRAY[]::bigint[]",
        "streams": "ARRAY['new-1', 'new-1~x']",
        "parents": "ARRAY[NULL, 'new-1']",
        "forks": "ARRAY[NULL, 0]::bigint[]",
        "versions": "ARRAY[0, 1]::bigint[]",
    },
    "parts of a key": TWO
    | {
        "row_keys": r"ARRAY['new', E'new\x1f1']",
        "digests": r"ARRAY['\x01', '\x01']::bytea[]",
    },
    "tags": {"metadatas": """ARRAY['{"tags":["x"]}']""", "tags": "ARRAY['x']"},
    "several times": TWO | {"times": f"ARRAY[{NOW}, {NOW}]"},
}
"""Appends that say nothing wrong."""
CALM = {
    "streams": "ARRAY['calm-1']",
    "versions": "ARRAY[0]::bigint[]",
    "row_keys": "ARRAY[NULL]::text[]",
    "tags": "ARRAY[NULL]::text[]",
    "times": f"ARRAY[{NOW}]",
}
"""What is said otherwise of an append to a new stream that is right."""
OF_EACH = (
    *("streams", "offsets", "versions", "counts", "kinds", "row_keys", "digests", "metadatas"),
    *("bodies", "said_first", "said_last", "said_whole", "parents", "forks", "tags", "times"),
)
"""The arguments that have a value for each append of a commit."""
IMPOSSIBLE: dict[str, tuple[str, dict[str, str]]] = {
    "a key that stands": (
        "23505",
        {"row_keys": "ARRAY['k']", "digests": r"ARRAY['\x01']::bytea[]"},
    ),
    "no type": ("23502", {"kinds": "ARRAY[NULL]::text[]"}),
    "no JSON": ("22P02", {"bodies": "ARRAY['[']"}),
    "no events": ("22023", {"bodies": "ARRAY['{}']"}),
}
"""The same, by the tables themselves, each with its SQLSTATE."""
GOOD_ONE = {
    "of_tenant": "0",
    "known_schema": "schema_number()",
    "commit_token": "gen_random_uuid()",
    "now_at": NOW,
    "durable": "false",
    "of_stream": "'call-1'",
    "believed": "1",
    "event_count": "1",
    "kinds": "'test.a'",
    "shared": "NULL",
    "events": """'[["test.a",{}]]'""",
}
"""The arguments of a lone append that is right."""
FORGED_ONE: dict[str, dict[str, str]] = {
    "more than it holds": {"event_count": "3"},
    "nothing": {"event_count": "0", "events": "'[]'"},
    "a type that it is not": {"kinds": "'test.b'"},
    "an event without a type": {"events": "'[[1,{}]]'"},
    "metadata that is none": {"shared": "'[]'"},
    "tags that nobody finds it by": {"shared": """'{"tags":["x:1"]}'"""},
    "tags beside a NUL": {"shared": r"""'{"tags":["x:1"],"a":"\u0000"}'"""},
    "half a character": {"events": HALF[6:-1]},
    "more than an event may hold": {"events": f"({LARGE[6:-1]})::json"},
    "deeper than it can be read": {"events": f"""'[["test.a",{DEEP}]]'"""},
    "a time in a year": {"now_at": f"{NOW} + 31536000000000"},
    "a time that it does not tell": {"events": """'[["test.a",{},5]]'"""},
    "no name": {"of_stream": "''", "believed": "-1"},
    "another tenant": {"of_tenant": "7", "believed": "-1"},
}
"""Lone appends that say otherwise than the log."""


@pytest.fixture(scope="module", params=VERSIONS, ids=str)
def made(request: pytest.FixtureRequest) -> Shared:
    """A store with roles, whose stream `call-1` has two events."""
    shop = shared(request.param)
    with refold.open(shop.url(shop.login("writer"))) as store:
        store.append("call-1", [Event("test.a"), Event("test.a")], key="k")
    return shop


def state_of(session: psycopg.Connection[tuple[Any, ...]], sql: str) -> str | None:
    """The SQLSTATE with which a statement is refused; None where it is not."""
    try:
        session.execute(sql.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None


def appending(changed: dict[str, str]) -> str:
    """A call of the function that appends."""
    given = ", ".join(f"{name} => {value}" for name, value in (GOOD | changed).items())
    return f"SELECT first FROM append({given})"


def beside(changed: dict[str, str], *, calm_first: bool) -> dict[str, str]:
    """The same arguments, of a commit with an append before or behind that is right."""
    given, calm, both = GOOD | changed, GOOD | CALM, dict(changed)
    shifted = f"ARRAY(SELECT o.at + 1 FROM unnest({given['offsets']}) WITH ORDINALITY AS o (at, n) "
    ends = f"(SELECT sum(c)::bigint FROM unnest({given['counts']}) AS c)"
    for name in OF_EACH:
        ours, theirs = given.get(name, "NULL"), calm[name]
        if name == "offsets" and calm_first:
            ours = f"{shifted} ORDER BY o.n)"
        elif name == "offsets":
            theirs = f"ARRAY[{ends}]"
        if ours != "NULL":
            both[name] = f"{theirs} || ({ours})" if calm_first else f"({ours}) || {theirs}"
    return both


def appending_one(changed: dict[str, str]) -> str:
    """A call of the function for a lone append."""
    given = ", ".join(f"{name} => {value}" for name, value in (GOOD_ONE | changed).items())
    return f"SELECT first FROM append_one({given})"


@pytest.mark.parametrize("group", ["writer", "reader"])
def test_what_stands_is_not_changed(made: Shared, group: str) -> None:
    """Nor what guards it: every statement is refused."""
    asked = OF_READERS if group == "writer" else OF_READERS + OF_READERS_ALONE
    if group == "reader":
        asked += (appending({}), appending_one({}))
    others = f"SET ROLE {made.prefix}_maintainer", f"GRANT {made.prefix}_maintainer TO CURRENT_USER"
    passed = {}
    for sql in (*asked, *others):
        with made.session(_login(made, group)) as session:
            found = state_of(session, sql)
        if found != DENIED:
            passed[sql] = found
    assert passed == {}
    with made.session(_login(made, group)) as session:
        assert {state_of(session, sql) for sql in OF_VIEWS} == {"55000"}
        session.execute("GRANT ALL ON log TO PUBLIC")  # A warning that it came to nothing.
        for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "REFERENCES"):
            asked_for = f"SELECT has_table_privilege('log', '{privilege}')".encode()
            assert session.execute(asked_for).fetchone() == (False,)


def test_what_a_writer_says_of_an_append_is_looked_at(made: Shared) -> None:
    """Positions, versions, times, types, tags and keys are the log's own, whatever is told."""
    passed: dict[str, Any] = {}
    with made.session(_login(made, "writer")) as session:
        for name, changed in FORGED.items():
            first, behind = (beside(changed, calm_first=one) for one in (True, False))
            for how, tried in (("", changed), ("behind ", first), ("before ", behind)):
                if (found := state_of(session, appending(tried))) != DENIED:
                    passed[how + name] = found
        for name, changed in FORGED_ONE.items():
            if (found := state_of(session, appending_one(changed))) != DENIED:
                passed[f"alone, {name}"] = found
        for name, (state, changed) in IMPOSSIBLE.items():
            if (found := state_of(session, appending(changed))) != state:
                passed[name] = found
        for name, changed in ({"": {}} | RIGHT).items():
            first, behind = (beside(changed, calm_first=one) for one in (True, False))
            for tried in (changed, first, behind):
                session.execute("BEGIN")
                if (found := state_of(session, appending(tried))) is not None:
                    passed[f"right, {name}"] = found
                session.execute("ROLLBACK")
        for changed in ({}, TWO | {"believed": "ARRAY[2]::bigint[]", "versions": "ARRAY[3,4]"}):
            assert state_of(session, appending(changed)) is None
        assert state_of(session, appending_one({"believed": "4"})) is None
        assert state_of(session, appending_one({"of_stream": "'new-2'", "believed": "-1"})) is None
    assert passed == {}
    with refold.open(made.url(_login(made, "reader")), mode="read") as store:
        assert [c for c in store.check() if not c.good] == []
        assert [e.version for e in store.read("call-1")] == list(range(6))
        assert [e.version for e in store.read("new-2")] == [0]


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_nothing_is_put_into_a_month_that_is_closed(version: str | None) -> None:
    """Beside one append of now, which is stored where both are of now."""
    shop = shared(version)
    new = NEW | {"streams": "ARRAY['new-1', 'new-1']", "versions": "ARRAY[0, 1]::bigint[]"}
    with shop.session(shop.admin) as admin:
        admin.execute(f"INSERT INTO months VALUES (0, {NOW} - 1000000, '2026-01')".encode())
    with shop.session(shop.login("writer")) as session:
        in_it = appending(TWO | new | {"times": f"ARRAY[{NOW} - 9000000, {NOW}]"})
        assert state_of(session, in_it) == DENIED
        honest = TWO | new | {"times": f"ARRAY[{NOW}, {NOW} + 9]"}
        assert state_of(session, appending(honest)) is None


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_nobody_is_made_to_run_what_stands_in_public(version: str | None) -> None:
    """Roles are not given while everybody may make functions there that a maintainer would run."""
    shop = shared(version)
    writer = shop.login("writer", tenants=[7])
    with postgres.connect(postgres.shared(version)) as root:
        root.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        try:
            with pytest.raises(refold.RefoldError, match="REVOKE CREATE ON SCHEMA public"):
                shared(version)
            with shop.session(writer) as session:
                session.execute(
                    "CREATE FUNCTION public.split_part(name, text, integer) RETURNS text "
                    "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'mine'; END $$"
                )
            with refold.open(shop.url(shop.login("reader")), mode="read") as store:
                (found,) = (check for check in store.check() if not check.good)
            assert found.name == "roles"
            assert found.detail.endswith(": REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            with shop.session(shop.admin) as admin:
                admin.execute(f"SET search_path = {shop.place}, public".encode())
                admin.execute("SELECT make_room(9)")
        finally:
            root.execute("DROP FUNCTION IF EXISTS public.split_part(name, text, integer)")
            root.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")


def test_nothing_of_a_callers_runs_as_the_owner(made: Shared) -> None:
    """A schema of the writer's own that stands before the server's has functions of its names."""
    writer = made.login("writer")
    with postgres.connect(postgres.shared(made.version)) as root:
        root.execute(f"CREATE SCHEMA {writer} AUTHORIZATION {writer}".encode())
    with made.session(writer) as session:
        for name, kinds, gives in (
            ("split_part", "text, text, integer", "text"),
            ("string_to_array", "text, text", "text[]"),
            ("pg_notify", "text, text", "void"),
            ("set_config", "text, text, boolean", "text"),
            ("current_setting", "text", "text"),
            ("pg_has_role", "name, oid, text", "boolean"),
            ("to_char", "timestamp, text", "text"),
            ("format", "text", "text"),
            ("strpos", "text, text", "integer"),
            ("count", "", "bigint"),
        ):
            made_one = f"CREATE FUNCTION {writer}.{name}({kinds}) RETURNS {gives} LANGUAGE plpgsql"
            session.execute(f"{made_one} AS $$ BEGIN RAISE EXCEPTION 'mine'; END $$".encode())
        session.execute("CREATE TEMP TABLE commits (tenant integer, after bigint)")
        session.execute(f"SET search_path = {writer}, pg_catalog, {made.place}".encode())
        call = appending(NEW | {"names": "ARRAY['evil-1']", "streams": "ARRAY['evil-1']"})
        assert state_of(session, call) is None
        assert state_of(session, "SELECT forget_commits(0, 10)") is None
        assert state_of(session, "SELECT channel(0)") is None
        assert state_of(session, f"SELECT make_month({NOW}, 10)") is None
        quote = "x''; DROP TABLE log; --"
        call = appending(NEW | {"names": f"ARRAY['{quote}']", "streams": f"ARRAY['{quote}']"})
        assert state_of(session, call) is None
    with refold.open(made.url(_login(made, "reader")), mode="read") as store:
        assert [e.version for e in store.read("x'; DROP TABLE log; --")] == [0]


_logins: dict[tuple[str, str], str] = {}


def _login(made: Shared, group: str) -> str:
    """A login of a group, the same at every call."""
    key = made.schema, group
    if key not in _logins:
        _logins[key] = made.login(group)
    return _logins[key]
