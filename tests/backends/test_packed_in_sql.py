"""The view `events` through refold: all that is stored, packed or not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import refold
from refold import Event
from refold.projections import Projector

KEPT = Path(__file__).parent.parent / "kept" / "store-0.1.0.sqlite"
ALL = "SELECT position, id, category, type, recorded_at, occurred_at, data, metadata, key"


def told(store: refold.Store, number: int) -> None:
    """Appends of one event and of three, with metadata of their own and of the append."""
    own = Event("two.v2", {"n": 1.10, "text": "é\n"}, occurred_at=number, metadata={"own": number})
    events = [Event("one", {"n": number}), own, Event("one", None)]
    key = f"k{number}" if number % 2 else None
    store.append(f"c-{number % 3}", events[: 1 + number % 3], key=key, metadata={"all": [1]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of 40 appends and a branch, none of them packed."""
    made = tmp_path / "a.db"
    with refold.open(made, synchronous="NORMAL") as store:
        for number in range(40):
            told(store, number)
        store.branch("c-1", at=2).save("c-1~b")
        store.append("c-1", [Event("one")])
    return made


def test_a_compaction_changes_no_answer(path: Path) -> None:
    """Every column of every event is what it was, by connections that were open and by new ones."""
    with refold.open(path) as store:
        projector = Projector(store, [])
        questions = [
            f"{ALL} FROM events ORDER BY position",
            f"{ALL} FROM events WHERE stream = 'c-1' AND version > 3 ORDER BY version",
            "SELECT type, count(*), max(data ->> 'n') FROM events GROUP BY type ORDER BY type",
            "SELECT count(*) FROM events AS a JOIN events AS b USING (stream, version)",
        ]
        before = [projector.query(asked) for asked in questions]
        assert len(before[0]) == store.log_head()
        assert store.compact().events > 60
        assert [projector.query(asked) for asked in questions] == before
        told(store, 40)
        assert len(projector.query(questions[0])) == store.log_head()
    with refold.open(path, mode="read") as store:
        answer = Projector(store, []).query(questions[0])
        assert answer[: len(before[0])] == before[0]
        assert [row[1] for row in answer] == [event.id for event in store.read_all()]


def test_an_old_store_is_shown_whole(tmp_path: Path) -> None:
    """One that an earlier refold has packed too."""
    path = Path(shutil.copy(KEPT, tmp_path / "a.db"))
    with refold.open(path, mode="write") as store:
        answer = Projector(store, []).query("SELECT id, data FROM events ORDER BY position")
        assert answer == [(event.id, event.raw.decode()) for event in store.read_all()]


def test_a_damaged_segment_is_no_short_answer(path: Path) -> None:
    """What cannot be unpacked is said, not left out."""
    with refold.open(path) as store:
        store.compact()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE segments SET frame = zeroblob(50)")
    connection.close()
    with refold.open(path) as store, pytest.raises(refold.RefoldError) as caught:
        Projector(store, []).query("SELECT count(*) FROM events")
    assert caught.value.code == "corrupt"


def asked(path: Path, sql: str) -> subprocess.CompletedProcess[str]:
    """What the SQLite that comes with Python answers, in a process of its own."""
    program = (
        "import sqlite3, sys\n"
        "for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(*row)\n"
    )
    command = [sys.executable, "-c", program, str(path), sql]
    return subprocess.run(command, capture_output=True, text=True, check=False)


WHOLE = [
    "SELECT count(*) FROM events",
    "SELECT id FROM events WHERE stream = 'c-2' AND version > 0",
    "SELECT count(*) FROM events WHERE type = 'none'",
    "SELECT max(position) FROM events",
    "SELECT a.id FROM events AS a JOIN events AS b USING (stream) WHERE a.version < b.version",
    "SELECT name, count(version) FROM streams LEFT JOIN events ON stream = name GROUP BY name",
    "SELECT EXISTS (SELECT 1 FROM events WHERE stream = 'c-0')",
    "SELECT id FROM events ORDER BY position LIMIT 1",
]


@pytest.mark.parametrize("sql", WHOLE)
def test_another_program_gets_all_events_or_an_error(path: Path, sql: str) -> None:
    """The view once left out what was packed, without a word."""
    before = asked(path, sql)
    assert (before.returncode, before.stderr) == (0, "")
    assert before.stdout
    with refold.open(path) as store:
        expected = [" ".join(map(str, row)) for row in Projector(store, []).query(sql)]
        assert before.stdout.splitlines() == expected
        store.compact()
    after = asked(path, sql)
    assert after.returncode != 0
    assert after.stdout == ""
    assert "c-0@0 and others are packed" in after.stderr
    assert "events_unpacked" in after.stderr


def test_another_program_can_ask_for_what_is_not_packed_and_what_is(path: Path) -> None:
    """Both parts together are the log."""
    with refold.open(path) as store:
        packed = store.compact().events
        head = store.log_head()
    said = "SELECT sum(events), sum(last_version - first_version + 1) FROM events_packed"
    assert asked(path, said).stdout.split() == [str(packed)] * 2
    assert asked(path, "SELECT count(*) FROM events_unpacked").stdout.strip() == str(head - packed)
