"""Threads that append at once: through one store, and each through its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import refold
from refold.core.event import Event
from refold.core.fold import Decider, Fold
from refold.engine.store import Store
from refold.errors import Conflict
from tests.engine.workload import Report, check_history, work
from tests.support.stores import KINDS, url_of

WORKERS = 5
WAIT_S = 60


def at_once(call: Callable[[int], Report]) -> list[Report]:
    """The reports of workers that begin together."""
    barrier = threading.Barrier(WORKERS)

    def run(worker: int) -> Report:
        barrier.wait(timeout=WAIT_S)
        return call(worker)

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(run, range(WORKERS), timeout=WAIT_S))


@pytest.mark.parametrize("url", KINDS)
def test_threads_share_a_store(tmp_path: Path, url: str) -> None:
    """Nothing acknowledged is lost or stands twice; each version has one winner."""
    with refold.open(url_of(url, tmp_path), synchronous="NORMAL") as store:
        check_history(store, at_once(lambda worker: work(store, worker)))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_threads_have_a_store_each(tmp_path: Path, kind: str) -> None:
    """Stores that know of each other only through the log keep the same promises."""
    url = url_of(kind, tmp_path)

    def run(worker: int) -> Report:
        with refold.open(url, synchronous="NORMAL") as store:
            return work(store, worker)

    reports = at_once(run)
    with refold.open(url, mode="read") as store:
        check_history(store, reports)


@pytest.mark.parametrize("url", KINDS)
def test_readers_never_see_a_gap(tmp_path: Path, url: str) -> None:
    """While others append, every read of the log is a whole start of it, every state a true one."""
    fold: Fold[int] = Fold("count", lambda: 0)
    fold.on("test.token")(lambda state, event: state + 1)
    done = threading.Event()

    def look(store: Store) -> int:
        looks = 0
        while not done.is_set():
            before = store.log_head()
            positions = [e.position for e in store.read_all()]
            assert positions == list(range(1, len(positions) + 1))
            assert len(positions) >= before
            if store.head("any-1") >= 0:
                folded = store.fold("any-1", fold)
                assert folded.state == folded.version + 1
            looks += 1
        return looks

    path = url_of(url, tmp_path)
    with refold.open(path, synchronous="NORMAL") as store, ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(look, store) for _ in range(2)]
        try:
            check_history(store, at_once(lambda worker: work(store, worker)))
        finally:
            done.set()
        assert all(reader.result(WAIT_S) > 0 for reader in readers)


@pytest.mark.parametrize("url", KINDS)
def test_commands_at_once_are_decided_one_after_the_other(tmp_path: Path, url: str) -> None:
    """Each decision counts all before it: no two saw the same state."""
    fold: Fold[int] = Fold("count", lambda: 0)
    fold.on("test.counted")(lambda state, event: state + 1)
    decider: Decider[int, int] = Decider(
        fold, lambda command, state: [Event("test.counted", {"saw": state})]
    )
    path = url_of(url, tmp_path)
    with refold.open(path, synchronous="NORMAL") as store:

        def execute(worker: int) -> Report:
            for _ in range(10):
                for _attempt in range(100):
                    try:
                        store.execute("count-1", decider, worker)
                        break
                    except Conflict:
                        continue
            return Report([], [])

        at_once(execute)
        saw = [e.data["saw"] for e in store.read("count-1")]
    assert saw == list(range(10 * WORKERS))
