"""A forked process opens the same log for itself: nothing that anybody was told of is lost."""

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import apsw
import pytest

import refold
from refold import Event
from refold.backends import rest
from refold.errors import UsageError
from refold.ports import Begin
from tests.forks.uses import COUNT, EVENT, filled
from tests.projections.sums import sums
from tests.support.forking import Answer, Busy, told_by_child
from tests.support.soak import bound, counted

Told = dict[str, int]
"""Keys, and the positions that their appends were told."""


def appended(path: Path, who: str, count: int) -> Told:
    """Open the log, append under keys, and say what was told; as a worker that is then killed."""
    store = refold.open(path)
    told: Told = {}
    for number in range(count):
        key = f"{who}-{number}"
        told[key] = store.append(f"stream-{who}", [Event("e", {"key": key})], key=key).position
    return told


def check_log(path: Path, told: Told) -> None:
    """Each append that somebody was told of is in the log, once, where it was told to be."""
    with refold.open(path, mode="write") as store:
        events = list(store.read_all(types=["e"]))
        found = {event.data["key"]: event.position for event in events}
        assert len(found) == len(events)
        assert {key: found.get(key) for key in told} == told
        positions = [event.position for event in store.read_all()]
        assert positions == list(range(1, len(positions) + 1))
        assert [check for check in store.check() if not check.good] == []


def test_parent_and_child_append_at_once(tmp_path: Path) -> None:
    """While threads of the parent append, a child opens the log and does too."""
    path, told = tmp_path / "log.db", Told()
    numbers = iter(range(1_000_000))
    with refold.open(path, synchronous="NORMAL") as store:

        def work(thread: int) -> None:
            key = f"parent-{next(numbers)}"
            told[key] = store.append(f"p-{thread}", [Event("e", {"key": key})], key=key).position
            store.fold(f"p-{thread}", COUNT)

        with Busy(work, threads=3):
            children = [Answer(partial(appended, path, f"child-{n}", 20)) for n in range(8)]
            for child in children:
                told |= child.get()
    check_log(path, told)


def test_a_loop_that_forks_and_a_loop_in_the_child(tmp_path: Path) -> None:
    """Tasks append while their loop forks; each child opens the log in a loop of a new thread.

    A child ends by ``os._exit``: it has its parent's selector, and to unwind the parent's loop
    would take from that what the parent waits for.
    """
    path, told = tmp_path / "log.db", Told()

    async def put(store: refold.AsyncStore, who: str, count: int) -> Told:
        said = Told()
        for number in range(count):
            key = f"{who}-{number}"
            answer = await store.append(f"s-{who}", [Event("e", {"key": key})], key=key)
            said[key] = answer.position
            await store.head(f"s-{who}")
        return said

    async def own(who: str) -> Told:
        async with refold.open_async(path) as store:
            return await put(store, who, 5)

    def child(who: str) -> Told:
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(lambda: asyncio.run(own(who))).result()

    async def parent() -> list[Answer]:
        async with refold.open_async(path, synchronous="NORMAL") as store:
            tasks = [asyncio.create_task(put(store, f"p{n}", 40)) for n in range(8)]
            children = list[Answer]()
            for number in range(4):
                await asyncio.sleep(0.01)
                children.append(Answer(partial(child, f"c{number}")))
            for said in await asyncio.gather(*tasks):
                told.update(said)
            return children

    for answer in asyncio.run(parent()):
        told.update(answer.get())
    assert len(told) == 8 * 40 + 4 * 5
    check_log(path, told)


@pytest.mark.parametrize("parent", ["closes", "goes on", "ends"])
def test_the_child_keeps_its_log_whatever_its_parent_does(parent: str, tmp_path: Path) -> None:
    """The locks of the child's connections are its own: nobody takes the WAL away under it."""
    path = tmp_path / "log.db"
    store = refold.open(path)
    filled(store)
    opened, go_on = os.pipe(), os.pipe()

    def child() -> Told:
        own = refold.open(path)
        told = {"first": own.append("c", [Event("e", {"key": "first"})]).position}
        os.write(opened[1], b"x")
        os.read(go_on[0], 1)
        for number in range(20):
            key = f"then-{number}"
            told[key] = own.append("c", [Event("e", {"key": key})]).position
        return told

    answer = Answer(child)
    os.read(opened[0], 1)
    if parent == "closes":
        store.close()
        with refold.open(path) as other:  # Another process would do the same.
            assert other.head("c") == 0
    elif parent == "ends":
        told_by_child(lambda: None)
        del store
    else:
        store.append("p", [EVENT])
    os.write(go_on[1], b"x")
    told = answer.get()
    for end in (*opened, *go_on):
        os.close(end)
    check_log(path, told)


@pytest.mark.parametrize("seed", range(bound(3, 40)))
def test_any_family_of_processes(seed: int, tmp_path: Path) -> None:
    """Parents, children and grandchildren that open, append, fork, close and end as they like."""
    path = tmp_path / "log.db"
    filled_by(path)
    told = _member(path, random.Random(seed), "m", generations=3)
    check_log(path, told)
    counted("families of processes")


def filled_by(path: Path) -> None:
    """A log that somebody made."""
    with refold.open(path) as store:
        filled(store)


def _member(path: Path, chance: random.Random, who: str, *, generations: int) -> Told:
    told, children = Told(), list[Answer]()
    store = refold.open(path, synchronous="NORMAL")
    for step in range(chance.randrange(6, 12)):
        what = chance.choice(["append", "append", "read", "fork", "reopen", "project"])
        if what == "append":
            key = f"{who}-{step}"
            told[key] = store.append(f"s-{who}", [Event("e", {"key": key})], key=key).position
        elif what == "read":
            list(store.read_all())
        elif what == "reopen":
            store.close()
            store = refold.open(path, synchronous="NORMAL")
        elif what == "project":
            refold.projections.Projector(store, [sums()]).catch_up()
        elif generations > 1 and len(children) < 3:
            given = path, random.Random(chance.random()), f"{who}.{step}"
            children.append(Answer(partial(_member, *given, generations=generations - 1)))
    if chance.random() < 0.5:
        store.close()
    for child in children:
        told |= child.get()
    return told


def test_the_parent_goes_on_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections come back when they are needed, from another folder too."""
    monkeypatch.chdir(tmp_path)
    with refold.open("log.db") as store, refold.open("log.db", mode="read") as reading:
        filled(store)
        projector = refold.projections.Projector(store, [sums()])
        projector.catch_up()
        following = store.subscribe()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert told_by_child(lambda: 1) == 1
        assert [e.version for e in reading.read("call-1")] == [0, 1, 2]
        assert store.append("call-1", [EVENT], expected=2).position == 4
        projector.catch_up()
        assert [next(following).position for _ in range(4)] == [1, 2, 3, 4]
        assert projector.query("SELECT events FROM kinds") == [(4,)]
        assert reading.log_head() == 4
    assert list((tmp_path / "elsewhere").iterdir()) == []


# -- what is under way at the fork ----------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else holds the write lock of a file."""
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_fork_waits_for_a_commit(tmp_path: Path) -> None:
    """A thread that is inside a transaction ends it first; the child can open the log."""
    path = tmp_path / "log.db"
    with refold.open(path) as store:
        filled(store)
        thread = threading.Thread(target=store.append, args=("t", [EVENT]))
        release = threading.Timer(rest.REST_MAX_S / 4, lambda: holding.__exit__(None, None, None))
        holding = locked(path)
        holding.__enter__()
        thread.start()
        while not store._backend._write_lock.locked():  # type: ignore[attr-defined]
            pass
        release.start()
        told = told_by_child(lambda: appended(path, "child", 3))
        thread.join()
        release.join()
    check_log(path, told)


def test_a_child_of_a_busy_parent_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that stays in a transaction keeps the child from opening, and loses nothing."""
    monkeypatch.setattr(rest, "REST_MAX_S", 0.1)
    path = tmp_path / "log.db"
    with refold.open(path) as store:
        filled(store)

        def busy(begin: Begin) -> None:
            begin().execute("CREATE TABLE mine (x)")
            with pytest.raises(UsageError, match="was in use when this process was forked") as told:
                told_by_child(lambda: refold.open(tmp_path / "other.db"))
            assert told.value.code == "forked"

        store._backend.write(busy)  # type: ignore[attr-defined]
        assert store.append("call-1", [EVENT]).position == 4
        assert told_by_child(lambda: appended(path, "child", 3)) == {
            f"child-{n}": 5 + n for n in range(3)
        }


def test_a_block_that_a_child_leaves_undoes_and_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked inside a transaction, the child's way out of it is refused; the parent's stands."""
    monkeypatch.setattr(rest, "REST_MAX_S", 0.05)
    with refold.open(tmp_path / "log.db") as store:
        tables: Any = store._backend

        def block(begin: Begin) -> None:
            transaction = begin()
            transaction.execute("CREATE TABLE mine (x)")
            transaction.execute("INSERT INTO mine VALUES (1)")

            def leave() -> str:
                codes = []
                for sql in ("COMMIT", "ROLLBACK", "INSERT INTO mine VALUES (2)"):
                    try:
                        transaction.execute(sql)
                    except UsageError as error:
                        codes.append(error.code)
                return ",".join(codes)

            assert told_by_child(leave) == "forked,forked,forked"
            transaction.execute("INSERT INTO mine VALUES (3)")

        tables.write(block)
        assert tables.query("SELECT x FROM mine") == [(1,), (3,)]


# -- other ways to start a process ----------------------------------------------------------------


def _in_another_process(path: Path, count: int, into: Any) -> None:
    into.put(appended(path, f"process-{os.getpid()}", count))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    """Each way to start a process: the parent's store is open, each worker opens its own."""
    path = tmp_path / "log.db"
    context: Any = get_context(method)
    with refold.open(path) as store:
        filled(store)
        queue = context.Queue()
        workers = [
            context.Process(target=_in_another_process, args=(path, 5, queue)) for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        store.append("p", [EVENT])
        told: Told = {}
        for _ in workers:
            told |= queue.get(timeout=60)
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0]
    assert Counter(key.rpartition("-")[0] for key in told).most_common()[-1][1] == 5
    check_log(path, told)


def test_a_fork_from_a_thread(tmp_path: Path) -> None:
    """The thread that forks is the child's only one."""
    path, told = tmp_path / "log.db", Told()
    with refold.open(path, synchronous="NORMAL") as store:
        filled(store)
        thread = threading.Thread(
            target=lambda: told.update(told_by_child(lambda: appended(path, "child", 5)))
        )
        with Busy(lambda number: store.append("t", [EVENT]), threads=1):
            thread.start()
            thread.join()
    assert len(told) == 5
    check_log(path, told)


def test_threads_that_fork_at_once(tmp_path: Path) -> None:
    """They wait for each other; every child can open the log."""
    path, told = tmp_path / "log.db", Told()

    def work(number: int) -> None:
        told.update(told_by_child(lambda: appended(path, f"c{number}", 2)))

    with refold.open(path) as store:
        filled(store)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        store.append("p", [EVENT])
        for thread in threads:
            thread.join()
    assert len(told) == 8
    check_log(path, told)


def test_files_that_are_gone_stay_open_over_a_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is nowhere else any more: it can still be saved afterwards."""
    monkeypatch.setattr(rest, "REST_MAX_S", 0.05)
    path, saved = tmp_path / "log.db", tmp_path / "saved.db"
    with refold.open(path) as store:
        filled(store)
        for file in list(tmp_path.iterdir()):
            file.unlink()
        filled_by(path)
        told_by_child(lambda: None)
        with pytest.raises(refold.errors.BackendError) as gone:
            store.append("call-1", [EVENT])
        assert gone.value.code == "file_gone"
        store.backup(saved)
    with refold.open(saved) as again:
        assert again.log_head() == 3
