"""What was opened in one process is refused in every one that is forked from it."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.errors import UsageError
from tests.forks.uses import EVENT, async_outcome, async_uses_of, filled, outcome, uses_of
from tests.support.forking import Busy, told_by_child


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_every_use_is_refused(kind: str, tmp_path: Path) -> None:
    """Whatever ends in the store: the child is told so, and nothing is different afterwards."""
    url = "memory:" if kind == "memory" else tmp_path / "log.db"
    with refold.open(url) as store:
        filled(store)
        uses = uses_of(store, None if kind == "memory" else tmp_path)
        before = [event.id for event in store.read_all()]
        found = told_by_child(lambda: {name: outcome(use) for name, use in uses.items()})
        assert found == dict.fromkeys(uses, "forked")
        assert [event.id for event in store.read_all()] == before


def test_a_store_that_only_reads_is_refused_too(tmp_path: Path) -> None:
    """Its connections have no locks in a child either."""
    with refold.open(tmp_path / "log.db") as store:
        filled(store)
        with refold.open(tmp_path / "log.db", mode="read") as reading:
            uses = [reading.log_head, lambda: list(reading.read("call-1")), lambda: reading.sizes()]
            found = told_by_child(lambda: [outcome(use) for use in uses])
    assert found == ["forked"] * 3


def test_every_awaited_use_is_refused(tmp_path: Path) -> None:
    """The same for asyncio: a call raises, where a thread of the parent's would have to answer."""
    store = refold.open_async(tmp_path / "log.db")

    async def opened() -> None:
        await store.append("call-1", [EVENT])

    asyncio.run(opened())
    uses = async_uses_of(store)
    found = told_by_child(lambda: {name: async_outcome(use) for name, use in uses.items()})
    assert found == dict.fromkeys(uses, "forked")
    asyncio.run(store.close())


def test_the_error_says_what_to_do(tmp_path: Path) -> None:
    """It names both processes and the way out."""
    with refold.open(tmp_path / "log.db") as store:
        with pytest.raises(UsageError, match="open the store here, after the fork") as refused:
            told_by_child(lambda: store.append("call-1", [EVENT]))
        assert refused.value.code == "forked"
        assert refused.value.opened_in == os.getpid() != refused.value.process


def test_a_grandchild_is_refused_too(tmp_path: Path) -> None:
    """However far down: also where a child has a store of its own open."""

    def child() -> list[str]:
        with refold.open(tmp_path / "log.db") as own:
            own.append("call-1", [EVENT])
            mine = told_by_child(lambda: outcome(own.log_head))
            inherited = told_by_child(lambda: outcome(store.log_head))
            return [mine, inherited, outcome(own.log_head), outcome(store.log_head)]

    with refold.open(tmp_path / "log.db") as store:
        assert told_by_child(child) == ["forked", "forked", "1", "forked"]


def test_a_number_that_comes_again_is_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descendant that got the number of the process that opened the store is refused."""
    with refold.open(tmp_path / "log.db") as store:
        number = os.getpid()

        def child() -> str:
            # As the operating system gives numbers again.
            monkeypatch.setattr("refold.process.getpid", lambda: number)
            monkeypatch.setattr("refold.engine.group_commit.getpid", lambda: number)
            return outcome(lambda: store.append("call-1", [EVENT]))

        assert told_by_child(child) == "forked"


def test_an_async_store_that_was_never_used_is_the_childs(tmp_path: Path) -> None:
    """It opens its file at the first call, and belongs to the process that made it."""
    store = refold.open_async(tmp_path / "log.db")

    async def used() -> int:
        async with store:
            return (await store.append("call-1", [EVENT])).position

    assert told_by_child(lambda: asyncio.run(used())) == 1
    assert asyncio.run(used()) == 2


# -- ends that are not asked for ----------------------------------------------------------------


def ran_alone(program: str) -> None:
    """Run a program in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def leaves_a_block(store: refold.Store) -> None:
    """Ends the block that the store was opened in."""
    with store:
        pass


def collects(store: refold.Store) -> None:
    """Drops the connections that there are, whoever has them."""
    vars(store).clear()
    gc.collect()


ENDS: dict[str, Callable[[refold.Store], object]] = {
    "close": lambda store: store.close(),
    "a block": leaves_a_block,
    "collected": collects,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("mode", ["write", "read"])
def test_the_end_of_an_inherited_store_touches_nothing(end: str, mode: Any, tmp_path: Path) -> None:
    """Closed, left or collected in a child: the parent's files and locks stay as they are."""
    path = tmp_path / "log.db"
    with refold.open(path) as writer, refold.open(path, mode=mode) as store:
        filled(writer)
        # Held open over the fork: a diagnosis is under way.
        checking = store.check()
        next(checking)
        held = [writer.check(), store.check()]
        gc.collect()  # What other tests left: of that a child is not to be rid.
        told_by_child(lambda: ENDS[end](store))
        assert (tmp_path / "log.db-wal").stat().st_size > 0
        assert all(check.good for check in checking)
        del held
        assert writer.append("call-1", [EVENT]).position == 4
    with refold.open(path) as again:
        assert again.log_head() == 4


def test_a_child_that_exits_finalizes_nothing_of_its_parents(tmp_path: Path) -> None:
    """An interpreter that ends collects its modules, and what the parent has open is not closed."""
    path = tmp_path / "log.db"
    program = f"""
import os, sys
import refold
store = refold.open({str(path)!r})
store.append("s", [refold.Event("e", {{}})])
reading = store._backend._reading()
connection = reading.__enter__()
assert connection.execute("SELECT count(*) FROM log").get == 1
if os.fork() == 0:
    sys.exit(0)
_, status = os.wait()
assert status == 0, status
assert os.path.getsize({str(path)!r} + "-wal") > 0
assert connection.execute("SELECT count(*) FROM log").get == 1
assert store.append("s", [refold.Event("e", {{}})]).position == 2
store.close()
"""
    ran_alone(program)


def test_an_async_store_is_left_alone_too(tmp_path: Path) -> None:
    """Its end in a child neither waits for threads that are not there nor closes anything."""

    async def story() -> None:
        async with refold.open_async(tmp_path / "log.db") as store:
            await store.append("call-1", [EVENT])
            assert told_by_child(lambda: asyncio.run(store.close())) is None
            assert (await store.append("call-1", [EVENT])).position == 2

    asyncio.run(story())


# -- locks that threads of the parent hold --------------------------------------------------------


@contextmanager
def held_by_a_thread(locks: Sequence[Any]) -> Iterator[None]:
    """Another thread holds the locks for the length of a block."""
    has, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            has.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    has.wait()
    yield
    done.set()
    thread.join()


def test_a_lock_that_a_thread_holds_hangs_no_child(tmp_path: Path) -> None:
    """Forked in the midst of threads at everything at once, a child is refused and goes on."""
    with refold.open(tmp_path / "log.db") as store, refold.open("memory:") as memory:
        filled(store)
        filled(memory)
        uses = {**uses_of(store, tmp_path)}
        in_memory = uses_of(memory, None)

        def work(number: int) -> None:
            one = memory if number % 2 else store
            one.append(f"call-{number + 5}", [EVENT])
            one.log_head()

        with Busy(work, threads=4):
            for _ in range(5):
                found = told_by_child(lambda: {n: outcome(use) for n, use in uses.items()})
                assert found == dict.fromkeys(uses, "forked")
                found = told_by_child(lambda: {n: outcome(use) for n, use in in_memory.items()})
                assert found == dict.fromkeys(in_memory, "forked")


def test_locks_held_at_the_fork_are_not_waited_for(tmp_path: Path) -> None:
    """Each lock that a thread may hold is held: the check comes before all of them."""
    with refold.open(tmp_path / "log.db") as store, refold.open("memory:") as memory:
        filled(store)
        filled(memory)
        uses = [*uses_of(store, tmp_path).items(), *uses_of(memory, None).items()]
        locks = [
            store._writer._mutex,
            store._turns._mutex.lock,
            store._bell._woken,
            store._backend._write_lock,  # type: ignore[attr-defined]
            store._backend._tables._turn.lock,  # type: ignore[attr-defined]
            memory._writer._mutex,
            memory._turns._mutex.lock,
            memory._backend._lock.lock,  # type: ignore[attr-defined]
            memory._backend._tables._turn.lock,  # type: ignore[attr-defined]
        ]
        with held_by_a_thread(locks):
            found = told_by_child(lambda: [(name, outcome(use)) for name, use in uses])
        assert found == [(name, "forked") for name, _ in uses]


# -- forks that Python is not told of ----------------------------------------------------------


def test_a_fork_in_c_is_seen_too(tmp_path: Path) -> None:
    """As some servers make them: use, end and opening are refused, the parent's file is whole."""
    program = f"""
import ctypes, gc, os
import refold
from refold import Event

event, path = Event("e", {{}}), {str(tmp_path / "log.db")!r}


def code(use):
    try:
        use()
    except refold.RefoldError as error:
        return error.code


async def appended():
    await waiting.append("s", [event])


import asyncio
store, memory = refold.open(path), refold.open("memory:")
waiting = refold.open_async(path)
asyncio.run(appended())
store.append("s", [event])
store.log_head()
memory.append("s", [event])
if ctypes.PyDLL(None).fork() == 0:
    uses = [
        lambda: store.append("s", [event]),
        store.log_head,
        lambda: list(store.read_all()),
        lambda: memory.append("s", [event]),
        memory.log_head,
        lambda: asyncio.run(appended()),
        lambda: refold.open(path),
    ]
    codes = [code(use) for use in uses]
    store.close()
    memory.close()
    asyncio.run(waiting.close())
    vars(store).clear()
    gc.collect()
    os._exit(0 if codes == ["forked"] * len(uses) else 1)
_, status = os.wait()
assert status == 0, status
assert os.path.getsize(path + "-wal") > 0
assert store.append("s", [event]).position == 3
assert all(check.good for check in store.check())
"""
    ran_alone(program)
