"""Who may use a store in PostgreSQL, and how one is told that he may not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import psycopg
import pytest

import refold
import refold.projections
import refold.readmodels
from refold import Event
from refold.backends.postgres import PostgresBackend, writer
from refold.backends.postgres.address import parsed
from refold.backends.postgres.session import Sessions
from refold.errors import Unavailable, UsageError
from tests.support import postgres

A = Event("test.a")
MARCH = 1_772_323_200_000_000
"""2026-03-01, in microseconds."""
_numbers = count(1)


class Role(NamedTuple):
    """A user who may log in, and connections of the one who says what he may."""

    name: str
    admin: psycopg.Connection[tuple[Any, ...]]

    def url(self, schema: str) -> str:
        """The address of a store, for the role."""
        return f"postgresql://{self.name}:pw@127.0.0.1:{postgres.shared()}/postgres?schema={schema}"


@pytest.fixture
def role() -> Iterator[Role]:
    """One that may do nothing yet."""
    with postgres.connect(postgres.shared()) as admin:
        name = f"plain_{next(_numbers)}"
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'".encode())
        yield Role(name, admin)


def test_who_owns_a_schema_needs_no_more(role: Role) -> None:
    """The schema was made for him: he may make none in the database."""
    schema = f"of_{role.name}"
    role.admin.execute("REVOKE CREATE ON DATABASE postgres FROM PUBLIC")
    role.admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {role.name}".encode())
    with refold.open(role.url(schema)) as store:
        assert store.append("call-1", [A]).version == 0
        assert [check for check in store.check() if not check.good] == []


def test_who_owns_no_table_writes_in_every_month(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He makes no partitions and forgets no tokens; who may, makes them when he comes."""
    monkeypatch.setattr("refold.backends.postgres.writer.AGAIN_S", 0.0)
    owners = postgres.schema_of_its_own()
    schema = parsed(owners).schema
    later = MARCH + 200 * 86_400_000_000
    partition = f"SELECT to_regclass('{schema}.log_2026_09') IS NOT NULL".encode()
    with refold.open(owners, clock=lambda: MARCH) as store:
        store.append("call-1", [A])
    tables = f"ON ALL TABLES IN SCHEMA {schema} TO {role.name}"
    role.admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role.name}".encode())
    role.admin.execute(f"GRANT SELECT, INSERT, UPDATE {tables}".encode())
    with refold.open(role.url(schema), mode="write", clock=lambda: later) as store:
        assert store.append("call-1", [A]).version == 1
        assert role.admin.execute(partition).fetchone() == (False,)
        with refold.open(owners, clock=lambda: later) as other:
            other.append("call-2", [A])
        assert role.admin.execute(partition).fetchone() == (True,)
        assert store.append("call-1", [A]).version == 2
        assert [check for check in store.check() if not check.good] == []


def test_a_partition_that_was_not_made_is_tried_again(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same store, after a minute: else it would stand in the way of a month's appends."""
    url = postgres.schema_of_its_own()
    schema = parsed(url).schema
    later = [MARCH]
    partition = f"SELECT to_regclass('{schema}.log_2026_09') IS NOT NULL".encode()
    with refold.open(url, clock=lambda: later[0]) as store:
        store.append("call-1", [A])
        role.admin.execute("BEGIN")
        role.admin.execute(f"LOCK TABLE {schema}.log_default IN ACCESS SHARE MODE".encode())
        later[0] += 200 * 86_400_000_000
        store.append("call-1", [A])
        role.admin.execute("ROLLBACK")
        store.append("call-1", [A])
        assert role.admin.execute(partition).fetchone() == (False,)
        passed = time.monotonic() + writer.AGAIN_S
        monkeypatch.setattr(writer, "monotonic", lambda: passed)
        store.append("call-1", [A])
        assert role.admin.execute(partition).fetchone() == (True,)
        assert [check for check in store.check() if not check.good] == []


def test_an_append_moves_no_more_than_a_little(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads or writes meanwhile: much that had no partition is moved by whoever asks."""
    url = postgres.schema_of_its_own()
    schema = parsed(url).schema
    in_default = f"SELECT count(*) FROM {schema}.log_default".encode()
    monkeypatch.setattr("refold.backends.postgres.schema.MOVED_MAX", 2)
    monkeypatch.setattr("refold.backends.postgres.schema.MONTHS_AHEAD", -1)
    monkeypatch.setattr("refold.backends.postgres.writer.AGAIN_S", 0.0)
    with refold.open(url, clock=lambda: MARCH) as store:
        for _ in range(3):
            store.append("call-1", [A])
        monkeypatch.setattr("refold.backends.postgres.schema.MONTHS_AHEAD", 0)
        assert isinstance(store._backend, PostgresBackend)
        store._backend._writer._day = -1
        store.append("call-1", [A])
        assert role.admin.execute(in_default).fetchone() == (4,)
        assert [c.name for c in store.check() if not c.good] == ["partitions"]
        role.admin.execute(f"SELECT {schema}.make_partition({MARCH})".encode())
        assert role.admin.execute(in_default).fetchone() == (0,)
        store.append("call-1", [A])
        assert [e.version for e in store.read("call-1")] == list(range(5))
        assert [check for check in store.check() if not check.good] == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("pw@", "hidden-word@"), (":pw@", "@"), ("/postgres?", "/nowhere?"), ("//plain", "//nobody")],
)
def test_a_connection_that_is_refused_is_not_tried_again(
    role: Role, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    """A wrong password, none, no such database or role: it is told at once, and as his fault."""
    waited: list[float] = []
    monkeypatch.setattr("refold.backends.postgres.session.time.sleep", waited.append)
    monkeypatch.setattr("refold.backends.postgres.session.RETRY_S", 0.5)
    url = role.url("any")
    refused = url.replace(right, wrong)
    for use in (refold.open, lambda given: Sessions(parsed(given)).retried(lambda one: None)):
        with pytest.raises(UsageError) as caught:
            use(refused)
        assert caught.value.code == "not_writable"
        assert "hidden-word" not in str(caught.value)
        assert "in the address" in str(caught.value)
    assert waited == []
    with pytest.raises(Unavailable):
        Sessions(parsed(url.replace(f":{postgres.shared()}/", ":1/"))).retried(lambda one: None)
    assert waited != []


@pytest.mark.parametrize(
    "password", ["hidden[word", "hidden]word", "hidden-word%zz", "hidden℀x", "hidden/x", "hidden?x"]
)
def test_a_password_that_spoils_the_address_is_not_shown(password: str) -> None:
    """What is said is of which kind the fault is, and how an address is written."""
    with pytest.raises(UsageError) as caught:
        refold.open(f"postgresql://me:{password}@host/database")
    assert "hidden" not in str(caught.value)
    assert "postgresql://user:password@host/database" in str(caught.value)


def test_a_schema_may_have_capitals() -> None:
    """Its name is taken as it is written, by projections too."""
    with refold.open(postgres.url(postgres.shared(), schema="Agents")) as store:
        store.append("call-1", [A])
        with refold.projections.Projector(store, [refold.readmodels.tool_usage]) as projector:
            projector.catch_up()
            assert projector.query("SELECT count(*) FROM tool_usage") == [(0,)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me@host/database?archiv=x", "did you mean archive?"),
        ("postgresql://me@host/database?tennant=7&scheme=x", "did you mean tenant or schema?"),
        ("postgres:/me@host/database", "no backend for it; give"),
        ("postgresql:me@host/database", "no backend for it; give"),
    ],
)
def test_an_address_that_is_nearly_one_says_what_was_meant(url: str, said: str) -> None:
    """An option with a slip in it; one that would else be taken for the name of a file."""
    with pytest.raises(UsageError) as caught:
        refold.open(url)
    assert said in str(caught.value)
