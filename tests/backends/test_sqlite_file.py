"""What stands in a SQLite file: rows, the view for other programs, what opening makes."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, cast

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.backends.sqlite import SqliteBackend
from refold.backends.sqlite.file import APPLICATION_ID, SCHEMA_VERSION, migration
from refold.core.clock import to_us
from refold.core.encode import encode_metadata
from refold.core.event import Event
from refold.core.registry import Registry
from refold.engine.append import Append
from refold.errors import StoreClosed, Unavailable
from tests.backends.processes import hold_lock, open_often
from tests.conformance.suites import HandClock

REGISTRY = Registry()
WAIT_S = 60
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a query finds in the file."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def counted(path: Path) -> tuple[int, int]:
    """How many rows of appends the file holds, and how many bytes of bodies."""
    return rows(path, "SELECT count(*), ifnull(sum(length(body)), 0) FROM log")[0]


def test_a_row_is_an_append(tmp_path: Path) -> None:
    """However many events it holds; the body is the bytes that were encoded, readable as JSON."""
    path = tmp_path / "log.db"
    with refold.open(path, registry=REGISTRY) as store:
        store.append("call-1", [Event("a.b", {"n": Decimal("1.50")}), Event("a.c", [None])])
        store.append_together([Append("call-1", [Event("a.b")]), Append("call-2", [Event("a.b")])])
    bodies = [body for (body,) in rows(path, "SELECT body FROM log ORDER BY position")]
    assert bodies == ['[["a.b",{"n":"1.50"}],["a.c",[null]]]', '[["a.b",{}]]', '[["a.b",{}]]']


def test_a_saved_branch_copies_no_row(tmp_path: Path) -> None:
    """A thousand events are shared by a branch of one small row, and by a branch of that."""
    path = tmp_path / "log.db"
    with refold.open(path, registry=REGISTRY) as store:
        store.append_together([Append("call-1", [Event("a.b", {"text": "x" * 100})])] * 1_000)
        before = counted(path)
        store.branch("call-1").save("call-1~b")
        store.branch("call-1~b").adding(Event("a.b")).save("call-1~b~c")
        after = counted(path)
        assert len(list(store.read("call-1~b~c"))) == 1_003
    assert after[0] == before[0] + 2
    assert after[1] < before[1] + 400


STORY = [
    Append(
        "call-1",
        [
            Event("user.said", {"text": 'é "\n\x00'}, occurred_at=1, metadata={"own": 1}),
            Event("user.said.v2", [1, 2.5, "3"], occurred_at="2026-03-01T09:00:00.5Z"),
        ],
        metadata={"actor": "ann", "trace": None},
    ),
    Append("call-1~b", [Event("user.left")]),
]
SHOWN = """
SELECT position, stream, version, id, category, type, occurred_at, recorded_at, data, metadata, key
FROM events ORDER BY position"""


def shown_by(path: Path) -> list[list[Any]]:
    """The view, read by the SQLite of this Python's standard library, in a process of its own."""
    script = (
        "import json, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(json.dumps(c.execute(sys.argv[2]).fetchall()))"
    )
    command = [sys.executable, "-c", script, str(path), SHOWN]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def test_the_view_shows_an_event_a_row(tmp_path: Path) -> None:
    """Any SQLite tool reads a log through it: what it shows is what ``read_all`` gives."""
    path = tmp_path / "log.db"
    with refold.open(path, registry=REGISTRY, clock=HandClock(1_700_000_000_000_001)) as store:
        for part in STORY:
            store.append(part.stream, part.events, metadata=part.metadata, key=f"key {part.stream}")
        expected = list(store.read_all())
    for event, shown in zip(expected, shown_by(path), strict=True):
        position, stream, version, event_id, category, tag, *times, data, metadata, key = shown
        assert (position, stream, version) == (event.position, event.stream, event.version)
        assert (event_id, tag, key) == (event.id, event.stored_kind.tag, f"key {event.stream}")
        assert category == ("call~" if "~" in event.stream else "call")
        assert times == [_shown(event.occurred_at), _shown(event.recorded_at)]
        assert json.loads(data) == event.data
        assert json.loads(metadata) == event.metadata


def _shown(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


@given(
    st.dictionaries(KEYS, VALUES, max_size=3),
    st.dictionaries(KEYS, VALUES, max_size=3),
    st.integers(-62_000_000_000_000_000, 253_402_300_799_999_999),
)
def test_the_view_shows_any_metadata_and_any_time(
    shared: dict[str, Any], own: dict[str, Any], at_us: int
) -> None:
    """An event's own metadata goes on top of what is shared, whatever they hold; nulls stay."""
    connection = apsw.Connection(":memory:")
    for number in range(1, SCHEMA_VERSION + 1):
        connection.execute(migration(number)).fetchall()
    body = json.dumps([["a.b", {}, at_us, *([own] if own else [])]])
    connection.execute("INSERT INTO streams (id, name, category) VALUES (1, 'a', 'a')")
    connection.execute(
        "INSERT INTO log (position, stream, version, count, recorded_at, types, metadata, body) "
        "VALUES (1, 1, 0, 1, 0, 1, ?, ?)",
        (encode_metadata(shared), body),
    )
    ((metadata, occurred_at),) = connection.execute(
        "SELECT metadata, occurred_at FROM events"
    ).fetchall()
    connection.close()
    assert json.loads(str(metadata)) == {**shared, **own}
    assert to_us(str(occurred_at)) == at_us


def test_what_opening_makes(tmp_path: Path) -> None:
    """A WAL file that says whose it is and in which schema; once closed, that one file."""
    path = tmp_path / "log.db"
    refold.open(path).close()
    assert [p.name for p in tmp_path.iterdir()] == ["log.db"]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert rows(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


@pytest.mark.parametrize(("synchronous", "level"), [("FULL", 2), ("NORMAL", 1)])
def test_durability_is_what_was_asked_for(tmp_path: Path, synchronous: Any, level: int) -> None:
    """The connection that writes has the level of syncing that was chosen."""
    backend = SqliteBackend(tmp_path / "log.db", synchronous=synchronous)
    assert backend._writing is not None
    assert backend._writing.pragma("synchronous") == level
    backend.close()


def test_threads_that_open_one_new_file(tmp_path: Path) -> None:
    """Found by four threads that opened a file at once: one saw half of its making, one its types.

    Each makes the file or finds it made, and appends.
    """
    barrier = threading.Barrier(4)

    def open_and_append(worker: int) -> None:
        for number in range(15):
            barrier.wait(WAIT_S)
            with refold.open(tmp_path / f"{number}.db", synchronous="NORMAL") as store:
                store.append("call-1", [Event(f"a.t{worker}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_and_append, range(4)))
    for number in range(15):
        with refold.open(tmp_path / f"{number}.db") as store:
            assert store.log_head() == 4


def test_processes_that_open_one_new_file(tmp_path: Path) -> None:
    """Found by four processes: SQLite does not wait for another one that switches to WAL."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=open_often, args=(str(tmp_path), 10, barrier, answers))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    failures = [answers.get(timeout=WAIT_S) for _ in processes]
    for process in processes:
        process.join(WAIT_S)
    assert failures == [[], [], []]
    for number in range(10):
        with refold.open(tmp_path / f"{number}.db") as store:
            assert store.log_head() == 3


def test_a_file_that_stays_locked_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append says so after its wait, stores nothing, and can be tried again; reads go on."""
    monkeypatch.setattr("refold.backends.sqlite.file.BUSY_WAIT_MS", 20)
    path = tmp_path / "log.db"
    context = multiprocessing.get_context("spawn")
    locked, release = context.Event(), context.Event()
    with refold.open(path) as store:
        store.append("call-1", [Event("a.b")])
        holder = context.Process(target=hold_lock, args=(str(path), locked, release))
        holder.start()
        assert locked.wait(WAIT_S)
        with pytest.raises(Unavailable) as caught:
            store.append("call-1", [Event("a.b")])
        assert (caught.value.path, caught.value.retry) == (str(path), "later")
        assert len(list(store.read("call-1"))) == 1
        release.set()
        holder.join(WAIT_S)
        assert store.append("call-1", [Event("a.b")]).version == 1


def test_a_store_may_be_closed_while_others_read(tmp_path: Path) -> None:
    """Readers end with what they have or with ``StoreClosed``; every connection is let go."""
    store = refold.open(tmp_path / "log.db", synchronous="NORMAL")
    store.append_together([Append("call-1", [Event("a.b")])] * 1_000)
    started = threading.Barrier(4)

    def read(_: int) -> int:
        started.wait(WAIT_S)
        try:
            for _round in range(1_000):
                list(store.read("call-1"))
        except StoreClosed:
            return 1
        return 0

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, number) for number in range(3)]
        started.wait(WAIT_S)
        store.close()
        assert sum(reader.result(WAIT_S) for reader in readers) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["log.db"]


def test_each_number_has_one_migration() -> None:
    """Two of one number would be taken in the order that the file system gives them."""
    folder = resources.files("refold.backends.sqlite") / "migrations"
    numbers = sorted(int(file.name[:4]) for file in folder.iterdir())
    assert numbers == list(range(1, SCHEMA_VERSION + 1))


def test_a_fork_does_not_wait_for_who_waits_for_it(tmp_path: Path) -> None:
    """A commit that takes its turn as connections are laid to rest opens one after the fork."""
    backend = SqliteBackend(tmp_path / "a.db")
    turn, seen = backend._write_lock, []

    class Lock:
        """A lock that another thread takes right before it is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(turn, name)

        def acquire(self, *, blocking: bool = True) -> bool:
            seen.append(blocking)
            with turn:
                return turn.acquire(blocking=False)

        def __enter__(self) -> None:
            raise AssertionError("it is waited for")

        def __exit__(self, *_: object) -> None:
            """Nothing was entered."""

    backend._write_lock = cast(Any, Lock())
    backend.close_idle()
    backend._write_lock = turn
    backend.close()
    assert seen == [False]
