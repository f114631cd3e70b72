"""A table of events moves in: by default one of the common schema, else by its columns."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation.importers.sql_table import import_table
from refold.errors import Unavailable, UsageError
from tests.fuzz.values import TEXT, fuzzed

SCHEMA = """CREATE TABLE events(
 id INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT UNIQUE NOT NULL, stream_id TEXT NOT NULL,
 stream_type TEXT NOT NULL, event_type TEXT NOT NULL, version INTEGER NOT NULL,
 data TEXT NOT NULL, metadata TEXT NOT NULL, occurred_at TEXT NOT NULL)"""
AT = "2026-03-02T10:00:00+00:00"


def table(path: Path, *rows: tuple[str, int, str, Any]) -> Path:
    """A file with a table of rows: stream, version, type, data."""
    with sqlite3.connect(path) as db:
        db.execute(SCHEMA)
        for number, (stream, version, kind, data) in enumerate(rows):
            text = data if isinstance(data, str) else json.dumps(data)
            values = (f"e{number}", stream, "call", kind, version, text, '{"by": "me"}', AT)
            columns = "event_id, stream_id, stream_type, event_type, version, data, metadata"
            holes = ", ".join("?" * 8)
            db.execute(f"INSERT INTO events({columns}, occurred_at) VALUES ({holes})", values)
    db.close()
    return path


def test_each_stream_comes_in_the_order_of_its_versions(
    store: refold.Store, tmp_path: Path
) -> None:
    """With types, data, metadata and times; what else a row has stands beside."""
    rows = [
        ("call-2", 1, "Said", {"n": 3}),
        ("call-1", 2, "Said", {"n": 2}),
        ("call-1", 1, "Asked", {"n": 1}),
    ]
    report = import_table(store, table(tmp_path / "t.db", *rows))
    assert (report.imported, report.events, report.ok, report.loss) == (2, 3, True, [])
    first, second = store.read("call-1")
    assert (first.type, first.data, second.data) == ("Asked", {"n": 1}, {"n": 2})
    assert first.occurred_at.isoformat() == AT
    assert first.metadata["by"] == "me"
    assert first.metadata["row"] == {"id": 3, "event_id": "e2", "stream_type": "call"}


def test_again_it_adds_nothing(store: refold.Store, tmp_path: Path) -> None:
    """And a stream that has other events by now is a problem."""
    path = table(tmp_path / "t.db", ("a-1", 1, "Said", {}))
    import_table(store, path)
    assert import_table(store, path).unchanged == 1
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET data = '{\"x\": 1}'")
    db.close()
    report = import_table(store, path)
    assert (report.failed, report.problems[0].stream) == (1, "a-1")


def test_a_long_stream_comes_in_parts(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each continues the one before."""
    monkeypatch.setattr("refold.conversation.importers.sql_table.PART_EVENTS", 2)
    rows = [("a-1", n, "Said", {"n": n}) for n in range(1, 6)]
    path = table(tmp_path / "t.db", *rows)
    report = import_table(store, path)
    assert (report.imported, report.events) == (1, 5)
    assert [one.data["n"] for one in store.read("a-1")] == [1, 2, 3, 4, 5]
    assert import_table(store, path).unchanged == 1


def test_a_table_that_grew_adds_what_is_new(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows behind those that were imported, and streams that are new; wherever a part ends."""
    monkeypatch.setattr("refold.conversation.importers.sql_table.PART_EVENTS", 2)
    schema = "stream_id, version, event_type, data, occurred_at"
    for length in range(1, 8):
        path = tmp_path / f"{length}.db"
        rows: list[tuple[Any, ...]]
        rows = [("a-1", n, "Said", f'{{"n": {n}}}', AT if n % 2 else None) for n in range(length)]
        report = import_table(store, rows_of(path, schema, *rows, (f"b-{length}", 1, "x", "1", "")))
        assert (report.problems, report.events) == ([], 2)
        assert (report.imported, report.grown) == ((2, 0) if length == 1 else (1, 1))
        again = import_table(store, path)
        assert (again.unchanged, again.events, again.ok) == (2, 0, True)
    assert [one.data["n"] for one in store.read("a-1")] == [*range(7)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("event_type = 'Told'", "type"),
        ("data = '{}'", "payload"),
        ("occurred_at = '2026-03-02T10:00:01Z'", "time"),
        ("metadata = '{}'", "metadata"),
    ],
)
def test_a_row_that_was_changed_since_is_named(
    store: refold.Store, tmp_path: Path, change: str, what: str
) -> None:
    """And nothing is added to its stream, though it grew too; its neighbours go on."""
    rows = [("a-1", n, "Said", {"n": n}) for n in (4, 5, 6)]
    import_table(store, table(tmp_path / "t.db", *rows))
    more = [*rows, ("a-1", 7, "Said", {}), ("b-1", 1, "Said", {})]
    path = table(tmp_path / "u.db", *more)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE events SET {change} WHERE version = 5")
    db.close()
    report = import_table(store, path)
    assert (report.imported, report.grown, report.failed) == (1, 0, 1)
    (problem,) = report.problems
    assert problem.stream == "a-1"
    assert f"the row of version 5 has another {what} than a-1@1" in problem.message
    assert store.head("a-1") == 2


def test_rows_that_are_gone_are_told(store: refold.Store, tmp_path: Path) -> None:
    """Not so what was recorded here behind them."""
    rows: list[Any] = [("a-1", 1, "Said", {}), ("b-1", 1, "Said", {}), ("b-1", 2, "Said", {})]
    import_table(store, table(tmp_path / "t.db", *rows))
    store.append("a-1", [refold.Event("said.here")])
    report = import_table(store, table(tmp_path / "u.db", *rows[:2]))
    assert (report.unchanged, report.failed) == (1, 1)
    assert "b-1@1 has no row in the table any more" in report.problems[0].message


def test_a_stream_of_many_rows_is_never_held_whole(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rows and of what is stored: at most a part, by its events or its bytes, is there."""
    from refold.conversation.importers import sql_table

    held = []
    original = sql_table._Rows

    def noted(versions: list[int], events: list[Any]) -> Any:
        held.append(events)
        return original(versions, events)

    monkeypatch.setattr(sql_table, "_Rows", noted)
    monkeypatch.setattr(sql_table, "PART_BYTES", 1_000)
    rows = [("a-1", n, "Said", {"text": "x" * 400}) for n in range(20)]
    assert import_table(store, table(tmp_path / "t.db", *rows)).events == 20
    assert max(map(len, held)) == 3


def test_a_row_that_is_refused_late_leaves_the_parts_before_it(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mended, the rest comes in."""
    monkeypatch.setattr("refold.conversation.importers.sql_table.PART_EVENTS", 2)
    rows: list[tuple[str, int, str, Any]]
    rows = [("a-1", n, "Said", "{" if n == 5 else "{}") for n in range(1, 7)]
    report = import_table(store, table(tmp_path / "t.db", *rows))
    assert (report.events, [one.stream for one in report.problems]) == (4, ["a-1"])
    mended = [(stream, n, kind, "{}") for stream, n, kind, _ in rows]
    report = import_table(store, table(tmp_path / "u.db", *mended))
    assert (report.grown, report.events, report.ok) == (1, 2, True)


def test_a_number_and_its_text_are_no_one_stream(store: refold.Store, tmp_path: Path) -> None:
    """Their rows would stand in one history: the text is refused, where both are there."""
    schema = "stream_id, version, event_type, data"
    rows = [(1, 1, "n"), ("1", 1, "t"), ("1", 2, "t"), (2, 1, "n"), ("3", 1, "t"), ("01", 1, "t")]
    filled = [(*row, "{}") for row in rows]
    path = rows_of(tmp_path / "t.db", schema, *filled)
    report = import_table(store, path)
    assert [(one.stream, "as a number" in one.message) for one in report.problems] == [("1", True)]
    assert {one.stream for one in store.streams()} == {"1", "2", "3", "01"}
    assert [one.type for one in store.read("1")] == ["n"]
    assert import_table(store, path).events == 0


def test_other_columns_are_named(store: refold.Store, tmp_path: Path) -> None:
    """The table too; metadata and time may be missing."""
    with sqlite3.connect(tmp_path / "t.db") as db:
        db.execute('CREATE TABLE "my log"(s, n INTEGER, kind, body)')
        db.execute("INSERT INTO \"my log\" VALUES ('a-1', 0, 'said', '{\"x\": 1}')")
    db.close()
    columns = {"stream": "s", "version": "n", "type": "kind", "data": "body"}
    report = import_table(store, tmp_path / "t.db", table="my log", columns=columns)
    assert (report.imported, report.ok) == (1, True)
    (one,) = store.read("a-1")
    assert one.data == {"x": 1}


def test_what_is_odd_is_told(store: refold.Store, tmp_path: Path) -> None:
    """A gap is a loss; data that is no JSON, or a version twice, refuses its stream alone."""
    rows = [
        ("a-1", 1, "Said", {}), ("a-1", 4, "Said", {}), ("b-1", 1, "Said", "{"),
        ("c-1", 1, "Said", {}), ("c-1", 1, "Said", {}), ("d-1", 1, "a b", {}),
    ]  # fmt: skip
    report = import_table(store, table(tmp_path / "t.db", *rows))
    assert [one.what for one in report.loss] == ["versions 2 to 3 are not there"]
    assert (report.imported, report.failed) == (1, 3)
    assert sorted(str(one.stream) for one in report.problems) == ["b-1", "c-1", "d-1"]


def test_data_is_read_to_the_last_digit(store: refold.Store, tmp_path: Path) -> None:
    """It is stored as it was written; where a key stands twice its stream is refused alone."""
    number = "1.00000000000000000000000000012"
    rows = [("a-1", 1, "Said", f'{{"n": {number}}}'), ("b-1", 1, "Said", '{"n": 1, "n": 2}')]
    report = import_table(store, table(tmp_path / "t.db", *rows))
    assert (report.imported, [one.stream for one in report.problems]) == (1, ["b-1"])
    (one,) = store.read("a-1")
    assert number.encode() in one.raw


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("mysql://me:secret@host/db", {}),
        ("postgresql+psycopg2://me:secret@host/db", {}),
        ("none.db", {}),
        ("text.db", {}),
        ("t.db", {"table": "other"}),
        ("t.db", {"columns": {"data": "other"}}),
        ("t.db", {"columns": {"colour": "data"}}),
    ],
)
def test_what_cannot_be_read_is_refused(
    store: refold.Store, tmp_path: Path, name: str, how: Any
) -> None:
    """Another database, no file, no table or column of that name."""
    table(tmp_path / "t.db", ("a-1", 1, "Said", {}))
    (tmp_path / "text.db").write_text("no database, but text that is long enough to be read as one")
    where = name if "://" in name else str(tmp_path / name)
    with pytest.raises(UsageError) as refused:
        import_table(store, where, **how)
    assert "secret" not in str((refused.value, refused.value.facts))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("host=db user=me password=secret dbname=x", "postgresql://USER@HOST"),
        ("password = 'secret'", "postgresql://USER@HOST"),
        ("postgresql+psycopg2://me:secret@host/db", "write postgresql://"),
    ],
)
def test_other_ways_to_name_postgresql_are_told_its_url(
    store: refold.Store, place: str, said: str
) -> None:
    """Without a word of the password."""
    with pytest.raises(UsageError, match=said) as refused:
        import_table(store, place)
    assert "secret" not in str((refused.value, refused.value.facts))


def test_metadata_that_the_row_takes_the_place_of_is_told(
    store: refold.Store, tmp_path: Path
) -> None:
    """It is lost, as what else the row has stands under its name."""
    schema = "stream_id, version, event_type, data, metadata, more"
    row = ("a-1", 1, "said", "{}", '{"row": "mine", "by": "me"}', 7)
    report = import_table(store, rows_of(tmp_path / "t.db", schema, row))
    assert [one.pointer for one in report.loss] == ["/metadata/row"]
    (one,) = store.read("a-1")
    assert (one.metadata["row"], one.metadata["by"]) == ({"more": 7}, "me")


@pytest.mark.parametrize("version", ["x", None, 1.5])
def test_a_version_that_is_no_whole_number_refuses_its_stream(
    store: refold.Store, tmp_path: Path, version: Any
) -> None:
    """Its stream alone: the others come in."""
    with sqlite3.connect(tmp_path / "t.db") as db:
        db.execute("CREATE TABLE events(stream_id, version, event_type, data)")
        rows = [("a-1", version, "said", "{}"), ("b-1", 1, "said", "{}")]
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    db.close()
    report = import_table(store, tmp_path / "t.db")
    assert [one.stream for one in store.streams()] == ["b-1"]
    (problem,) = report.problems
    assert problem.stream == "a-1"
    assert f"version {version!r} is not a whole number" in problem.message


@pytest.mark.parametrize("column", ["data", "score"])
def test_a_number_without_an_end_refuses_its_stream(
    store: refold.Store, tmp_path: Path, column: str
) -> None:
    """JSON has no number for it, and null would be another."""
    with sqlite3.connect(tmp_path / "t.db") as db:
        db.execute("CREATE TABLE events(stream_id, version, event_type, data, score REAL)")
        rows = [("a-1", 1, "said", "{}", 0.5), ("b-1", 1, "said", "{}", 0.5)]
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        db.execute(f"UPDATE events SET {column} = 9e999 WHERE stream_id = 'a-1'")
    db.close()
    report = import_table(store, tmp_path / "t.db")
    assert [one.stream for one in store.streams()] == ["b-1"]
    (problem,) = report.problems
    assert problem.stream == "a-1"
    assert f"{column} is infinite" in problem.message


def rows_of(path: Path, schema: str, *rows: tuple[Any, ...]) -> Path:
    """A file with a table of this schema and these rows."""
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE events({schema})")
        for row in rows:
            db.execute(f"INSERT INTO events VALUES ({', '.join('?' * len(row))})", row)
    db.close()
    return path


def test_what_names_nothing_is_no_name(store: refold.Store, tmp_path: Path) -> None:
    """NULL and bytes are no stream and no type; a whole number is one."""
    rows = [
        (None, 1, "said"), (None, 2, "said"), (b"a-1", 1, "said"), ("b-1", 1, None), (7, 1, "said"),
    ]  # fmt: skip
    schema = "stream_id, version, event_type, data DEFAULT '{}'"
    filled = [(*row, "{}") for row in rows]
    report = import_table(store, rows_of(tmp_path / "t.db", schema, *filled))
    assert [one.stream for one in store.streams()] == ["7"]
    assert [one.message for one in report.problems] == [
        "2 rows: a stream None is neither text nor a whole number",
        "b-1: a type None is neither text nor a whole number",
        "b'a-1': a stream b'a-1' is neither text nor a whole number",
    ]


def test_a_stream_that_looks_like_a_branch_is_refused(store: refold.Store, tmp_path: Path) -> None:
    """Read models pass over those, and over what is kept of replays and datasets."""
    schema = "stream_id, version, event_type, data"
    rows = [(name, 1, "said", "{}") for name in ("b~1", "dataset~d", "replay~d", "a-1")]
    report = import_table(store, rows_of(tmp_path / "t.db", schema, *rows))
    assert [one.stream for one in store.streams()] == ["a-1"]
    assert [one.stream for one in report.problems] == ["b~1", "dataset~d", "replay~d"]
    assert all("~ names a branch" in one.message for one in report.problems)


def test_a_blob_is_told_as_lost(store: refold.Store, tmp_path: Path) -> None:
    """Beside the data; the data itself may be the bytes of JSON."""
    schema = "stream_id, version, event_type, data, picture"
    row = ("a-1", 1, "said", b'{"n": 1}', b"\x00\x01")
    report = import_table(store, rows_of(tmp_path / "t.db", schema, row))
    assert [(one.what, one.pointer) for one in report.loss] == [("a blob of 2 bytes", "/picture")]
    (one,) = store.read("a-1")
    assert (one.data, one.metadata["row"]) == ({"n": 1}, {})


def test_streams_are_told_apart_by_their_characters(store: refold.Store, tmp_path: Path) -> None:
    """Whatever the column takes for the same; a column that is computed is one too."""
    schema = "stream_id TEXT COLLATE NOCASE, version, event_type, body, data AS (body)"
    rows = [("a-1", 1), ("A-1", 1), ("a-1", 2), ("A-1", 2)]
    with sqlite3.connect(tmp_path / "t.db") as db:
        db.execute(f"CREATE TABLE events({schema})")
        db.executemany("INSERT INTO events VALUES (?, ?, 'said', '{}')", rows)
    db.close()
    report = import_table(store, tmp_path / "t.db")
    assert (report.imported, report.events, report.ok) == (2, 4, True)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
DATA = st.dictionaries(TEXT, LEAVES | st.lists(LEAVES, max_size=3), max_size=3)


@fuzzed(25, 500)
@given(st.lists(st.tuples(st.sampled_from(["a-1", "A-1", "b"]), DATA), max_size=8), st.randoms())
def test_any_rows_come_in_as_they_are(rows: list[tuple[str, Any]], order: Any) -> None:
    """In whatever order they lie in the table; a second time nothing is added."""
    held: dict[str, list[Any]] = {}
    for stream, data in rows:
        held.setdefault(stream, []).append(data)
    lying = [(name, n, one) for name, whole in held.items() for n, one in enumerate(whole)]
    order.shuffle(lying)
    filled = [(stream, version, "said", json.dumps(data)) for stream, version, data in lying]
    with TemporaryDirectory() as folder, refold.open("memory:") as store:
        path = rows_of(Path(folder, "t.db"), "stream_id, version, event_type, data", *filled)
        assert import_table(store, path).problems == []
        assert import_table(store, path).events == 0
        told = {one.stream: [e.data for e in store.read(one.stream)] for one in store.streams()}
    assert told == held


def test_a_file_that_another_has_locked_is_away_for_now(
    store: refold.Store, tmp_path: Path
) -> None:
    """It is no wrong file: importing again brings it."""
    path = table(tmp_path / "e.db", ("a-1", 1, "Said", {"n": 1}))
    # Not by Python's copy of SQLite: two of them in one process do not see each other's locks.
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match=r"cannot be read now.*import again later"):
            import_table(store, path)
    assert import_table(store, path).imported == 1
