"""docs/format.md is enough to write another reader: the one it shows reads what refold wrote."""

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

import refold
from refold import Append, Event
from tests.house.snippets import blocks_of
from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "format.md"
NOON_US = 1_772_366_400_000_000
TYPES_MAX = 62

Read = list[dict[str, Any]]


@pytest.fixture(scope="module")
def reader() -> Any:
    """The reader that the page shows."""
    (block,) = [block for block in blocks_of(PAGE) if block.file_name == "reader.py"]
    names: dict[str, Any] = {}
    exec(compile(block.text, "docs/format.md", "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module", params=["as appended", "packed", "packed with dictionaries"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with every form that a row can take."""
    path = tmp_path_factory.mktemp("log") / "agents.db"
    ticks = iter(range(NOON_US, NOON_US + 10_000))
    with refold.open(path, clock=lambda: next(ticks), synchronous="NORMAL") as store:
        write(store)
        if request.param == "packed with dictionaries":
            make_dictionaries_worth_it(store)
        if request.param != "as appended":
            assert store.compact().segments > 1
            store.append("call-1", [Event("after.packing", {})], key="later")
    has_dictionary = bool(apsw.Connection(str(path)).execute("SELECT id FROM dictionaries").get)
    assert has_dictionary == (request.param == "packed with dictionaries")
    return path


def make_dictionaries_worth_it(store: refold.Store) -> None:
    """Enough of one category for a dictionary to be trained."""
    for number in range(1_000):
        words = " ".join(f"word{number * n % 997}" for n in range(1, 300))
        store.append(f"long-{number % 7}", [Event("text.said", {"text": words})])


def write(store: refold.Store) -> None:
    """Appends of one and of many events, to one and many streams, keyed, and branches."""
    store.append("call-1", [Event("a.b", {"text": "λ \u2028 \x7f", "money": Decimal("1.10")})])
    early, late = NOON_US - 5, "2026-03-02T09:00:00.5+01:00"
    mixed = [
        Event("a.b", [1, 2.5, None, True, {"deep": [[]]}], occurred_at=early),
        Event("a.b.v2", "text", metadata={"actor": None, "more": {"y": 2}}),
        Event("c", 12, occurred_at=late, metadata={"own": True}),
    ]
    shared = {"actor": "me", "more": {"x": 1}}
    store.append("call-1", mixed, key="mixed", metadata=shared)
    parts = [Append(f"move-{n}@x", [Event("moved", {"n": n})], metadata=shared) for n in range(12)]
    store.append_together(parts, key="tx-9")
    store.append("call-1", [Event(f"many.t{n}", n) for n in range(TYPES_MAX + 10)])
    branch = store.branch("call-1").without("call-1@2")
    store.save_branch(branch, "call-1~b", variant={"prompt": "new"})
    store.branch("call-1~b", at=20).adding(Event("c", "x")).save("call-1~b~c")
    store.branch("call-1~b", at=1).save("call-1~d")
    store.branch("call-1").without("call-1@0").save("call-1~none-shared")


@pytest.fixture
def db(reader: Any, path: Path) -> Iterator[apsw.Connection]:
    """The log, opened as the page opens it."""
    connection = reader.opened(path)
    yield connection
    connection.close()


def as_page(events: Iterator[refold.Recorded]) -> Read:
    """What refold reads, in the shape of the page's reader."""
    return [
        {
            "position": e.position,
            "id": e.id,
            "version": e.version,
            "type": e.stored_kind.type,
            "schema": e.stored_kind.schema,
            "occurred_at": e.occurred_at_us,
            "recorded_at": e.recorded_at_us,
            "data": json.loads(e.raw),
            "metadata": e.metadata,
        }
        for e in events
    ]


def test_the_page_reads_the_log_as_refold_does(
    reader: Any, db: apsw.Connection, path: Path
) -> None:
    """Every event of the log is the same by the page and by refold."""
    with refold.open(path, mode="read") as store:
        wanted = as_page(store.read_all())
    assert len(wanted) > 100
    assert list(reader.whole_log(db)) == wanted


def test_the_page_reads_every_history_as_refold_does(
    reader: Any, db: apsw.Connection, path: Path
) -> None:
    """Every stream is the same, branches of branches with what they share."""
    with refold.open(path, mode="read") as store:
        wanted = {info.stream: as_page(store.read(info.stream)) for info in store.streams()}
    assert {name: list(reader.history(db, name)) for name in wanted} == wanted
    assert len({event["id"].rpartition("@")[0] for event in wanted["call-1~b~c"]}) == 3


def test_every_digest_is_computed_as_the_page_says(reader: Any, db: apsw.Connection) -> None:
    """The digest of each keyed append follows from its bytes, one to 12 streams included."""
    bytes_at = {
        position: (stream, f"[{','.join(elements)}]", metadata)
        for stream, position, _, _, metadata, elements in reader.appends(db)
    }
    sql = """SELECT key, digest, position FROM log WHERE key IS NOT NULL
        UNION ALL SELECT key, digest, position FROM keys ORDER BY position"""
    appends: dict[str, list[tuple[str, ...]]] = {}
    digests: dict[str, set[bytes]] = {}
    found: list[Any] = list(db.execute(sql))
    for key, digest, position in found:
        name, _, number = key.partition("\x1f")
        assert number == (str(len(appends[name])) if name in appends else "")
        appends.setdefault(name, []).append(bytes_at[position])
        digests.setdefault(name, set()).add(digest)
    assert {name: {reader.digest(parts)} for name, parts in appends.items()} == digests
    sizes = {name: len(parts) for name, parts in appends.items()}
    assert sizes == {"mixed": 1, "tx-9": 12, **({"later": 1} if "later" in sizes else {})}


def test_the_bits_of_a_row_are_its_tags(reader: Any, db: apsw.Connection) -> None:
    """A bit below 62 is one tag; bit 62 stands for every tag from there on."""
    rows: list[Any] = list(db.execute("SELECT types, body FROM log"))
    shared = {tag for number, tag in db.execute("SELECT id, tag FROM types") if number >= TYPES_MAX}
    assert len(shared) > 1
    for bits, body in rows:
        tags = {element[0] for element in json.loads(body)}
        found = reader.types_of(db, bits)
        assert found - shared == tags - shared
        assert (found & shared == shared) == bool(tags & shared)


def test_the_bits_of_a_segment_are_its_tags(reader: Any, db: apsw.Connection) -> None:
    """The types of a segment are those of the appends in it."""
    rows: list[Any] = list(db.execute("SELECT types, body_bytes, frame, dictionary FROM segments"))
    for bits, body_bytes, frame, number in rows:
        body = json.loads(reader.unpacked(db, frame, number)[:body_bytes])
        assert {element[0] for element in body} <= reader.types_of(db, bits)


def test_the_tables_are_as_shown(db: apsw.Connection) -> None:
    """The page's tables and indexes are those of the file, column by column; a cache may change."""
    shown = apsw.Connection(":memory:")
    for block in blocks_of(PAGE):
        if block.language == "sql":
            shown.execute(block.text)
    objects = """SELECT type, name FROM sqlite_schema
        WHERE type IN ('table', 'index') AND tbl_name NOT LIKE 'snapshots%' ORDER BY 1, 2"""
    found: list[Any] = db.execute(objects).fetchall()
    assert shown.execute(objects).fetchall() == found
    for table in (name for kind, name in found if kind == "table"):
        columns = f"PRAGMA table_xinfo({table})"
        assert shown.execute(columns).fetchall() == db.execute(columns).fetchall()


def test_the_view_works_in_the_sqlite_of_this_python(db: apsw.Connection, path: Path) -> None:
    """The system's SQLite shows the same rows, times included.

    It once showed no times before SQLite 3.44, such as in Debian 12. Another process reads: two
    copies of SQLite in one would drop each other's locks.
    """
    program = (
        "import json, sqlite3, sys\n"
        "db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)\n"
        "asked = f'SELECT * FROM {sys.argv[2]} ORDER BY position'\n"
        "print(json.dumps(db.execute(asked).fetchall()))\n"
    )

    def shown(view: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, str(path), view]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    mine = [list(row) for row in db.execute("SELECT * FROM events_unpacked ORDER BY position")]
    assert json.loads(shown("events_unpacked").stdout) == mine
    ((packed,),) = db.execute("SELECT ifnull(sum(events), 0) FROM events_packed")
    if packed:
        assert "SQLite alone cannot unpack them" in shown("events").stderr
    else:
        assert json.loads(shown("events").stdout) == mine
    times = {row[3]: row[6:8] for row in mine}
    assert all(
        len(at) == len("2026-03-01T12:00:00.000000Z") for row in times.values() for at in row
    )
    if "call-1@0" in times:
        assert times["call-1@0"] == ["2026-03-01T12:00:00.000000Z"] * 2
        assert times["call-1@1"][0] == "2026-03-01T11:59:59.999995Z"


def test_another_file_is_refused(reader: Any, tmp_path: Path) -> None:
    """The page's reader tells a refold log by its application id."""
    other = tmp_path / "other.db"
    apsw.Connection(str(other)).execute("CREATE TABLE t (x)")
    with pytest.raises(ValueError, match="not a refold database"):
        reader.opened(other)
