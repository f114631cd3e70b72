"""Conditional appends of several processes on one file."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import refold
from tests.backends.processes import run_conditional, run_same_commands, spend
from tests.engine.budgets import check_budgets, check_commands
from tests.engine.conditional import check_conditions

PROCESSES = 4
WAIT_S = 120


def run(target: Callable[..., None], path: Path) -> list[Any]:
    """What each process told, in their order."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(PROCESSES), context.Queue()
    workers = [
        context.Process(target=target, args=(str(path), n, barrier, answers))
        for n in range(PROCESSES)
    ]
    try:
        for worker in workers:
            worker.start()
        told = dict(answers.get(timeout=WAIT_S) for _ in workers)
        for worker in workers:
            worker.join(WAIT_S)
    finally:
        for worker in workers:
            worker.kill()
            worker.join(WAIT_S)
    assert [error for error in told.values() if isinstance(error, str)] == []
    return [told[n] for n in range(PROCESSES)]


def test_processes_race_on_conditions(tmp_path: Path) -> None:
    """No condition is broken by another process, none is refused for nothing, all come through."""
    refold.open(tmp_path / "log.db").close()
    told = run(run_conditional, tmp_path / "log.db")
    with refold.open(tmp_path / "log.db", mode="read") as store:
        check_conditions(store, [report for reports in told for report in reports])


def test_processes_share_a_budget(tmp_path: Path) -> None:
    """Agents in several processes, each with a stream of its own, never spend more than there is.

    And never less: the budget is used up to the last unit.
    """
    refold.open(tmp_path / "log.db").close()
    told = run(spend, tmp_path / "log.db")
    with refold.open(tmp_path / "log.db", mode="read") as store:
        check_budgets(store, told)


def test_processes_come_with_the_same_commands(tmp_path: Path) -> None:
    """Each command is done or rejected once; everybody is told the same of it, every time."""
    refold.open(tmp_path / "log.db").close()
    told = run(run_same_commands, tmp_path / "log.db")
    with refold.open(tmp_path / "log.db", mode="read") as store:
        check_commands(store, told)
