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

import psycopg
import pytest

import refold
from refold.backends.postgres.address import parsed
from refold.ports import TableKeeper
from refold.projections import Projector
from refold.projections.catalog import catalog_of
from tests.faults import projecting
from tests.projections.sums import Sum, folded, stored, sums
from tests.support import postgres
from tests.support.soak import bound

KILLS = bound(10, 100)
KILLS_BESIDE_A_SERVER = bound(4, 40)
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


def started(role: Role, url: str) -> BaseProcess:
    """A process at work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.projecting"])
    args = (url, role.number)
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


def check_moment(url: str) -> int:
    """The same where a transaction of the server sees one moment."""
    with psycopg.connect(**parsed(url).conninfo) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        schema = parsed(url).schema
        session.execute(f"SET search_path TO {schema}".encode())
        # Before the moment: what a name means is looked up anew by each statement.
        session.execute("LOCK TABLE sums, kinds IN ACCESS SHARE MODE")
        ((position,),) = session.execute(
            "SELECT p.position FROM refold_progress AS p JOIN refold_projections AS c "
            "ON c.name = p.projection AND c.current = p.generation WHERE c.name = 'sums'"
        )
        sums_of = {row[0]: Sum(*row) for row in session.execute("SELECT * FROM sums")}
        kinds = dict(session.execute("SELECT type, events FROM kinds").fetchall())
    with refold.open(url, mode="read") as store:
        seen = (event for event in store.read_all() if event.position <= position)
        assert (sums_of, kinds) == folded(seen)
    return int(position)


def kept_whoever_is_killed(
    cast: str, url: str, kills: int, check: Callable[[refold.Store, int], int]
) -> None:
    """Kill one of a cast again and again while the log grows; what is there is checked each time.

    ``check`` gives how far the rows had come at some moment, having compared them.
    """
    random, roles, reached = Random(cast), CASTS[cast], [0]
    with refold.open(url, synchronous="NORMAL") as store:
        Projector(store, [sums()]).catch_up()
        processes = [started(role, url) for role in roles]
        try:
            for number in range(kills):
                ends = [
                    store.append(f"s-{n % 4}", projecting.events(n + number)).position
                    for n in range(random.randint(1, 120))
                ]
                # Somewhere on the way: what is left is being worked on when it is killed.
                store.wait_for("sums", random.choice(ends), timeout_s=WAIT_S)
                victim = random.randrange(len(roles))
                killed(processes[victim])
                reached.append(check(store, number))
                processes[victim] = started(roles[victim], url)
            store.wait_for("sums", store.log_head(), timeout_s=WAIT_S)
        finally:
            for process in processes:
                process.kill()
                process.join(WAIT_S)
        Projector(store, [sums()]).catch_up()
        assert stored(Projector(store, [sums()])) == folded(store.read_all())
        assert len(set(reached)) > 2, "the processes did nothing"
        assert [check for check in store.check() if not check.good] == []


@pytest.mark.parametrize("cast", CASTS)
def test_rows_equal_a_fold_whoever_is_killed(cast: str, tmp_path: Path) -> None:
    """Killed again and again while the log grows: at each moment, and in the end, sums agree."""

    def check(store: refold.Store, number: int) -> int:
        copy = tmp_path / f"copy-{number}.db"
        store.backup(copy)
        return check_copy(copy)

    kept_whoever_is_killed(cast, str(tmp_path / "log.db"), KILLS, check)


@pytest.mark.parametrize("cast", [one for one in CASTS if "compaction" not in one])
def test_rows_in_postgresql_equal_a_fold_whoever_is_killed(cast: str) -> None:
    """The same with the log and the rows in a server."""
    url = postgres.schema_of_its_own()
    kept_whoever_is_killed(cast, url, KILLS_BESIDE_A_SERVER, lambda *_: check_moment(url))
