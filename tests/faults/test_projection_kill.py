"""Processes that keep projections are killed at any moment; each event is in the rows once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

import refold
from refold.ports import TableKeeper
from refold.projections import Projector
from refold.projections.catalog import catalog_of
from tests.faults import projecting
from tests.projections.sums import folded, stored, sums
from tests.support.soak import bound

KILLS = bound(10, 100)
WAIT_S = 60


class Role(NamedTuple):
    """What a process does until it is killed."""

    work: Callable[[str, int], None]
    number: int = 0


CASTS = {
    "two followers and a rebuild": [
        Role(projecting.follow),
        Role(projecting.follow),
        Role(projecting.rebuild),
    ],
    "three followers": [Role(projecting.follow)] * 3,
    "beside a compaction": [
        Role(projecting.follow),
        Role(projecting.rebuild),
        Role(projecting.compact),
    ],
    "inline beside a follower": [
        Role(projecting.append_inline, 1),
        Role(projecting.append_inline, 2),
        Role(projecting.follow),
    ],
}


def started(role: Role, path: Path) -> BaseProcess:
    """A process at work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.projecting"])
    args = (str(path), role.number)
    process = context.Process(target=role.work, args=args, daemon=True)
    process.start()
    return process


def killed(process: BaseProcess) -> None:
    """End it at once, with no chance to tidy up."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(WAIT_S)
    assert process.exitcode == -signal.SIGKILL, "it had ended before, by itself"


def check_copy(path: Path) -> int:
    """In a copy of one moment the rows are a fold of what their progress says; how far they are."""
    with refold.open(path, mode="read") as copy:
        keeper = copy._backend
        assert isinstance(keeper, TableKeeper)
        position = catalog_of(keeper).started("sums").shown.position
        seen = (event for event in copy.read_all() if event.position <= position)
        assert stored(Projector(copy, [sums()])) == folded(seen)
        return position


@pytest.mark.parametrize("cast", CASTS)
def test_rows_equal_a_fold_whoever_is_killed(cast: str, tmp_path: Path) -> None:
    """Killed again and again while the log grows: at each moment, and in the end, sums agree."""
    random, path = Random(cast), tmp_path / "log.db"
    roles, reached = CASTS[cast], [0]
    with refold.open(path, synchronous="NORMAL") as store:
        Projector(store, [sums()]).catch_up()
        processes = [started(role, path) for role in roles]
        try:
            for number in range(KILLS):
                ends = [
                    store.append(f"s-{n % 4}", projecting.events(n + number)).position
                    for n in range(random.randint(1, 120))
                ]
                # Somewhere on the way: what is left is being worked on when it is killed.
                store.wait_for("sums", random.choice(ends), timeout_s=WAIT_S)
                victim = random.randrange(len(roles))
                killed(processes[victim])
                copy = tmp_path / f"copy-{number}.db"
                store.backup(copy)
                reached.append(check_copy(copy))
                processes[victim] = started(roles[victim], path)
            store.wait_for("sums", store.log_head(), timeout_s=WAIT_S)
        finally:
            for process in processes:
                process.kill()
                process.join(WAIT_S)
        Projector(store, [sums()]).catch_up()
        assert stored(Projector(store, [sums()])) == folded(store.read_all())
        assert len(set(reached)) > 2, "the processes did nothing"
        assert [check for check in store.check() if not check.good] == []
