"""What runs in the child processes of the tests of this folder."""

from __future__ import annotations

from typing import Any

import refold
from tests.engine.workload import work


def run_work(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """Open the log when all the others do, work on it, and send back the report."""
    barrier.wait(60)
    try:
        with refold.open(path, synchronous="NORMAL") as store:
            answers.put((worker, work(store, worker)))
    except Exception as error:
        answers.put((worker, repr(error)))


def append_often(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """Append to a stream of its own until told to stop, as fast as it goes."""
    with refold.open(path, synchronous="NORMAL") as store:
        barrier.wait(60)
        count = 0
        while not answers.empty() or count < 10:
            store.append(f"busy-{worker}", [refold.Event("test.busy", {"n": count})])
            count += 1


def hold_lock(path: str, locked: Any, release: Any) -> None:
    """Keep the write lock of the file until told to let go."""
    import apsw

    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    locked.set()
    release.wait(60)
    connection.execute("ROLLBACK")
    connection.close()

