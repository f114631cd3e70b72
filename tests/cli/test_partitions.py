"""`refold partitions`, `refold archive`, and the upkeep of a store in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

import refold
from refold import Event
from refold.core.clock import to_us
from tests.cli.running import Refold
from tests.support import postgres
from tests.support.months import fill


@pytest.fixture
def where() -> tuple[str, str]:
    """A store with events in three months."""
    url = postgres.schema_of_its_own()
    fill(url)
    return "--db", url


def test_months_from_list_to_drop_and_back(
    run: Refold, where: tuple[str, str], tmp_path: Path
) -> None:
    """Each step by its command, and what is said of it."""
    folder = str(tmp_path / "old")
    listed = run("partitions", *where, "--json").lines
    assert [one["month"] for one in listed if one["events"]] == ["2025-01", "2025-02", "2025-03"]
    assert "positions 1 to 9" in run("partitions", "list", *where).out
    refused = run("partitions", "drop", "2025-01", *where)
    assert refused.code == 2
    assert "refold archive --before 2025-02 --to FOLDER" in refused.err
    assert run("archive", "--before", "2025-04", "--to", folder, *where).code == 2
    done = run("archive", "--before", "2025-03", "--to", folder, "--detach", *where)
    assert done.code == 0, done
    assert f"2025-01: 9 events in {folder}, detached" in done.out
    told = run("show", "call-1", *where)
    assert told.code == 3
    assert f"archive={folder}" in told.err
    assert run("doctor", *where).code == 0
    assert run("archive", "--before", "2025-03", "--to", folder, "--drop", *where).code == 0
    gone = run("partitions", "detach", "2025-01", *where)
    assert gone.out == "detached 2025-01: its table was dropped before\n"
    again = run("archive", "--before", "2025-03", "--to", folder, "--drop", *where)
    assert (again.code, again.out) == (0, "")
    assert "nothing to archive: no month before 2025-03" in again.err
    archived = ("--db", f"{where[1]}&archive={folder}")
    assert run("show", "call-1", *archived).code == 0
    assert len(run("log", *archived, "--json").lines) == 19
    found = run("doctor", *archived)
    assert found.code == 0, found
    assert "2025-01 is dropped (positions 1 to 9)" in found.out
    assert run("partitions", "attach", "2025-01", *where).out == "attached 2025-01\n"
    assert run("partitions", "detach", "2025-01", *where).out == "detached 2025-01\n"
    assert run("partitions", "create", "--months", "4", *where).out.startswith("made ")
    assert run("partitions", "create", "--months", "4", *where).out == "all of them stood\n"


def test_what_is_archived_is_counted_of_all_tenants(
    run: Refold, where: tuple[str, str], tmp_path: Path
) -> None:
    """Also where the address names one that has no events: nobody is told that a month is empty."""
    other = ("--db", f"{where[1]}&tenant=7")
    assert "9 events" in next(line for line in run("partitions", *other).out.splitlines())
    done = run("archive", "--before", "2025-02", "--to", str(tmp_path / "old"), "--drop", *other)
    assert done.out == f"2025-01: 9 events in {tmp_path / 'old'}, dropped\n"


def test_a_captured_call_that_is_away_is_not_looked_at(run: Refold, tmp_path: Path) -> None:
    """Doctor says so, and that it is no damage."""
    url, clock = postgres.schema_of_its_own(), [to_us("2025-01-05")]
    with refold.open(url, clock=lambda: clock[0]) as store:
        store.append("wire-1", [Event("wire.request", {})])
        clock[0] = to_us("2025-02-05")
        store.append("call-1", [Event("test.a")])
    assert run("partitions", "detach", "2025-01", "--db", url).code == 0
    found = run("doctor", "--db", url)
    assert found.code == 0, found
    assert "exact bytes: not looked at: " in found.out


def test_a_store_in_postgresql_is_measured(run: Refold, where: tuple[str, str]) -> None:
    """Table by table, months together; what is detached apart."""
    parts = {one["part"]: one for one in run("stats", *where, "--json").lines}
    assert parts["log"]["events"] == 19
    assert {"log indexes", "streams", "keys", "tags", "commits"} <= set(parts)
    in_all = sum(one["size_bytes"] for name, one in parts.items() if name != "all")
    assert parts["all"]["size_bytes"] == in_all > 100_000
    assert run("partitions", "detach", "2025-01", *where).code == 0
    assert "log detached" in run("stats", *where).out


def test_what_is_for_files_names_what_postgresql_has(
    run: Refold, where: tuple[str, str], tmp_path: Path
) -> None:
    """Backup, restore and compaction are refused with the command that does it."""
    copied = run("backup", str(tmp_path / "copy.db"), *where)
    assert copied.code == 2
    assert f"`pg_dump --format=custom --file={tmp_path / 'copy.db'} ADDRESS`" in copied.err
    assert "as a superuser if it has roles" in copied.err
    assert "pg_basebackup" in copied.err
    packed = run("compact", *where)
    assert packed.code == 2
    assert "refold archive" in packed.err
    assert "events_unpacked" not in packed.err
    refold.open(tmp_path / "file.db").close()
    restored = run("restore", str(tmp_path / "file.db"), *where)
    assert restored.code == 2
    assert "refold copy" in restored.err
    in_file = run("partitions", "--db", str(tmp_path / "file.db"))
    assert in_file.code == 2
    assert "refold compact" in in_file.err
