"""Group commit: callers that meet share a commit, each keeps its own outcome."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import refold
from refold.core.expected import ANY
from refold.engine.group_commit import GroupCommit
from refold.errors import Conflict, OutcomeUnknown, Overloaded, StoreClosed
from refold.ports import Appended, Batch, Outcome, Write

WAIT_S = 10


APPENDED = [Appended("a", 0, 1, 1, 0)]
STORED = [APPENDED]


def batch(name: str) -> list[Batch]:
    """A batch that says who it is."""
    return [Batch([Write(name, ANY, ("x",), None, "[]")])]


class Disk:
    """A commit that stops at a gate, so that a test decides who meets whom."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.fails_with: BaseException | None = None

    def commit(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Note who came together, wait at the gate, then answer or fail."""
        names = [b.writes[0].stream for b in batches]
        self.commits.append(names)
        self.entered.release()
        assert self.gate.acquire(timeout=WAIT_S)
        if self.fails_with is not None:
            raise self.fails_with
        return [
            Conflict(stream=name, expected=0, actual=1) if name == "loser" else APPENDED
            for name in names
        ]


def waiting(writer: GroupCommit, count: int) -> None:
    """Return when so many callers wait for a commit."""
    deadline = threading.Event()
    for _ in range(10_000):
        if len(writer._waiting) >= count:
            return
        deadline.wait(0.001)
    raise AssertionError(f"{len(writer._waiting)} callers wait, not {count}")


def test_those_who_come_during_a_commit_share_the_next_one() -> None:
    """Callers that wait are stored by one commit, whoever leads it."""
    disk = Disk()
    writer = GroupCommit(disk.commit)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(writer.append, batch("first"))
        assert disk.entered.acquire(timeout=WAIT_S)
        others = [pool.submit(writer.append, batch(name)) for name in ("a", "b", "c")]
        waiting(writer, 3)
        disk.gate.release(2)
        assert first.result(WAIT_S) == STORED
        assert all(other.result(WAIT_S) == STORED for other in others)
    assert [sorted(names) for names in disk.commits] == [["first"], ["a", "b", "c"]]


def test_a_conflict_fails_alone() -> None:
    """One refused append of a group does not touch the others."""
    disk = Disk()
    writer = GroupCommit(disk.commit)
    with ThreadPoolExecutor(3) as pool:
        pool.submit(writer.append, batch("first"))
        assert disk.entered.acquire(timeout=WAIT_S)
        loser = pool.submit(writer.append, batch("loser"))
        winner = pool.submit(writer.append, batch("winner"))
        waiting(writer, 2)
        disk.gate.release(2)
        assert winner.result(WAIT_S) == STORED
        assert isinstance(loser.result(WAIT_S)[0], Conflict)


def test_a_failed_commit_tells_every_waiter() -> None:
    """Each waiter of a failed commit gets an OutcomeUnknown of its own; the next one works."""
    disk = Disk()
    writer = GroupCommit(disk.commit)
    with ThreadPoolExecutor(3) as pool:
        pool.submit(writer.append, batch("first"))
        assert disk.entered.acquire(timeout=WAIT_S)
        pair = [pool.submit(writer.append, batch(name)) for name in ("a", "b")]
        waiting(writer, 2)
        disk.gate.release()
        assert disk.entered.acquire(timeout=WAIT_S)
        disk.fails_with = OutcomeUnknown("the disk is full", path="x")
        disk.gate.release()
        errors = [future.exception(WAIT_S) for future in pair]
        assert [type(error) for error in errors] == [OutcomeUnknown, OutcomeUnknown]
        assert errors[0] is not errors[1]
        disk.fails_with = None
        disk.gate.release()
        assert pool.submit(writer.append, batch("later")).result(WAIT_S) == STORED


def test_a_full_queue_refuses_and_writes_nothing() -> None:
    """The queue is bounded: one more caller gets Overloaded at once."""
    disk = Disk()
    writer = GroupCommit(disk.commit, waiting_max=1)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(writer.append, batch("first"))
        assert disk.entered.acquire(timeout=WAIT_S)
        pool.submit(writer.append, batch("second"))
        waiting(writer, 1)
        with pytest.raises(Overloaded):
            writer.append(batch("third"))
        disk.gate.release(2)
    assert disk.commits == [["first"], ["second"]]


def test_closing_drains_what_waits() -> None:
    """Appends that were admitted get their outcome; later ones are refused."""
    disk = Disk()
    writer = GroupCommit(disk.commit)
    with ThreadPoolExecutor(3) as pool:
        admitted = [pool.submit(writer.append, batch("first"))]
        assert disk.entered.acquire(timeout=WAIT_S)
        admitted.append(pool.submit(writer.append, batch("second")))
        waiting(writer, 1)
        closing = pool.submit(writer.close)
        disk.gate.release(2)
        closing.result(WAIT_S)
        assert [future.result(WAIT_S) for future in admitted] == [STORED] * 2
    with pytest.raises(StoreClosed):
        writer.append(batch("late"))


def test_an_interrupted_leader_leaves_the_others_an_outcome() -> None:
    """A leader that is interrupted in its commit raises; who waited behind it goes on."""
    disk = Disk()
    writer = GroupCommit(disk.commit)
    with ThreadPoolExecutor(2) as pool:
        interrupted = pool.submit(writer.append, batch("first"))
        assert disk.entered.acquire(timeout=WAIT_S)
        other = pool.submit(writer.append, batch("other"))
        waiting(writer, 1)
        disk.fails_with = KeyboardInterrupt()
        disk.gate.release()
        assert isinstance(interrupted.exception(WAIT_S), KeyboardInterrupt)
        assert disk.entered.acquire(timeout=WAIT_S)
        disk.fails_with = None
        disk.gate.release()
        assert other.result(WAIT_S) == STORED


def test_a_cancelled_task_breaks_nobody() -> None:
    """Cancelling one waiter of a loop leaves its neighbours, and the writer, at work."""

    async def run() -> None:
        disk = Disk()
        writer = GroupCommit(disk.commit)
        first = asyncio.create_task(writer.append_async(batch("first")))
        assert await asyncio.to_thread(disk.entered.acquire, timeout=WAIT_S)
        gone = asyncio.create_task(writer.append_async(batch("gone")))
        stays = asyncio.create_task(writer.append_async(batch("stays")))
        await asyncio.to_thread(waiting, writer, 2)
        gone.cancel()
        disk.gate.release(3)
        assert await first == await stays == STORED
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await writer.append_async(batch("later")) == STORED
        assert disk.commits == [["first"], ["gone", "stays"], ["later"]]
        await asyncio.to_thread(writer.close)

    asyncio.run(run())


def test_threads_and_tasks_share_one_history(tmp_path: Path) -> None:
    """Appends from threads and from a loop at once: none lost, doubled or out of order."""
    each = 40

    async def tasks(store: refold.AsyncStore) -> None:
        async def one(name: str) -> None:
            for number in range(each):
                await store.append(name, [refold.Event("n", {"n": number})])

        await asyncio.gather(*(one(f"task-{number}") for number in range(8)))

    def thread(store: refold.Store, name: str) -> None:
        for number in range(each):
            store.append(name, [refold.Event("n", {"n": number})])

    with refold.open(tmp_path / "a.db") as store, ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(thread, store, f"thread-{number}") for number in range(8)]
        asyncio.run(tasks(refold.AsyncStore(lambda: store)))
        for future in threads:
            future.result(WAIT_S)
        events = list(store.read_all())
        assert [e.position for e in events] == list(range(1, 16 * each + 1))
        for info in list(store.streams()):
            assert [e.data["n"] for e in store.read(info.stream)] == list(range(each))
