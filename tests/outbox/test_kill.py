"""Worker processes killed at any moment, against a service that counts what it performs."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest

import refold
from refold.outbox import EffectRequested, Outbox
from tests.outbox import victim
from tests.outbox.service import WAIT_S, EffectServer
from tests.support.soak import bound
from tests.support.stores import KINDS, url_of

KILLS = bound(6, 20)
LOGS = bound(2, 6)


@contextmanager
def at_work(url: str, port: int, size: int) -> Iterator[list[BaseProcess]]:
    """So many worker processes; none is left behind."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.outbox.victim"])
    args = (url, port)
    workers = [context.Process(target=victim.work, args=args, daemon=True) for _ in range(size)]
    try:
        for worker in workers:
            worker.start()
        yield list(workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.join(WAIT_S)


def kill(worker: BaseProcess) -> None:
    """End it at once, with no chance to tidy up."""
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(WAIT_S)
    assert worker.exitcode == -signal.SIGKILL, "it had ended before, by itself"


def finish(url: str, port: int) -> None:
    """A last worker, that is let live, and what must be true when it has caught up."""
    with refold.open(url, mode="write") as store:
        wanted = {e.id for e in store.read_all(types=["effect.requested"])}
        with at_work(url, port, 1):
            settled: set[str] = set()
            for event in store.subscribe(types=["effect.committed", "effect.failed"]):
                settled.add(event.data["effect"])
                if settled == wanted:
                    break
        recorded = list(store.read_all(types=["effect.committed", "effect.failed"]))
        assert Counter(e.data["effect"] for e in recorded) == Counter(wanted)
        assert {(e.type, e.data["reference"]) for e in recorded} == {
            ("effect.committed", f"done-{key}") for key in wanted
        }
        assert [check for check in store.check() if not check.good] == []
        assert Outbox(store, {}).status().pending == 0


@pytest.mark.parametrize(("number", "kind"), [*((n, "log.db") for n in range(LOGS)), (0, KINDS[2])])
def test_killed_workers_perform_each_effect_once(tmp_path: Path, number: int, kind: str) -> None:
    """One or two workers are killed again and again while effects are asked for.

    Each effect was performed under one key, however often it was asked for; each has exactly one
    outcome, and none is lost.
    """
    random = Random(number)
    url, asked = url_of(kind, tmp_path), 0
    with EffectServer() as service, refold.open(url, synchronous="NORMAL") as store:
        for _ in range(KILLS):
            for _ in range(random.randint(5, 15)):
                size = random.randint(1, 4)
                events = [EffectRequested("charge", {"n": n}) for n in range(size)]
                asked += store.append(f"order-{random.randint(1, 20)}", events).event_count
            workers = random.randint(1, 2)
            with at_work(url, service.port, workers) as running:
                service.await_asked(service.asked.total() + random.randint(1, 5))
                for worker in running:
                    kill(worker)
        finish(url, service.port)
        assert len(service.performed) == asked
        assert set(service.performed.values()) == {1}


@pytest.mark.parametrize("kind", KINDS[1:])
def test_killed_between_the_effect_and_its_outcome(kind: str, tmp_path: Path) -> None:
    """The service has performed and not answered: the next worker asks under the same key."""
    url = url_of(kind, tmp_path)
    with EffectServer() as service, refold.open(url, synchronous="NORMAL") as store:
        store.append("order-1", [EffectRequested("charge")] * 3)
        service.hold()
        with at_work(url, service.port, 1) as (worker,):
            for _ in range(3):
                assert service.held.acquire(timeout=WAIT_S)
            kill(worker)
        assert Outbox(store, {}).status().pending == 3
        service.release()
        finish(url, service.port)
        assert service.performed == Counter({f"order-1@{n}": 1 for n in range(3)})
        assert service.asked == Counter({f"order-1@{n}": 2 for n in range(3)})


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_worker_that_is_told_to_end_records_what_it_has_begun(kind: str, tmp_path: Path) -> None:
    """After SIGTERM it takes nothing new, waits for its answers, and ends by itself."""
    url = url_of(kind, tmp_path)
    with EffectServer() as service, refold.open(url, synchronous="NORMAL") as store:
        store.append("order-1", [EffectRequested("charge")] * 5)
        service.hold()
        with at_work(url, service.port, 1) as (worker,):
            for _ in range(3):
                assert service.held.acquire(timeout=WAIT_S)
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGTERM)
            assert worker.is_alive()
            service.release()
            worker.join(WAIT_S)
            assert worker.exitcode == 0
        status = Outbox(store, {}).status()
        assert status.committed >= 3
        assert status.committed == service.asked.total()
        finish(url, service.port)
