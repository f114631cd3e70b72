"""Projections kept from a log: caught up, followed, waited for; on every backend."""

import dataclasses
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import apsw
import msgspec
import pytest

import refold
from refold import Event
from refold.errors import NotFound, Unavailable, UsageError
from refold.projections import Projection, Projector, Rows, Table, catalog
from tests.projections.sums import KINDS, SUMS, failing, folded, stored, sums, told
from tests.support.stores import url_of


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """An empty store of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


@pytest.fixture(params=["memory", "sqlite"])
def lite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """An empty store whose SQL is SQLite's."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


def test_rows_are_what_a_fold_gives(store: refold.Store) -> None:
    """Caught up once, twice, and again after more: the rows are those of a plain loop."""
    projector = Projector(store, [sums()])
    projector.catch_up()
    assert stored(projector) == ({}, {})
    for _ in range(3):
        told(store)
        projector.catch_up()
        projector.catch_up()
        assert stored(projector) == folded(store.read_all())
    assert stored(Projector(store, [sums()])) == folded(store.read_all())


def test_sql_reads_tables_and_views_by_their_plain_names(store: refold.Store) -> None:
    """`sums` and `all_sums` are names in the database."""
    told(store)
    projector = Projector(store, [sums()])
    projector.catch_up()
    expected, kinds = folded(store.read_all())
    ((amount, events),) = projector.query("SELECT amount, events FROM all_sums")
    assert amount == sum(row.amount for row in expected.values())
    assert events == sum(row.events for row in expected.values())
    assert dict(projector.query("SELECT type, events FROM kinds")) == kinds


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sums",
        'DELETE FROM "sums@1"',
        "INSERT INTO kinds VALUES ('x', 1) RETURNING type",
        "DROP TABLE IF EXISTS absent",
        "CREATE TEMP TABLE mine (a)",
        "BEGIN",
        "ATTACH ':memory:' AS other",
        "SELECT 1; DROP VIEW sums",
        "PRAGMA user_version = 7",
        "PRAGMA user_version(7)",
        "pragma Journal_Mode = DELETE",
        "PRAGMA query_only = 1",
        "SELECT 1; PRAGMA synchronous = 0",
        "PRAGMA writable_schema = 1",
        "PRAGMA optimize",
        "PRAGMA incremental_vacuum",
        "PRAGMA wal_checkpoint",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "SAVEPOINT mine",
        "VACUUM",
        "VACUUM INTO 'copy.db'",
        "REINDEX",
        "ANALYZE",
        "DETACH main",
        'EXPLAIN DELETE FROM "sums@1"',
        'WITH a AS (SELECT 1) DELETE FROM "sums@1"',
        "CREATE VIRTUAL TABLE mine USING fts5(text)",
        "SELECT load_extension('mine')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT * FROM sums WHERE optimize(stream)",
        "",
    ],
)
def test_a_query_only_reads(lite: refold.Store, sql: str) -> None:
    """What changes anything, or is no query, is refused; everything goes on as before."""
    told(lite)
    projector = Projector(lite, [sums()])
    projector.catch_up()
    expected = folded(lite.read_all())
    with pytest.raises(UsageError) as caught:
        projector.query(sql)
    assert caught.value.code == "read_only"
    assert stored(projector) == expected
    lite.append("s-1", [Event("added", {"n": 1})])
    projector.catch_up()
    assert stored(projector) == folded(lite.read_all())


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA table_info(kinds)",
        "pragma Table_XInfo('kinds')",
        "SELECT * FROM pragma_table_info('kinds')",
        "PRAGMA user_version",
        "PRAGMA integrity_check",
        "EXPLAIN QUERY PLAN SELECT * FROM sums",
        "SELECT upper(type), sum(events) OVER (), json_array(1) FROM kinds WHERE type LIKE '%'",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
    ],
)
def test_what_only_reads_is_a_query(lite: refold.Store, sql: str) -> None:
    """PRAGMAs that ask, functions that compute, plans: whatever SQLite says only reads."""
    told(lite)
    projector = Projector(lite, [sums()])
    projector.catch_up()
    assert projector.query(sql)


@pytest.mark.parametrize(
    ("made", "ask"),
    [
        ("fts5(a)", "SELECT bm25(f), snippet(f, 0, '', '', '', 9) FROM f WHERE f MATCH '1'"),
        ("rtree(id, a, b)", "SELECT id FROM f WHERE a <= 1"),
    ],
)
def test_a_query_reads_a_table_that_is_an_index(tmp_path: Path, made: str, ask: str) -> None:
    """Full-text and spatial tables prepare statements that write, and run none of them."""
    path = tmp_path / "log.db"
    refold.open(path).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"CREATE VIRTUAL TABLE f USING {made}")
    connection.execute(f"INSERT INTO f VALUES ({', '.join('1' * (1 + made.count(',')))})")
    connection.close()
    with refold.open(path) as store:
        assert len(Projector(store, []).query(ask)) == 1
        with pytest.raises(UsageError) as caught:
            Projector(store, []).query("DELETE FROM f")
        assert caught.value.code == "read_only"


def test_a_query_of_a_store_opened_for_reading_only_reads(tmp_path: Path) -> None:
    """It says that queries are read only, and finds no fault with the file."""
    with refold.open(tmp_path / "log.db") as store:
        told(store)
        Projector(store, [sums()]).catch_up()
    with refold.open(tmp_path / "log.db", mode="read") as store:
        projector = Projector(store, [])
        with pytest.raises(UsageError) as caught:
            projector.query('DELETE FROM "sums@1"')
        assert caught.value.code == "read_only"
        assert projector.query("WITH a AS (SELECT 1) SELECT * FROM a") == [(1,)]


def test_a_projector_says_what_it_takes(store: refold.Store) -> None:
    """One projection is no list of them, the name of a table no table."""
    with pytest.raises(UsageError):
        Projector(store, sums())  # type: ignore[arg-type]
    projector = Projector(store, [sums()])
    projector.catch_up()
    with pytest.raises(UsageError):
        projector.rows("sums")  # type: ignore[arg-type]


def test_the_others_are_those_whose_code_was_not_given(store: refold.Store) -> None:
    """They are known from the books, with their lag and what they set aside."""
    assert Projector(store, []).others() == []
    told(store)
    made = Projector(store, [sums(fails_on=failing("s-1@3"))])
    made.catch_up()
    assert made.others() == []
    store.append("s-1", [Event("added", {"n": 1})])
    (one,) = Projector(store, []).others()
    (known,) = made.status()
    assert one == known._replace(lag_s=one.lag_s, state="unknown")
    assert (one.name, one.state, one.lag_events) == ("sums", "unknown", 1)
    assert [parked.id for parked in one.parked] == ["s-1@3"]


def test_a_wait_ends_for_an_event_that_was_set_aside(store: refold.Store) -> None:
    """Its position is passed; its effect is not in the rows, and `status` names it."""
    projector = Projector(store, [sums(fails_on=failing("s-1@0"))])
    appended = store.append("s-1", [Event("added", {"n": 1})])
    projector.catch_up()
    assert store.wait_for("sums", appended.position, timeout_s=0) == appended.position
    assert projector.rows(SUMS) == []


def test_several_projections_each_see_what_they_want(store: refold.Store) -> None:
    """Types and categories narrow what is read; progress comes to the end all the same."""
    counted: list[str] = []
    table = Table("seen", msgspec.defstruct("Seen", [("id", str)]), key="id")
    some = Projection("some", tables=[table], categories=["t"])

    @some.on("other")
    def _(rows: Rows, _event: object, recorded: refold.Recorded) -> None:
        counted.append(recorded.id)
        rows.put(table, table.row(recorded.id))

    told(store)
    store.append("t-1", [Event("added", {"n": 1}), Event("other", {}), Event("other", {})])
    store.append("t-2", [Event("added", {"n": 1})])
    projector = Projector(store, [some, sums()])
    projector.catch_up()
    assert counted == ["t-1@1", "t-1@2"]
    assert [one.position for one in projector.status()] == [store.log_head()] * 2
    assert stored(projector) == folded(store.read_all())


def test_rows_may_live_in_another_store(store: refold.Store, tmp_path: Path) -> None:
    """`rows=` names it: a file of its own, or memory; the log's own database has none then."""
    told(store)
    with refold.open(tmp_path / "rows.db") as elsewhere:
        projector = Projector(store, [sums()], rows=elsewhere)
        projector.catch_up()
        assert stored(projector) == folded(store.read_all())
        assert elsewhere.wait_for("sums", store.log_head(), timeout_s=0) == store.log_head()
    with pytest.raises(UsageError):
        Projector(store, [sums()]).query("SELECT * FROM sums")
    with pytest.raises(NotFound):
        store.wait_for("sums", 1)


def test_a_runner_follows_until_it_is_closed(store: refold.Store) -> None:
    """What is appended while it runs gets into the rows; `close` from another thread ends it."""
    projector = Projector(store, [sums()])
    projector.catch_up()
    runner = threading.Thread(target=projector.run)
    runner.start()
    try:
        store.append("s-0", [Event("added", {"n": 1})])
        with pytest.raises(NotFound):
            store.wait_for("nothing", 1)
        for number in range(30):
            position = store.append(f"s-{number % 3}", [Event("added", {"n": number})]).position
            assert store.wait_for("sums", position) >= position
            assert stored(projector)[0] == folded(store.read_all())[0]
    finally:
        projector.close()
        runner.join(timeout=20)
    assert not runner.is_alive()


def test_a_runner_ends_with_its_store(tmp_path: Path) -> None:
    """Closing the store ends `run` without an error."""
    store = refold.open(tmp_path / "log.db")
    projector = Projector(store, [sums()])
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            projector.run()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    runner = threading.Thread(target=run)
    runner.start()
    store.append("s-0", [Event("added", {"n": 1})])
    store.close()
    runner.join(timeout=20)
    assert ended == [None]


def test_waiting_has_an_end(store: refold.Store) -> None:
    """Where nobody runs the projection, `wait_for` says so and where the rows stand."""
    told(store, 1)
    Projector(store, [sums()]).catch_up()
    position = store.append("s-0", [Event("added", {"n": 1})]).position
    with pytest.raises(Unavailable) as late:
        store.wait_for("sums", position, timeout_s=0.01)
    assert (late.value.code, late.value.position) == ("timeout", position - 1)
    assert store.wait_for("sums", position - 1, timeout_s=0) == position - 1


def test_the_status_says_how_far_behind(tmp_path: Path) -> None:
    """Never started, behind, up to date: events and seconds of lag by the store's clock."""
    now = [1_000_000]
    with refold.open(tmp_path / "log.db", clock=lambda: now[0]) as store:
        projector = Projector(store, [sums()])
        store.append("s-0", [Event("added", {"n": 1})] * 3)
        now[0] += 2_000_000
        (one,) = projector.status()
        assert (one.state, one.lag_events, one.lag_s) == ("new", 3, 2.0)
        projector.catch_up()
        (one,) = projector.status()
        assert (one.state, one.generation, one.position) == ("current", 1, 3)
        assert (one.lag_events, one.lag_s, one.moved_at_us) == (0, 0.0, now[0])
        assert one.rate > 0
        store.append("s-0", [Event("added", {"n": 1})])
        now[0] += 500_000
        store.append("s-0", [Event("added", {"n": 1})])
        (one,) = projector.status()
        assert (one.lag_events, one.lag_s) == (2, 0.5)


def test_a_changed_projection_is_not_gone_on_with(store: refold.Store) -> None:
    """Another revision, table or code: refused at the start, with what to do; the old goes on."""
    told(store)
    old = sums()
    Projector(store, [old]).catch_up()
    changed = sums(revision=2)
    with pytest.raises(UsageError) as refused:
        Projector(store, [changed]).catch_up()
    assert refused.value.code == "projection_changed"
    assert Projector(store, [changed]).status()[0].state == "changed"
    other = sums()
    other.on("new")(lambda rows, event: None)
    with pytest.raises(UsageError):
        Projector(store, [other]).catch_up()
    told(store)
    Projector(store, [sums()]).catch_up()
    projector = Projector(store, [changed])
    projector.rebuild("sums")
    projector.catch_up()
    assert stored(projector) == folded(store.read_all())
    with pytest.raises(UsageError):
        Projector(store, [old]).catch_up()


def test_another_version_of_python_is_no_change(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of the same handlers differs there: it is not compared once, and then again."""
    told(store)
    Projector(store, [sums()]).catch_up()
    monkeypatch.setattr(catalog, "PYTHON", "4.0")
    told(store)
    compiled_otherwise = sums(fails_on=lambda recorded: recorded.position < 0)
    projector = Projector(store, [compiled_otherwise])
    projector.catch_up()
    assert stored(projector) == folded(store.read_all())
    with pytest.raises(UsageError):
        Projector(store, [sums()]).catch_up()
    monkeypatch.setattr(catalog, "PYTHON", "4.1")
    with pytest.raises(UsageError):
        Projector(store, [sums(revision=2)]).catch_up()


def test_names_that_are_taken_are_refused(store: refold.Store, tmp_path: Path) -> None:
    """A table with the name of one that is there: nothing is begun, nothing is lost."""
    told(store)
    Projector(store, [sums()]).catch_up()
    other = Projection("other", tables=[Table("kinds", KINDS.row, key="type")])
    with pytest.raises(UsageError) as refused:
        Projector(store, [other]).catch_up()
    assert refused.value.code == "name_taken"
    assert Projector(store, [other]).status()[0].state == "new"
    assert stored(Projector(store, [sums()])) == folded(store.read_all())
    with refold.open(tmp_path / "own.db") as own:
        mine = Projection("mine", tables=[Table("log", KINDS.row, key="type")])
        with pytest.raises(UsageError):
            Projector(own, [mine]).catch_up()
        assert own.append("a", [Event("x", {})]).position == 1


def test_a_view_that_sql_refuses_is_refused_at_the_start(store: refold.Store) -> None:
    """A wrong view is an error of the first start, not of its first reader."""
    wrong = Projection("wrong", tables=[SUMS], views={"v": "SELECT nothing FROM {sums}"})
    with pytest.raises(UsageError) as refused:
        Projector(store, [wrong]).catch_up()
    assert refused.value.code == "sql_refused"


def test_a_store_for_reading_can_be_asked_and_not_moved(tmp_path: Path) -> None:
    """`mode="read"` gives status and rows; catching up is refused."""
    path = tmp_path / "log.db"
    with refold.open(path) as store:
        told(store)
        Projector(store, [sums()]).catch_up()
        store.append("s-0", [Event("added", {"n": 1})])
        history = list(store.read_all())
    with refold.open(path, mode="read") as store:
        projector = Projector(store, [sums()])
        assert projector.status()[0].lag_events == 1
        assert stored(projector) == folded(history[:-1])
        with pytest.raises(UsageError) as refused:
            projector.catch_up()
        assert refused.value.code == "not_writable"


def test_compaction_changes_nothing(tmp_path: Path) -> None:
    """Packed between batches and before a rebuild: the same rows."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        projector = Projector(store, [sums()])
        for _ in range(3):
            told(store, 40)
            projector.catch_up()
            told(store, 40)
            store.compact()
            told(store, 3)
            projector.catch_up()
        expected = folded(store.read_all())
        assert stored(projector) == expected
        projector.rebuild("sums")
        assert stored(projector) == expected
        assert all(check.good for check in store.check())


def test_a_class_that_cannot_be_decoded_is_named(store: refold.Store) -> None:
    """It is no event's fault: nothing is tried again or set aside, and the cause is told."""
    store.append("test-1", [Event("test.either", {"text": "1"})])
    kinds = refold.Registry()

    @kinds.event("test.either")
    @dataclasses.dataclass
    class Either:
        text: str | Decimal

    class Texts(msgspec.Struct):
        text: str

    table = Table("texts", Texts, key=("text",))
    projection = Projection("texts", tables=[table], registry=kinds)
    projection.on(Either)(lambda rows, event: rows.put(table, Texts(str(event.text))))
    projector = Projector(store, [projection])
    with pytest.raises(TypeError, match="str-like"):
        projector.catch_up()
    assert projector.status()[0].parked == ()
