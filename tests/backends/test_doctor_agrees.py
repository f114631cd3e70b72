"""`refold doctor` and the next append say the same of a file, whatever was done to it.

What an append would be refused for is a finding; what is called good can be appended to, and read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

import refold
from refold import Append, Event
from refold.ports import Check

FIRST, LAST = "(SELECT min(rowid) FROM {0})", "(SELECT max(rowid) FROM {0})"
TABLES = ["streams", "types", "log", "dictionaries", "segments", "keys", "tags", "snapshots"]
OBJECTS = [
    *(f"TABLE {table}" for table in TABLES),
    *(f"INDEX {name}" for name in ("streams_category", "log_version", "log_key", "segments_last")),
    *(f"TRIGGER {name}" for name in ("log_tags", "log_key_packed", "appending_insert")),
    *(f"VIEW {name}" for name in ("events", "appending")),
]
COLUMNS = {
    "streams": ["id", "name", "category", "packed_version", "packed_at"],
    "types": ["id", "tag"],
    "log": ["position", "stream", "version", "count", "types", "key", "digest", "body"],
    "segments": ["position", "last_position", "stream", "version", "count", "recorded_at", "frame"],
}
VALUES = ["0", "9223372036854775807", "{0} || '!'"]
FOUND_DAMAGE = [
    *(f"DROP {named}" for named in OBJECTS),
    *(f"ALTER TABLE {table} ADD COLUMN mine TEXT" for table in TABLES),
    "ALTER TABLE log RENAME TO logs",
    "DROP INDEX log_key; CREATE INDEX log_key ON log (key)",
    "DROP VIEW events; CREATE VIEW events AS SELECT 1 AS one",
    "DROP VIEW events; CREATE TABLE events (one)",
    "DROP TABLE keys; CREATE TABLE keys (key, stream, position, version, count, recorded_at)",
    "CREATE UNIQUE INDEX mine ON log (body)",
    (
        "CREATE TRIGGER mine BEFORE INSERT ON log WHEN NEW.stream = 2"
        " BEGIN SELECT raise(ABORT, 'no'); END"
    ),
    "CREATE TRIGGER mine AFTER INSERT ON log BEGIN INSERT INTO nowhere VALUES (1); END",
    "INSERT INTO types SELECT max(id) + 2, 'other' FROM types",
    "INSERT INTO streams (id, name, category) VALUES (9223372036854775807, 'd-1', 'd')",
    "DELETE FROM keys WHERE key = 'both'",
    "UPDATE keys SET position = position + 1 WHERE key = 'k0'",
    "UPDATE keys SET digest = zeroblob(32) WHERE key = 'k0'",
    (
        "INSERT INTO keys SELECT key, digest, stream, position, version, count, recorded_at"
        " FROM log WHERE key = 'k28'"
    ),
]
ANY_DAMAGE = [
    f"UPDATE {table} SET {column} = {value.format(column)} WHERE rowid = {row.format(table)}"
    for table, columns in COLUMNS.items()
    for column in columns
    for value in VALUES
    for row in (FIRST, LAST)
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with packed and hot appends, keys, tags, several streams and a branch."""
    path = tmp_path_factory.mktemp("agrees") / "kept.db"
    with refold.open(path, synchronous="NORMAL") as store:
        for number in range(30):
            told(store, number)
            if number == 20:
                both(store)
                store.append("p-1", [Event("t.0")])
                store.compact()
        store.branch("c-1", at=3).save("c-1~b")
        store.append("c-2", [Event("t.1")], metadata={"n": 1})
    return path


@pytest.fixture
def path(kept: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(kept, tmp_path / "a.db"))


def told(store: refold.Store, number: int) -> None:
    """One of the first thirty appends; those with a key may come again."""
    key = f"k{number}" if number % 4 == 0 else None
    store.append(f"c-{number % 3}", [Event("t.0", {"n": number})], key=key, tags=["x"])


def both(store: refold.Store) -> None:
    """An append to two streams under one key."""
    store.append_together(
        [Append("c-1", [Event("t.9")]), Append("c-2", [Event("t.9")])], key="both"
    )


def damaged(path: Path, sql: str) -> bool:
    """Whether something could be done to a file behind refold's back, and was."""
    connection = apsw.Connection(str(path))
    try:
        connection.execute(sql).fetchall()
        return not sql.startswith("UPDATE") or connection.changes() > 0
    except apsw.Error:
        return False
    finally:
        connection.close()


def findings(path: Path) -> list[Check]:
    """What doctor says is wrong."""
    with refold.open(path, mode="read") as store:
        return [check for check in store.check() if not check.good]


def refusals(path: Path) -> list[str]:
    """What appends and reads of all kinds are refused for."""
    found: list[str] = []

    def tried(do: Callable[..., object], *given: object) -> None:
        try:
            do(*given)
        except refold.RefoldError as error:
            found.append(error.message)

    with refold.open(path, mode="write", synchronous="NORMAL") as store:
        for stream in ("c-0", "c-1", "c-2", "p-1", "c-1~b", "new-1"):
            tried(
                lambda stream=stream: store.append(stream, [Event("t.0"), Event(f"new.{stream}")])
            )
        tried(lambda: store.append("new-2", [Event("t.0")], key="fresh", tags=["x"]))
        for number in range(0, 30, 4):
            tried(told, store, number)
        tried(both, store)
        tried(lambda: [(e.data, e.metadata, e.recorded_at) for e in store.read_all()])
        tried(lambda: list(store.streams()))
    return found


@pytest.mark.parametrize("sql", FOUND_DAMAGE)
def test_what_an_append_needs_is_looked_at(path: Path, sql: str) -> None:
    """Each of these is found, whether or not the next append meets it."""
    assert damaged(path, sql)
    assert findings(path)


@pytest.mark.parametrize("sql", [*FOUND_DAMAGE, *ANY_DAMAGE[:: len(ANY_DAMAGE) // 40]])
def test_what_is_called_good_can_be_appended_to(path: Path, sql: str) -> None:
    """Of each change: a file that is called good takes every append and can be read."""
    if damaged(path, sql) and not findings(path):
        assert refusals(path) == []


def test_what_is_as_it_must_be_is_good_and_takes_every_append(path: Path) -> None:
    """And looking leaves it to the byte as it was."""
    before = path.read_bytes()
    assert findings(path) == []
    assert path.read_bytes() == before
    assert refusals(path) == []
    assert findings(path) == []


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (a UNIQUE); CREATE INDEX mine_a ON mine (a)",
        "CREATE VIEW mine AS SELECT count(*) FROM events",
        "CREATE INDEX mine ON log (recorded_at)",
        (
            "CREATE TABLE mine (a); CREATE TRIGGER copied AFTER INSERT ON log"
            " BEGIN INSERT INTO mine VALUES (NEW.position); END"
        ),
    ],
)
def test_what_users_add_beside_is_theirs(path: Path, sql: str) -> None:
    """Tables, views, indexes and triggers that refuse nothing are no finding."""
    assert damaged(path, sql)
    assert findings(path) == []
    assert refusals(path) == []


@pytest.mark.parametrize(
    "does",
    [
        "DELETE FROM log WHERE position = NEW.position",
        "UPDATE log SET body = '[]' WHERE position = NEW.position",
        "UPDATE log SET count = 2 WHERE position = NEW.position",
    ],
)
def test_a_trigger_that_changes_what_is_appended_is_a_finding(path: Path, does: str) -> None:
    """An append would be acknowledged, and not be there."""
    assert damaged(path, f"CREATE TRIGGER mine AFTER INSERT ON log BEGIN {does}; END")
    (found,) = findings(path)
    assert found.name == "appending"
    assert "trigger" in found.detail


@pytest.mark.parametrize(
    "sql",
    [
        *(f"DROP {named}" for named in OBJECTS if not named.startswith("TABLE")),
        "DROP TABLE tags",
        "DROP TABLE snapshots",
        "DROP INDEX log_key; CREATE INDEX log_key ON log (key)",
        "DROP VIEW events; CREATE VIEW events AS SELECT 1 AS one",
    ],
)
def test_what_can_be_made_from_the_log_is_named_with_its_repair(path: Path, sql: str) -> None:
    """A repair makes what doctor says that it does, and all is good again."""
    assert damaged(path, sql)
    schema = [found.detail for found in findings(path) if found.name == "schema"]
    name = sql.split()[2].rstrip(";")
    assert name in schema[0]
    assert "refold doctor --repair" in schema[0]
    with refold.open(path, mode="write") as store:
        list(store.repair())
    assert findings(path) == []
    assert refusals(path) == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP TABLE keys", "the table keys is missing: restore a backup"),
        ("ALTER TABLE keys DROP COLUMN count", "the column count of the table keys is missing"),
        ('ALTER TABLE log ADD COLUMN "my own" TEXT', 'ALTER TABLE log DROP COLUMN "my own"'),
        ("CREATE UNIQUE INDEX mine ON log (body)", 'DROP INDEX "mine"'),
        ("DROP VIEW events; CREATE TABLE events (one)", "the view events is a table: rename that"),
    ],
)
def test_what_cannot_is_named_with_what_to_do(path: Path, sql: str, said: str) -> None:
    """A table or column that is missing needs a backup; what is too many can be dropped."""
    assert damaged(path, sql)
    assert said in next(found.detail for found in findings(path) if found.name == "schema")


def test_a_lock_that_an_append_would_wait_for_is_a_finding(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another that keeps the write lock refuses the next append, and doctor says so."""
    monkeypatch.setattr("refold.backends.sqlite.file.BUSY_WAIT_MS", 50)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with refold.open(path, mode="read") as store:
        found = {check.name: check for check in store.check()}
    other.close()
    assert "locked" in found["appending"].detail
    assert not found["appending"].good
