"""What is replaced in a SQLite file is in none of its bytes once it was scrubbed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

import refold
from refold.backends.sqlite import SqliteBackend, file
from refold.backends.sqlite.compaction import Packer
from refold.core.event import Event
from refold.core.snapshot import Snapshot
from refold.engine.store import Store
from refold.errors import UsageError
from refold.ports import Check
from tests.support.bytescan import ByteScan, dictionaries_of

SAID = 'ring "Ada" at 555-0142 \u2014 canary'
"""What a caller said, once hot, once packed, once what was often said."""
OFTEN = "the patient Q. Canary-Often of ward 12 called again about 555-0177"
KEPT = "what nobody asked to erase"


def quiet(done: int, in_all: int) -> None:
    """Progress that nobody looks at."""


def filled(path: Path, *, often: int = 2_400) -> None:
    """A log whose category has a dictionary, with appends that are packed, and one that is not."""
    with refold.open(path, synchronous="NORMAL") as store:
        for first in range(0, often, 100):
            events = [
                Event("said", {"number": n * 7919, "text": OFTEN, "more": f"{n:x}" * 150})
                for n in range(first, first + 100)
            ]
            store.append(f"call-{first % 3}", events)
        store.append("call-long", [Event("said", {"text": SAID, "n": n}) for n in range(300)])
        store.append("call-one", [Event("said", {"text": SAID})], key="k", metadata={"by": SAID})
        store.append("other-1", [Event("said", {"text": KEPT})])
        store.compact()
        store.append("call-hot", [Event("said", {"text": SAID}), Event("said", {"text": KEPT})])


def backend_of(path: Path) -> SqliteBackend:
    """The log, opened without a store."""
    return SqliteBackend(path, mode="write")


def without(path: Path, *texts: str) -> tuple[dict[int, bytes], dict[int, bytes | None]]:
    """What replaces every payload, and all shared metadata, that hold one of some texts."""
    payloads: dict[int, bytes] = {}
    shared: dict[int, bytes | None] = {}
    with refold.open(path, mode="read") as store:
        for event in store.read_all():
            if any(text in str(event.data) for text in texts):
                payloads[event.position] = b'{"text":"[erased]"}'
            if any(text in str(event.metadata) for text in texts):
                shared[event.position] = None
    return payloads, shared


def erased(backend: SqliteBackend, path: Path, *texts: str) -> list[Check]:
    """Replace whatever holds one of some texts, and scrub."""
    payloads, shared = without(path, *texts)
    backend.replace(payloads, {}, shared)
    return list(backend.scrub(quiet))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log that holds the texts in every way that a file holds any."""
    path = tmp_path / "log" / "agents.db"
    path.parent.mkdir()
    filled(path)
    return path


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    """The log, open as it is while it is erased: with its write-ahead log beside it."""
    with closing(backend_of(path)) as opened:
        yield opened


def test_a_scan_finds_what_was_said_in_rows_segments_and_dictionaries(path: Path) -> None:
    """The scanner sees each of them: else that it finds nothing would tell nothing."""
    dictionaries = dictionaries_of(path)
    assert [OFTEN.encode() in one for one in dictionaries] == [True]
    scan = ByteScan([SAID, OFTEN, KEPT], dictionaries)
    assert scan.in_file(path) == {SAID, OFTEN, KEPT}
    with closing(apsw.Connection(str(path))) as db:
        ((hot,),) = db.execute("SELECT body FROM log ORDER BY position DESC LIMIT 1").fetchall()
        frames = [frame for (frame,) in db.execute("SELECT frame FROM segments")]
    assert scan.in_bytes(str(hot).encode()) == {SAID, KEPT}
    assert {text for frame in frames for text in scan.in_bytes(frame)} == {SAID, OFTEN}
    # Without its dictionary a frame hides what it holds: the scanner must be given it.
    blind = ByteScan([OFTEN])
    assert not any(blind.in_bytes(frame) for frame in frames)


def test_nothing_that_was_replaced_is_left_in_any_byte(backend: SqliteBackend, path: Path) -> None:
    """Neither in rows, segments and dictionaries, nor on free pages or in the write-ahead log."""
    dictionaries = dictionaries_of(path)
    scan = ByteScan([SAID, OFTEN, KEPT], dictionaries)
    checks = erased(backend, path, SAID, OFTEN)
    assert [(one.name, one.good) for one in checks] == [
        ("snapshots", True),
        ("dictionaries", True),
        ("pages", True),
        ("write-ahead log", True),
    ]
    scan = ByteScan([SAID, OFTEN, KEPT], [*dictionaries, *dictionaries_of(path)])
    assert scan.in_folder(path.parent) == {path.name: {KEPT}}
    with refold.open(path, mode="read") as store:
        texts = [event.data["text"] for event in store.read_all()]
        assert all(check.good for check in store.check())
    assert texts.count("[erased]") == 2_400 + 300 + 1 + 1
    assert texts.count(KEPT) == 2


def test_what_a_compaction_left_on_free_pages_is_gone(path: Path, tmp_path: Path) -> None:
    """Rows that were packed long ago left their bytes behind: replacing is not enough."""
    other = tmp_path / "other.db"
    with refold.open(other, synchronous="NORMAL") as store:
        for n in range(60):
            store.append("call-1", [Event("said", {"text": SAID, "n": n, "more": "x" * 200})])
        store.append("call-2", [Event("said", {"text": KEPT})])
        store.compact()
    scan = ByteScan([SAID])
    with closing(backend_of(other)) as backend:
        payloads, _ = without(other, SAID)
        backend.replace(payloads)
        for _ in backend.scrub(quiet):
            pass
        assert scan.in_file(other) == set()


def test_a_compaction_that_read_before_does_not_bring_it_back(
    backend: SqliteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it packed of appends that were replaced meanwhile is thrown away, and packed again."""
    payloads, shared = without(path, SAID)
    store_it, calls = Packer._stored, list[int]()

    def after_a_replacement(packer: Packer, ready: object) -> int:
        calls.append(1)
        if len(calls) == 1:
            backend.replace(payloads, {}, shared)
        return store_it(packer, ready)  # type: ignore[arg-type]

    monkeypatch.setattr(Packer, "_stored", after_a_replacement)
    with refold.open(path) as store:
        store.append("end-1", [Event("said", {"text": KEPT})])
        packed = store.compact()
    assert packed.events >= 2
    assert len(calls) > 1
    list(backend.scrub(quiet))
    assert SAID not in ByteScan([SAID], dictionaries_of(path)).in_file(path)


def test_a_reader_with_an_old_segment_in_hand_reads_the_new_one(
    backend: SqliteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a segment and its dictionary both may be replaced: nobody is told of damage."""
    payloads, _ = without(path, OFTEN)
    asked = list[int]()
    dictionary = SqliteBackend._dictionary

    def after_it_is_gone(self: SqliteBackend, number: int) -> bytes:
        if self is not backend and not asked:
            asked.append(number)
            backend.replace(payloads)
            list(backend.scrub(quiet))
        return dictionary(self, number)

    monkeypatch.setattr(SqliteBackend, "_dictionary", after_it_is_gone)
    with closing(backend_of(path)) as reader:
        rows = reader.rows("call-0", first=0, last=50, backward=False, events_max=50)
    assert asked
    assert b"[erased]" in bytes(rows[0].body)  # type: ignore[arg-type]


def test_a_reader_that_holds_an_old_state_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages cannot go: the write-ahead log is said to hold them, until it ends."""
    monkeypatch.setattr(file, "BUSY_WAIT_MS", 50)
    with closing(backend_of(path)) as backend:
        told_of_an_old_reader(backend, path)


def told_of_an_old_reader(backend: SqliteBackend, path: Path) -> None:
    """While it reads, and when it has ended."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchall()
        checks = {one.name: one for one in erased(backend, path, SAID, OFTEN)}
        assert not checks["write-ahead log"].good
        assert "run it again" in checks["write-ahead log"].detail
        assert ByteScan([SAID]).in_folder(path.parent)
    again = list(backend.scrub(quiet))
    assert all(one.good for one in again)
    assert ByteScan([SAID, OFTEN], dictionaries_of(path)).in_folder(path.parent) == {}


VICTIM = """
import os, signal, sys
from pathlib import Path
from tests.erasure.test_sqlite_file import *
path, steps = Path(sys.argv[1]), int(sys.argv[2])
payloads, shared = without(path, SAID, OFTEN)
backend = backend_of(path)
left = [steps]
connect = SqliteBackend._connected
def counting(self, mode="write"):
    connection = connect(self, mode)
    def step():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return False
    connection.set_progress_handler(step, 4000)
    return connection
SqliteBackend._connected = counting
backend._close_idle_readers()
backend.replace(payloads, {}, shared)
print("replaced", flush=True)
list(backend.scrub(quiet))
print("scrubbed", flush=True)
"""


@pytest.mark.parametrize("steps", [0, 3, 20, 100])
def test_killed_at_any_moment_it_is_the_old_or_the_new(path: Path, steps: int) -> None:
    """All of it is replaced, or nothing; and a second run finishes what the first began."""
    dictionaries = dictionaries_of(path)
    before = texts_of(path)
    run = subprocess.run(
        [sys.executable, "-c", VICTIM, str(path), str(steps)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode in (0, -signal.SIGKILL), run.stderr
    after = texts_of(path)
    new = ["[erased]" if text in (SAID, OFTEN) else text for text in before]
    assert after == new if "replaced" in run.stdout else after in (before, new)
    with closing(backend_of(path)) as backend:
        assert all(one.good for one in erased(backend, path, SAID, OFTEN))
        scan = ByteScan([SAID, OFTEN], [*dictionaries, *dictionaries_of(path)])
        assert scan.in_folder(path.parent) == {}
    with refold.open(path) as store:
        assert [one for one in store.check() if not one.good] == []
    assert texts_of(path) == new


def texts_of(path: Path) -> list[str]:
    """What every event says."""
    with refold.open(path, mode="read") as store:
        return [event.data["text"] for event in store.read_all()]


def test_a_disk_that_is_full_is_told_and_a_second_run_finishes(
    backend: SqliteBackend, path: Path
) -> None:
    """Pages that could not be written anew are said to hold what they held."""
    payloads, shared = without(path, SAID, OFTEN)
    backend.replace(payloads, {}, shared)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        checks = {one.name: one for one in backend.scrub(quiet)}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not checks["pages"].good
    assert "make room" in checks["pages"].detail
    assert all(one.good for one in backend.scrub(quiet))
    scan = ByteScan([SAID, OFTEN], dictionaries_of(path))
    assert scan.in_folder(path.parent) == {}


def test_what_is_replaced_while_others_write_and_read_is_one_history(path: Path) -> None:
    """Appends go on, none is lost; who reads meanwhile sees each event old or new."""
    payloads, shared = without(path, SAID)
    program = (
        "import sys, refold\n"
        "from refold.core.event import Event\n"
        "with refold.open(sys.argv[1], synchronous='NORMAL') as store:\n"
        "    for n in range(200):\n"
        "        told = store.append('new-1', [Event('said', {'text': str(n)})])\n"
        "        print(told.position, flush=True)\n"
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer,
        closing(backend_of(path)) as backend,
        Store(backend_of(path)) as reader,
    ):
        assert writer.stdout is not None
        told = [int(writer.stdout.readline())]
        for position, payload in payloads.items():
            backend.replace({position: payload}, {}, {p: None for p in shared if p == position})
            seen = [event.data["text"] for event in reader.read("call-long")]
            assert set(seen) <= {SAID, "[erased]"}
        list(backend.scrub(quiet))
        told += map(int, writer.stdout.read().split())
    assert writer.returncode == 0
    assert len(told) == 200
    with refold.open(path) as store:
        assert [event.position for event in store.read("new-1")] == told
        assert [one for one in store.check() if not one.good] == []


def test_a_fold_that_began_before_leaves_no_snapshot(backend: SqliteBackend) -> None:
    """Its state may hold what was replaced meanwhile; the next fold leaves one again."""
    wanted: dict[str, Any] = {"fold": "f", "fingerprint": "p", "last": 9}
    taken = Snapshot("call-one", "f", "p", 0, 1, 0, 1, SAID.encode(), b"digest")
    assert backend.snapshot("call-one", **wanted) is None
    backend.replace({1: b'{"text":"[erased]"}'})
    backend.keep_snapshots([taken])
    assert backend.snapshot("call-one", **wanted) is None
    backend.keep_snapshots([taken])
    assert backend.snapshot("call-one", **wanted) == taken


def test_a_log_that_is_open_for_reading_is_not_erased(path: Path) -> None:
    """Who opened it to read does not write."""
    with closing(SqliteBackend(path, mode="read")) as backend:
        for work in (lambda: backend.replace({1: b"1"}), lambda: list(backend.scrub(quiet))):
            with pytest.raises(UsageError) as refusal:
                work()
            assert refusal.value.code == "not_writable"
