"""Following the log: catch-up then live, without a gap or a double."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.backends.memory import MemoryBackend
from refold.core.stored import Row
from refold.engine import aio
from refold.engine.store import Store
from refold.errors import BackendError

WAIT_S = 20


def numbered(numbers: Iterable[int]) -> list[refold.Event]:
    """Events that carry a number each."""
    return [refold.Event("n", {"n": number}) for number in numbers]


def append_elsewhere(path: str, count: int) -> None:
    """What another process does."""
    with refold.open(path) as store:
        for number in range(count):
            store.append("other-1", numbered([number]))


def test_catch_up_then_live(tmp_path: Path) -> None:
    """What was there comes first, what is appended meanwhile follows, each once and in order."""
    with refold.open(tmp_path / "a.db") as store, ThreadPoolExecutor(4) as pool:
        store.append("a-1", numbered(range(1_000)))

        def write(name: str) -> None:
            for number in range(50):
                store.append(name, numbered([number, number]))

        with store.subscribe() as subscription:
            writers = [pool.submit(write, f"b-{number}") for number in range(4)]
            events = list(islice(subscription, 1_400))
            for writer in writers:
                writer.result(WAIT_S)
        assert [event.position for event in events] == list(range(1, 1_401))
        assert subscription.position == 1_400


def test_a_position_goes_on_where_another_stopped(tmp_path: Path) -> None:
    """A subscription after the position of an earlier one starts with the very next event."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("a-1", numbered(range(10)))
        with store.subscribe() as first:
            list(islice(first, 4))
        with store.subscribe(after=first.position) as second:
            assert next(second).data == {"n": 4}


def test_a_position_that_the_log_does_not_have_is_refused(tmp_path: Path) -> None:
    """As where the log was restored from a backup: what comes would be skipped up to there."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("a-1", numbered(range(3)))
        subscription = store.subscribe(after=4)
        for _ in range(2):
            with pytest.raises(BackendError) as caught:
                next(subscription)
            assert caught.value.code == "log_went_back"
            assert (caught.value.position, caught.value.head) == (4, 3)
        assert not store.subscribe(after=3).fill()


def test_filters_by_category_and_type(tmp_path: Path) -> None:
    """Only wanted events come, and the position passes over the others."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("a-1", [refold.Event("x"), refold.Event("y")])
        store.append("b-1", [refold.Event("x"), refold.Event("y")])
        with store.subscribe(categories=["b"], types=["y"]) as subscription:
            assert next(subscription).id == "b-1@1"
            store.append("a-1", [refold.Event("x")])
            store.append("b-1", [refold.Event("y")])
            assert next(subscription).id == "b-1@2"


def test_closing_ends_a_waiting_thread(tmp_path: Path) -> None:
    """A thread that waits for the next event returns when the subscription or store closes."""
    for closes in ("subscription", "store"):
        store = refold.open(tmp_path / f"{closes}.db")
        subscription = store.subscribe()
        seen: list[refold.Recorded] = []
        started = threading.Event()

        def follow(
            subscription: Iterable[refold.Recorded] = subscription,
            seen: list[refold.Recorded] = seen,
            started: threading.Event = started,
        ) -> None:
            started.set()
            seen.extend(subscription)

        thread = threading.Thread(target=follow)
        thread.start()
        assert started.wait(WAIT_S)
        (subscription if closes == "subscription" else store).close()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert seen == []
        store.close()


def test_events_of_another_process_arrive(tmp_path: Path) -> None:
    """A subscriber sees what other processes append to the same file."""
    path = tmp_path / "a.db"
    with refold.open(path) as store, store.subscribe() as subscription:
        process = multiprocessing.get_context("spawn").Process(
            target=append_elsewhere, args=(str(path), 20)
        )
        process.start()
        events = list(islice(subscription, 20))
        process.join(WAIT_S)
        assert [event.id for event in events] == [f"other-1@{number}" for number in range(20)]


class Held(MemoryBackend):
    """A log whose readers wait for ``gate``, and that counts the rows that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.rows_given = 0

    def log(self, **wanted: Any) -> list[Row]:
        """As ever, late."""
        self.asked.set()
        assert self.gate.wait(WAIT_S)
        found = super().log(**wanted)
        self.rows_given += len(found)
        return found


def test_a_wait_that_is_cancelled_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives up waiting while a page is read, and comes back, goes on without a gap.

    The page that the first wait had asked for was replaced by that of the second.
    """
    # So that the second page, if one is asked for, is read when the first one has been.
    monkeypatch.setattr(aio, "THREADS_MAX", 1)

    async def run() -> None:
        backend = Held()
        async with refold.AsyncStore(lambda: Store(backend)) as store:
            await store.append("a-1", numbered(range(1_500)))
            async with store.subscribe() as subscription:
                waiting = asyncio.ensure_future(anext(subscription))
                assert await asyncio.to_thread(backend.asked.wait, WAIT_S)
                waiting.cancel()
                assert await asyncio.gather(waiting, return_exceptions=True)
                waiting = asyncio.ensure_future(anext(subscription))
                await asyncio.sleep(0)
                backend.gate.set()
                assert (await waiting).position == 1
                found = [(await anext(subscription)).position for _ in range(1_499)]
            assert found == list(range(2, 1_501))

    asyncio.run(asyncio.wait_for(run(), WAIT_S))


def test_catching_up_reads_each_append_once() -> None:
    """However many events an append holds: it is not read again for every page of them."""
    backend = Held()
    backend.gate.set()
    with Store(backend) as store:
        for _ in range(8):
            store.append("a-1", numbered(range(2_000)))
        with store.subscribe() as subscription:
            assert [e.position for e in islice(subscription, 16_000)] == list(range(1, 16_001))
        assert backend.rows_given <= 2 * 8


def test_many_async_subscribers_and_a_slow_one(tmp_path: Path) -> None:
    """Every subscriber of a loop gets everything; one that never reads holds nobody up."""

    async def run() -> None:
        async with refold.open_async(tmp_path / "a.db") as store:
            await store.append("a-1", numbered(range(300)))
            slow = store.subscribe()
            assert (await anext(slow)).position == 1

            async def follow() -> list[int]:
                async with store.subscribe() as subscription:
                    return [(await anext(subscription)).position for _ in range(400)]

            followers = [asyncio.create_task(follow()) for _ in range(10)]
            for number in range(100):
                await store.append("b-1", numbered([number]))
            for positions in await asyncio.wait_for(asyncio.gather(*followers), WAIT_S):
                assert positions == list(range(1, 401))
            await slow.close()
            assert [event async for event in slow] == []

    asyncio.run(run())
