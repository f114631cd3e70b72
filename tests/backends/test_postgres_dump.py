"""A backup of a store with roles by `pg_dump`, and what comes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import refold
from refold import Event
from refold.projections import Projector
from refold.readmodels import tool_usage
from tests.support import postgres
from tests.support.roles import Shared, shared

CALL = Event("tool.call", {"call_id": "c", "name": "refund", "arguments": "{}"})
TENANT = 7


def ran(program: str, login: str, *given: str) -> subprocess.CompletedProcess[str]:
    """What a program of the server's did as a login."""
    where = ("--host=127.0.0.1", f"--port={postgres.shared()}", f"--username={login}")
    password = "pw" if login != "postgres" else postgres.PASSWORD
    return subprocess.run(
        [postgres.program(program), *where, *given],
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
    )


def dumped(made: Shared, login: str, file: Path) -> subprocess.CompletedProcess[str]:
    """A dump of the schemas of a store."""
    schemas = (f'--schema="{made.schema}"', f'--schema="{made.schema}@{TENANT}"')
    kind = ("--format=custom", f"--file={file}", *schemas, "postgres")
    return ran("pg_dump", login, *kind)


def test_a_store_with_roles_is_dumped_by_a_superuser_and_restored(tmp_path: Path) -> None:
    """Every tenant's log, read models and rights are there again; its owner may not dump it."""
    made = shared(None)
    writer, reader = made.login("writer", tenants=[TENANT]), made.login("reader")
    with refold.open(made.url(made.login("maintainer"), tenant=TENANT)) as store:
        store.append("call-1", [CALL])
        Projector(store, [tool_usage]).catch_up()
    with refold.open(made.url(made.login("writer"))) as store:
        store.append("call-2", [CALL, CALL], key="k")
    refused = dumped(made, made.login("maintainer"), tmp_path / "owner.dump")
    assert refused.returncode != 0
    assert "row-level security" in refused.stderr
    assert dumped(made, "postgres", tmp_path / "whole.dump").returncode == 0
    place = f"restored_{made.schema}".lower()
    with postgres.connect(postgres.shared()) as root:
        root.execute(f"CREATE DATABASE {place}".encode())
    told = ran(
        "pg_restore", "postgres", "--exit-on-error", f"--dbname={place}", f"{tmp_path}/whole.dump"
    )
    assert told.returncode == 0, told.stderr
    there = made.url(writer, tenant=TENANT).replace("/postgres?", f"/{place}?")
    with refold.open(there) as store:
        assert [event.stream for event in store.read_all()] == ["call-1"]
        assert store.append("call-1", [CALL]).version == 1
        assert Projector(store, []).query("SELECT tool, calls FROM tool_usage") == [("refund", 1)]
    there = made.url(reader).replace("/postgres?", f"/{place}?")
    with refold.open(there, mode="read") as store:
        assert [event.id for event in store.read_all()] == ["call-2@0", "call-2@1"]
        assert [check for check in store.check() if not check.good] == []
