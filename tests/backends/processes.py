"""What runs in the child processes of the tests of this folder."""

from __future__ import annotations

from typing import Any

import refold
from tests.engine import budgets, conditional
from tests.engine.workload import work


def run_work(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """Open the log when all the others do, work on it, and send back the report."""
    barrier.wait(60)
    try:
        with refold.open(path, synchronous="NORMAL") as store:
            answers.put((worker, work(store, worker)))
    except Exception as error:
        answers.put((worker, repr(error)))


def run_conditional(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """The same with appends on conditions; the first worker packs the log meanwhile."""
    barrier.wait(60)
    try:
        with refold.open(path, synchronous="NORMAL") as store:
            reports = []
            for turn in range(3):
                reports.append(conditional.work(store, worker * 10 + turn))
                if worker == 0:
                    store.compact()
            answers.put((worker, reports))
    except Exception as error:
        answers.put((worker, repr(error)))


def spend(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """Spend from budgets that are shared with others until each says no."""
    barrier.wait(60)
    try:
        with refold.open(path, synchronous="NORMAL") as store:
            answers.put((worker, budgets.spend(store, worker)))
    except Exception as error:
        answers.put((worker, repr(error)))


def run_same_commands(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """Carry out commands that the others come with too, each in an order of its own."""
    barrier.wait(60)
    try:
        with refold.open(path, synchronous="NORMAL") as store:
            answers.put((worker, budgets.carry_out(store, worker)))
    except Exception as error:
        answers.put((worker, repr(error)))


def open_often(folder: str, files: int, barrier: Any, answers: Any) -> None:
    """Open one new file after another when all the others do, and append; send what failed."""
    failures = []
    for number in range(files):
        barrier.wait(60)
        try:
            with refold.open(f"{folder}/{number}.db", synchronous="NORMAL") as store:
                store.append("call-1", [refold.Event("a.b")])
        except Exception as error:
            failures.append(repr(error))
    answers.put(failures)


def hold_lock(path: str, locked: Any, release: Any) -> None:
    """Keep the write lock of the file until told to let go."""
    import apsw

    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    locked.set()
    release.wait(60)
    connection.execute("ROLLBACK")
    connection.close()
