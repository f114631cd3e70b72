"""Several processes append to one file at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import refold
from tests.backends.processes import run_work
from tests.engine.workload import Report, check_history

WORKERS = 4
WAIT_S = 60


def test_processes_share_a_file(tmp_path: Path) -> None:
    """They make it together, then keep every promise: no loss, no gap, no version with two winners.

    All four kinds of expected version, keys that several processes come with, several streams in
    one append; all of them new to each process.
    """
    path = str(tmp_path / "log.db")
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(WORKERS), context.Queue()
    processes = [
        context.Process(target=run_work, args=(path, worker, barrier, answers))
        for worker in range(WORKERS)
    ]
    for process in processes:
        process.start()
    reports = [answers.get(timeout=WAIT_S)[1] for _ in processes]
    for process in processes:
        process.join(WAIT_S)
        assert process.exitcode == 0
    assert [report for report in reports if not isinstance(report, Report)] == []
    with refold.open(path, mode="read") as store:
        check_history(store, reports)
