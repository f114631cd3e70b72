"""What `refold doctor` finds in PostgreSQL beside damage: what endangers a log that is still whole.

Each is provoked for real, is named with what mends it, and is gone when that was done.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest

import refold
from refold import Event
from refold.backends.postgres import doctor
from refold.backends.postgres.address import parsed
from refold.engine.store import Store
from refold.projections import Projector
from tests.projections.sums import sums
from tests.support import postgres
from tests.support.postgres import servers

A = Event("test.a")
SETTINGS = (
    *("shared_buffers=16MB", "max_connections=20", "autovacuum=off", "wal_level=logical"),
    "max_prepared_transactions=2",
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that the tests of this file may set as they like."""
    with servers(SETTINGS) as started:
        yield started.port


@pytest.fixture
def admin(port: int) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection of its operator."""
    with postgres.connect(port) as connection:
        yield connection


@pytest.fixture
def url(port: int) -> str:
    """An empty store in it."""
    return postgres.url(port, schema=f"doctor_{time.monotonic_ns()}")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store with something in it, in which there is nothing to find."""
    with refold.open(url) as opened:
        opened.append("call-1", [A], key="one", tags=["x:1"])
        opened.append("call-1~b", [A])
        assert found(opened) == {}
        yield opened


def found(store: Store) -> dict[str, str]:
    """What is bad, by the names of the checks."""
    return {check.name: check.detail for check in store.check() if not check.good}


def mended(admin: psycopg.Connection[tuple[Any, ...]], store: Store, name: str, sql: str) -> None:
    """One check finds something, names a statement, and nothing any more when that was run."""
    bad = found(store)
    assert bad.keys() == {name}
    assert sql in bad[name], bad[name]
    for statement in sql.split("; "):
        admin.execute(statement.encode())
    until = time.monotonic() + 30
    while found(store) and time.monotonic() < until:
        time.sleep(0.05)  # Settings are taken over in a moment.
    assert found(store) == {}


def soon(monkeypatch: pytest.MonkeyPatch, limit: str, instead: str) -> None:
    """Another limit for what has stood for too long, or takes too much."""
    real = doctor._queries()
    shorter = {
        name: [(wrong, sql.replace(limit, instead)) for wrong, sql in asked]
        for name, asked in real.items()
    }
    assert shorter != real
    monkeypatch.setattr(doctor, "_queries", lambda: shorter)


@pytest.mark.parametrize(
    "constraint",
    [
        *("log_pkey", "commits_pkey", "streams_pkey", "keys_pkey", "tags_pkey", "snapshots_pkey"),
        "log_tenant_stream_version_recorded_at_key",
    ],
)
def test_a_rule_that_was_dropped(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, url: str, constraint: str
) -> None:
    """Without it two appends could have one position, version or key."""
    schema, table = parsed(url).schema, constraint.partition("_")[0]
    admin.execute(f"ALTER TABLE {schema}.{table} DROP CONSTRAINT {constraint}".encode())
    said = re.search("ALTER TABLE .*", found(store)["indexes"])
    assert said
    mended(admin, store, "indexes", said[0])


def test_an_index_that_was_dropped(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, url: str
) -> None:
    """Nothing is wrong with what is stored; streams of a category are found slowly."""
    schema = parsed(url).schema
    admin.execute(f"DROP INDEX {schema}.streams_category".encode())
    made = f'CREATE INDEX streams_category ON "{schema}".streams (tenant, category, name)'
    mended(admin, store, "indexes", made)


def test_an_index_that_is_not_valid(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, url: str
) -> None:
    """As one that was being made and whose making was broken off."""
    index = f"{parsed(url).schema}.streams_category"
    broken = f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass"
    admin.execute(broken.encode())
    mended(admin, store, "indexes", f"REINDEX INDEX {index}")


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("fsync", "off", "on"),
        ("full_page_writes", "off", "on"),
        ("zero_damaged_pages", "on", "off"),
    ],
)
def test_a_setting_by_which_what_is_told_may_be_lost(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, name: str, wrong: str, right: str
) -> None:
    """Unless the server is said to be there for trials, as the others of these tests are."""
    admin.execute(f"ALTER SYSTEM SET {name} = {wrong}".encode())
    admin.execute("SELECT pg_reload_conf()")
    try:
        until = time.monotonic() + 30
        while not found(store) and time.monotonic() < until:
            time.sleep(0.05)
        sql = f"ALTER SYSTEM SET {name} = {right}; SELECT pg_reload_conf()"
        mended(admin, store, "server settings", sql)
    finally:
        admin.execute("ALTER SYSTEM RESET ALL")
        admin.execute("SELECT pg_reload_conf()")


def test_a_standby_that_is_asked_for_and_not_there(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store
) -> None:
    """Every append would wait for it; or none does, though it is to."""
    admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    admin.execute("SELECT pg_reload_conf()")
    try:
        until = time.monotonic() + 30
        while not found(store) and time.monotonic() < until:
            time.sleep(0.05)
        assert "synchronous_standby_names = 'nobody'" in found(store)["server settings"]
        admin.execute("ALTER SYSTEM SET synchronous_commit = local")
        admin.execute("SELECT pg_reload_conf()")
        while "RESET" not in found(store)["server settings"] and time.monotonic() < until:
            time.sleep(0.05)
        assert "ALTER SYSTEM RESET synchronous_commit" in found(store)["server settings"]
    finally:
        admin.execute("ALTER SYSTEM RESET ALL")
        admin.execute("SELECT pg_reload_conf()")


def test_a_transaction_that_stays_open(
    admin: psycopg.Connection[tuple[Any, ...]],
    store: Store,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody has forgotten it; it is named, so that it can be ended."""
    soon(monkeypatch, "1 hour", "0.2 s")
    with closing(postgres.connect(port)) as other:
        other.execute("BEGIN")
        other.execute("SELECT txid_current()")
        pid = other.info.backend_pid
        time.sleep(0.3)
        mended(admin, store, "server transactions", f"SELECT pg_terminate_backend({pid})")


def test_a_transaction_that_was_prepared_and_forgotten(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives sessions and restarts, with its locks."""
    soon(monkeypatch, "1 hour", "0.2 s")
    admin.execute("BEGIN")
    admin.execute("SELECT txid_current()")
    admin.execute("PREPARE TRANSACTION 'forgotten'")
    time.sleep(0.3)
    assert "ROLLBACK PREPARED 'forgotten'" in found(store)["server transactions"]
    admin.execute("ROLLBACK PREPARED 'forgotten'")
    assert found(store) == {}


def test_a_slot_that_nobody_reads(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For it the server keeps all that comes, until there is no room."""
    admin.execute("SELECT pg_create_physical_replication_slot('left', true)")
    assert found(store) == {}
    soon(monkeypatch, "1073741824", "10")
    store.append("call-1", [A])
    mended(admin, store, "server replication", "SELECT pg_drop_replication_slot('left')")


def test_a_slot_that_was_cut_off(admin: psycopg.Connection[tuple[Any, ...]], store: Store) -> None:
    """Where the server keeps only so much, who reads it cannot go on."""
    admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    admin.execute("SELECT pg_reload_conf()")
    try:
        admin.execute("SELECT pg_create_physical_replication_slot('left', true)")
        for _ in range(4):
            admin.execute("SELECT pg_switch_wal()")
            store.append("call-1", [A])
        admin.execute("CHECKPOINT")
        mended(admin, store, "server replication", "SELECT pg_drop_replication_slot('left')")
    finally:
        admin.execute("ALTER SYSTEM RESET ALL")
        admin.execute("SELECT pg_reload_conf()")


def test_a_table_that_is_published_without_identity(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, url: str
) -> None:
    """Every append would fail from then on."""
    table = f"{parsed(url).schema}.streams"
    admin.execute(f"CREATE PUBLICATION all_of_it FOR TABLE {table}".encode())
    assert found(store) == {}
    admin.execute(f"ALTER TABLE {table} REPLICA IDENTITY NOTHING".encode())
    try:
        mended(admin, store, "server replication", f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT")
    finally:
        admin.execute("DROP PUBLICATION all_of_it")


def test_a_month_that_nobody_has_made(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, url: str
) -> None:
    """Next month's appends would all go where they are to be moved from again."""
    schema = parsed(url).schema
    ((month, at),) = admin.execute(
        "SELECT to_char(m, 'YYYY_MM'), extract(epoch FROM m)::bigint * 1000000 FROM date_trunc("
        "'month', clock_timestamp() AT TIME ZONE 'UTC' + interval '1 month') AS m"
    ).fetchall()
    admin.execute(f"DROP TABLE {schema}.log_{month}".encode())
    assert f"`refold partitions create` makes it: log_{month}" in found(store)["partitions"]
    admin.execute(f"SELECT {schema}.make_partition({at})".encode())
    assert found(store) == {}


def test_a_projection_that_stands_beyond_the_log(
    admin: psycopg.Connection[tuple[Any, ...]], store: Store, url: str
) -> None:
    """As where some of the log was taken away under it."""
    projector = Projector(store, [sums()])
    projector.catch_up()
    assert found(store) == {}
    beyond = f"UPDATE {parsed(url).schema}.refold_progress SET position = 99"
    admin.execute(beyond.encode())
    assert "`refold projections rebuild sums`" in found(store)["projections"]
    projector.rebuild("sums")
    assert found(store) == {}


def test_clocks_that_do_not_agree(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who appends says when: by clocks that differ, times would stand still for a while."""
    real = time.time
    monkeypatch.setattr(doctor, "time", lambda: real() + 300)
    assert "300 s" in found(store)["server clock"]


def test_looks_of_several_at_once_find_nothing_in_each_other(url: str, store: Store) -> None:
    """They are transactions too, and end."""
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(found, [store] * 3)) == [{}] * 3
