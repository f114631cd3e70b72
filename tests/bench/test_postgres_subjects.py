"""The subjects on PostgreSQL store the same events, each in a database of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.database import ADDRESS, OnServer
from bench.subjects.raw_postgres import RawPostgres
from bench.subjects.refold_postgres import RefoldPostgres
from bench.subjects.seed_postgres import SeedPostgres
from tests.support import postgres


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server is."""
    monkeypatch.setenv(ADDRESS, postgres.url(postgres.shared()).rstrip("?"))


def databases(subject: OnServer) -> list[str]:
    """The names of those that a subject has made."""
    found = subject._admin("SELECT datname FROM pg_database WHERE datname LIKE %s", "bench-%")
    return [name for (name,) in found]


def test_subjects_come_to_the_same_state(tmp_path: Path) -> None:
    """What is appended, read as a stream and read as a log is the same for all."""
    states = []
    for kind in (RefoldPostgres, SeedPostgres):
        subject = kind(tmp_path / f"bench-{kind.__name__}")
        subject.use(count=600)
        subject.build(name="log", events=200, streams=2, size=10)
        read = subject.load(name="log", seconds=0)["state"], subject.feed(name="log", events=200)
        states.append((read[0], read[1]["state"]))
        assert subject.size(name="log", events=200)["value"] > 300
        subject.drop(name="log")
        assert databases(subject) == []
    assert states[0] == states[1]


def test_what_is_measured_is_stored_and_gone(tmp_path: Path) -> None:
    """Rates are over 0, with the processor time of client and server; nothing is left behind."""
    subjects = [
        kind(tmp_path / f"bench-{kind.__name__}")
        for kind in (RefoldPostgres, SeedPostgres, RawPostgres)
    ]
    for subject in subjects:
        subject.folder.mkdir()
        subject.use(count=600)
    ours, seed, raw = subjects
    assert isinstance(ours, RefoldPostgres) and isinstance(seed, SeedPostgres)
    assert isinstance(raw, RawPostgres)
    found = [
        ours.append(size=10, seconds=0.05),
        raw.append(size=10, seconds=0.05),
        ours.append_tasks(size=1, seconds=0.05, tasks=4),
        seed.append_locked(size=1, seconds=0.05, tasks=4),
        ours.bulk(events=100, size=10),
        ours.copy_in(events=100, size=10),
        raw.copied(size=10, seconds=0.05),
        raw.copied_appends(events=100, size=10),
    ]
    assert all(one["value"] > 0 and one["processor_us"] >= 0 for one in found)
    assert databases(ours) == []
