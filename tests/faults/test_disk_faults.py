"""The disk fails once at every operation of a script, or stays broken, and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest

import refold
from refold import Append, Event
from refold.backends.sqlite.undo import is_undone
from refold.engine.append import batch_of
from refold.errors import InvalidEvent, OutcomeUnknown, Unavailable, UsageError
from refold.ports import Appended
from tests.faults.application import WAIT_S, Application, HeldClock, run_script
from tests.faults.disk import Disk, How, Operation
from tests.faults.judging import judge, judge_diagnosis
from tests.support.soak import bound, counted

PAGES_PER_CHECKPOINT = 24
PARTS = 12
"""Pieces that the faults are cut into, for the workers to share."""
FOR_EVER = 1_000_000


def scripted(path: Path, disk: Disk, synchronous: str = "FULL") -> Application:
    """The script, run over a disk."""

    def open_store(clock: HeldClock) -> refold.Store:
        return disk.open(path, clock=clock, synchronous=synchronous)

    return run_script(disk, open_store)


@cache
def operations() -> list[Operation]:
    """What the script does to a disk that does not fail."""
    with (
        TemporaryDirectory() as folder,
        Disk(pages_per_checkpoint=PAGES_PER_CHECKPOINT) as disk,
    ):
        app = scripted(Path(folder, "log.db"), disk)
        assert app.errors == []
        return disk.operations


def faults() -> list[tuple[int, How]]:
    """Every operation with a way in which it can fail.

    ``make test`` fails each write in one way, each in its turn; ``make soak`` in all of them.
    That the file cannot be made at all stands apart.
    """
    found: list[tuple[int, How]] = []
    for number, (kind, *_) in enumerate(operations()):
        if kind == "write":
            hows: tuple[How, ...] = ("full", "torn", "error", "late")
            found += [(number, how) for how in bound(hows[number % 4 :][:1], hows)]
        elif kind != "mark" and number > 0:
            found.append((number, "error"))
    return found


def suffer(folder: Path, *, at: int, how: How, lasting: int, synchronous: str) -> None:
    """Run the script with a fault, then judge what is in the file with an ordinary disk."""
    path = folder / f"{how}-{at}-{lasting}.db"
    counted("disk faults")
    with Disk(pages_per_checkpoint=PAGES_PER_CHECKPOINT) as disk:
        disk.fail(at=at, how=how, operations=lasting)
        app = scripted(path, disk, synchronous)
        assert disk.failed or synchronous == "NORMAL"  # It has fewer operations, or others there.
        if lasting == 1:  # The disk could be asked at once what had become of it.
            assert [error for error in app.errors if isinstance(error, OutcomeUnknown)] == []
    with refold.open(path, synchronous="NORMAL") as store:
        try:
            judge(store, app.attempts)
        except AssertionError as error:
            error.add_note(f"{how} at {at}, {disk.failed}; told {app.errors!r}")
            raise
    with apsw.Connection(str(path)) as connection:
        assert connection.pragma("auto_vacuum") == 2  # A compaction can give pages back.
    connection.close()


@pytest.mark.parametrize("part", range(PARTS))
def test_any_operation_may_fail_once(tmp_path: Path, part: int) -> None:
    """Wherever the disk fails, what was acknowledged is there, whole, once and in order.

    The application goes on as the errors advise; no error of the driver reaches it.
    """
    for at, how in faults()[part::PARTS]:
        suffer(tmp_path, at=at, how=how, lasting=1, synchronous="FULL")


@pytest.mark.parametrize("part", range(bound(2, PARTS)))
def test_a_disk_may_stay_broken_for_a_while(tmp_path: Path, part: int) -> None:
    """Nothing is lost when all that is tried fails, from anywhere on, until the disk is mended."""
    for at, how in faults()[part :: bound(20, 4 * PARTS)]:
        suffer(tmp_path, at=at, how=how, lasting=FOR_EVER, synchronous="FULL")


@pytest.mark.parametrize("part", range(bound(2, PARTS)))
def test_any_operation_may_fail_without_syncs_too(tmp_path: Path, part: int) -> None:
    """With ``synchronous="NORMAL"`` as well: the process lives on, and so does all it was told."""
    for at, how in faults()[part :: bound(20, 4 * PARTS)]:
        suffer(tmp_path, at=at, how=how, lasting=1, synchronous="NORMAL")


def test_the_script_reaches_every_kind_of_operation() -> None:
    """Each file is opened, read, written and synced, some are deleted or truncated."""
    done = {(o.kind, o.file.rpartition("log.db")[2]) for o in operations()}
    for file in ("", "-wal", "-journal"):
        for kind in ("open", "read", "write", "sync"):
            assert (kind, file) in done
    assert done >= {("truncate", ""), ("delete", "-wal"), ("delete", "-journal")}
    assert len(faults()) > 500


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk that does not fail yet."""
    with Disk() as disk:
        yield disk


def test_a_file_that_cannot_be_made_is_a_usage_error(tmp_path: Path, disk: Disk) -> None:
    """To wait would not help."""
    disk.fail(at=0)
    with pytest.raises(UsageError) as caught:
        disk.open(tmp_path / "log.db")
    assert caught.value.code == "not_writable"


def test_a_full_disk_says_that_nothing_was_written(tmp_path: Path, disk: Disk) -> None:
    """A commit that the disk had no room for is Unavailable, not of unknown outcome."""
    with disk.open(tmp_path / "log.db") as store:
        store.append("call-1", [Event("test.token", {"n": 0})])
        disk.fail(at=len(disk.operations), how="full", operations=FOR_EVER)
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                store.append("call-1", [Event("test.token", {"n": 1})])
            assert caught.value.retry == "later"
        disk.mend()
        store.append("call-1", [Event("test.token", {"n": 2})])
    with refold.open(tmp_path / "log.db") as store:
        assert [e.data["n"] for e in store.read("call-1")] == [0, 2]


def operations_of(disk: Disk, call: Callable[[], object]) -> int:
    """How many operations a call takes."""
    before = len(disk.operations)
    call()
    return len(disk.operations) - before


def recovered(path: Path, folder: Path) -> list[int]:
    """The numbers in the log that another process would find, had this one died."""
    folder.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        shutil.copy(path.with_name(name), folder / name)
    with refold.open(folder / path.name) as store:
        judge_diagnosis(store)
        return [e.data["n"] for e in store.read("call-1")]


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
@pytest.mark.parametrize("key", [None, "k"])
def test_what_did_not_happen_is_told_and_does_not_come_back(
    tmp_path: Path, disk: Disk, key: str | None, synchronous: str
) -> None:
    """A commit fails with every byte of it in the WAL; the disk goes on, and the append is undone.

    With a key and without one: nothing was written, so the same call may be made again.
    """
    path = tmp_path / "log.db"
    with disk.open(path, synchronous=synchronous) as store:

        def append(n: int, key: str | None) -> None:
            store.append("call-1", [Event("test.token", {"n": n})], key=key)

        append(0, key and "first")
        size = operations_of(disk, lambda: append(1, key and "second"))
        # The sync, or where there is none the last write.
        assert disk.operations[-1].kind == ("sync" if synchronous == "FULL" else "write")
        disk.fail(at=len(disk.operations) + size - 1, how="late")
        with pytest.raises(Unavailable) as caught:
            append(2, key)
        assert len(disk.failed) == 1
        assert caught.value.retry == "later"
        assert isinstance(caught.value.__cause__, apsw.IOError)
        assert recovered(path, tmp_path / "after") == [0, 1]
        append(2, key)
        assert recovered(path, tmp_path / "again") == [0, 1, 2]


def test_what_cannot_be_found_out_is_of_unknown_outcome(tmp_path: Path, disk: Disk) -> None:
    """A disk that stays broken: the append may come back, and the error says so; its key helps."""
    path = tmp_path / "log.db"
    with disk.open(path) as store:

        def append(n: int, key: str) -> None:
            store.append("call-1", [Event("test.token", {"n": n})], key=key)

        append(0, "first")
        size = operations_of(disk, lambda: append(1, "second"))
        disk.fail(at=len(disk.operations) + size - 1, operations=FOR_EVER)
        with pytest.raises(OutcomeUnknown) as caught:
            append(2, "third")
        disk.mend()
        assert caught.value.retry == "check"
        assert isinstance(caught.value.__cause__, apsw.IOError)
        assert recovered(path, tmp_path / "after") == [0, 1, 2]
        append(2, "third")
        assert recovered(path, tmp_path / "again") == [0, 1, 2]


def test_what_others_wrote_meanwhile_is_not_taken_for_the_append(tmp_path: Path) -> None:
    """At the place of a failed commit another process may have put its own; or the very same."""
    with refold.open(tmp_path / "log.db") as store:
        store.append("call-1", [Event("test.token", {"n": 0})])
        store.append("call-1", [Event("test.token", {"n": 1})])
        connection: apsw.Connection = store._backend._writing  # type: ignore[attr-defined]

        def is_undone_(n: int, position: int) -> bool:
            part = Append("call-1", [Event("test.token", {"n": n})])
            batch = batch_of(part, store.registry)
            return is_undone(connection, [batch], position=position)

        assert is_undone_(1, 3)
        assert is_undone_(7, 2)
        assert not is_undone_(1, 2)
        store.append("call-2", [Event("test.token", {"n": 2})])
        store.compact()
        assert not is_undone_(7, 2)  # It was packed: nobody knows whose it was.
        assert connection.pragma("synchronous") == 2
        assert not connection.in_transaction
        judge_diagnosis(store)


def test_a_failed_read_says_nothing_of_appends(tmp_path: Path, disk: Disk) -> None:
    """A read that the disk refuses is Unavailable, and may be tried again."""
    with refold.open(tmp_path / "log.db") as store:
        store.append("call-1", [Event("test.token", {"n": 0})])
    with disk.open(tmp_path / "log.db") as store:
        disk.fail(at=len(disk.operations), operations=FOR_EVER)
        for call in (
            lambda: list(store.read("call-1")),
            lambda: list(store.read_all()),
            lambda: store.head("call-1"),
            lambda: list(store.check()),
            store.compact,
        ):
            with pytest.raises(Unavailable):
                call()
        disk.mend()
        assert [e.data["n"] for e in store.read("call-1")] == [0]


def test_a_key_that_comes_twice_is_in_one_commit(tmp_path: Path, disk: Disk) -> None:
    """It fails as a whole, and tried again it stores each once and tells the repetition."""

    def imported(*keys: str) -> list[Appended | refold.errors.RefoldError]:
        events = [Event("test.token", {})]
        return list(store.append_many([Append("call-1", events, key=key) for key in keys]))

    with disk.open(tmp_path / "log.db") as store:
        store.append("call-1", [Event("test.token", {})])
        disk.fail(at=len(disk.operations), how="full", operations=99)
        with pytest.raises(Unavailable):
            imported("a", "b", "a", "c")
        disk.mend()
        assert store.head("call-1") == 0
        operations = len(disk.operations)
        imported("x", "y", "z", "w")
        of_a_commit = len(disk.operations) - operations
        again = imported("a", "b", "a", "c")
        assert len(disk.operations) - operations <= 2 * of_a_commit
        assert [o.duplicate for o in again if isinstance(o, Appended)] == [
            False,
            False,
            True,
            False,
        ]
        assert [o.version for o in again if isinstance(o, Appended)] == [5, 6, 5, 7]
        judge_diagnosis(store)


def test_every_waiter_of_a_failed_commit_may_try_again(tmp_path: Path, disk: Disk) -> None:
    """The leader fails for all; each hears of it, and each finds the writer at work again."""
    with disk.open(tmp_path / "log.db") as store, ThreadPoolExecutor(8) as pool:
        store.append("call-0", [Event("test.token", {})])
        disk.fail(at=len(disk.operations), operations=FOR_EVER)

        def append(number: int) -> type[BaseException] | None:
            try:
                store.append(f"call-{number}", [Event("test.token", {})], key=f"key-{number}")
            except (OutcomeUnknown, Unavailable) as error:
                return type(error)
            return None

        failed = list(pool.map(append, range(8), timeout=WAIT_S))
        assert None not in failed
        disk.mend()
        assert list(pool.map(append, range(8), timeout=WAIT_S)) == [None] * 8
        assert store.log_head() == 9


def test_types_that_were_not_stored_are_not_remembered(tmp_path: Path, disk: Disk) -> None:
    """A new type whose commit failed, and which nobody could look up then, is stored next time."""
    with disk.open(tmp_path / "log.db") as store:
        store.append("call-1", [Event("test.first", {})])
        disk.fail(at=len(disk.operations), operations=FOR_EVER)
        for _ in range(2):
            with pytest.raises((OutcomeUnknown, Unavailable)):
                store.append("call-1", [Event("test.second", {})])
        disk.mend()
        store.append("call-1", [Event("test.second", {})])
        assert len(list(store.read_all(types=["test.second"]))) == 1


def test_an_interrupted_rollback_is_made_up_for(tmp_path: Path) -> None:
    """Nothing is appended within a transaction that somebody has left open."""
    with refold.open(tmp_path / "log.db") as store:
        store.append("call-1", [Event("test.token", {})])
        store._backend._writing.execute("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
        store.append("call-1", [Event("test.token", {})])
        with refold.open(tmp_path / "log.db", mode="read") as other:
            assert other.head("call-1") == 1


def test_what_a_row_cannot_hold_is_refused(tmp_path: Path) -> None:
    """SQLite's own limit of a row, where it is lower than refold's, is an InvalidEvent."""
    with refold.open(tmp_path / "log.db") as store:
        store.append("call-1", [Event("test.token", {})])
        writing: apsw.Connection = store._backend._writing  # type: ignore[attr-defined]
        writing.limit(apsw.SQLITE_LIMIT_LENGTH, 10_000)
        with pytest.raises(InvalidEvent):
            store.append("call-1", [Event("test.token", {"text": "x" * 20_000})])
        store.append("call-1", [Event("test.token", {"text": "x"})])
        assert store.head("call-1") == 1
        judge_diagnosis(store)
