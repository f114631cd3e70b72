"""The store for asyncio: many tasks, cancelled ones, and its end."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.core.event import Event
from refold.core.fold import Decider, Fold
from refold.engine.aio import AsyncStore
from refold.engine.store import Store
from refold.errors import Conflict, NotFound, StoreClosed
from refold.ports import Batch, Outcome
from tests.support.stores import KINDS, url_of

COUNT: Fold[int] = Fold("count", lambda: 0)
COUNT.on("test.token")(lambda state, event: state + 1)
WAIT_S = 30


def token(name: str) -> list[Event]:
    """One event that says a name."""
    return [Event("test.token", {"token": name})]


def test_it_has_the_names_of_the_store() -> None:
    """Every verb of one is a verb of the other, with the same parameters."""
    for name, method in inspect.getmembers(Store, inspect.isfunction):
        if name.startswith("_"):
            continue
        twin = getattr(AsyncStore, name)
        assert inspect.signature(twin).parameters == inspect.signature(method).parameters, name


@pytest.mark.parametrize("url", KINDS)
def test_many_tasks_append_at_once(tmp_path: Path, url: str) -> None:
    """Each has its answer, versions are dense, and one of equal expectations wins."""

    async def append(store: AsyncStore, number: int) -> refold.Appended:
        return await store.append("call-1", token(f"{number}"))

    async def race(store: AsyncStore) -> bool:
        try:
            await store.append("race-1", token("won"), expected=refold.NO_STREAM)
        except Conflict:
            return False
        return True

    async def run() -> None:
        path = url_of(url, tmp_path)
        async with refold.open_async(path, synchronous="NORMAL") as store:
            answers = await asyncio.gather(*(append(store, number) for number in range(200)))
            assert sorted(answer.version for answer in answers) == list(range(200))
            assert sum(await asyncio.gather(*(race(store) for _ in range(20)))) == 1
            folded = await store.fold("call-1", COUNT)
            assert (folded.state, folded.version) == (200, 199)
            told = {answer.version: f"{number}" for number, answer in enumerate(answers)}
            async for event in store.read("call-1"):
                assert event.data["token"] == told[event.version]

    asyncio.run(run())


def test_all_that_append_together_at_once_share_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: no thread stands between them and the next commit."""
    commits: list[int] = []
    gate = threading.Event()
    commit = Store._commit

    def gated(self: Store, batches: Sequence[Batch]) -> Sequence[Outcome]:
        commits.append(len(batches))
        assert gate.wait(WAIT_S)
        return commit(self, batches)

    monkeypatch.setattr(Store, "_commit", gated)

    async def run() -> None:
        async with refold.open_async(tmp_path / "log.db") as store:
            parts = [refold.Append("a-1", token("a")), refold.Append("b-1", token("b"))]
            calls = [asyncio.create_task(store.append_together(parts)) for _ in range(100)]
            await asyncio.sleep(0)  # Each call has begun.
            gate.set()
            answers = await asyncio.gather(*calls)
            assert sorted(a.version for a, _ in answers) == list(range(100))
        assert len(commits) <= 2
        assert sum(commits) == 100

    asyncio.run(run())


def test_a_subscription_refuses_what_it_does_not_take_at_the_call() -> None:
    """Not at its first event, far from the mistake."""

    async def run() -> None:
        async with refold.open_async("memory:") as store:
            subscribe: Any = store.subscribe
            for args, named in (((), {"bogus": 1}), ((5,), {})):
                with pytest.raises(TypeError):
                    subscribe(*args, **named)

    asyncio.run(run())


def test_a_cancelled_append_may_be_stored_and_breaks_nothing(tmp_path: Path) -> None:
    """Its task ends at once; the others have their answers; the log is whole."""

    async def run() -> None:
        async with refold.open_async(tmp_path / "log.db", synchronous="NORMAL") as store:
            await store.append("call-1", token("first"))
            tasks = [
                asyncio.create_task(store.append("call-1", token(f"{number}")))
                for number in range(40)
            ]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(a, asyncio.CancelledError) for a in answers[::2])
            kept = [a for a in answers[1::2] if isinstance(a, refold.Appended)]
            assert len(kept) == 20
            await store.append("call-1", token("last"))
            events = [event async for event in store.read("call-1")]
            assert [e.version for e in events] == list(range(len(events)))
            assert {a.version for a in kept} <= {e.version for e in events}

    asyncio.run(run())


def test_it_is_opened_by_its_first_call_and_once(tmp_path: Path) -> None:
    """Not before; by however many calls at once."""
    opened: list[int] = []

    def opener() -> Store:
        opened.append(threading.get_ident())
        return refold.open("memory:")

    async def run() -> None:
        store = AsyncStore(opener)
        assert opened == []
        await asyncio.gather(*(store.head("call-1") for _ in range(10)))
        assert len(opened) == 1
        assert opened[0] != threading.get_ident()
        await store.close()

    asyncio.run(run())


def test_an_opening_that_fails_says_so_each_time(tmp_path: Path) -> None:
    """In ``async with``, and at the first call; closing what was never opened is fine."""

    async def run() -> None:
        store = refold.open_async(tmp_path / "none.db", mode="write")
        for _ in range(2):
            with pytest.raises(NotFound):
                await store.head("call-1")
        with pytest.raises(NotFound):
            async with store:
                raise AssertionError("it was not opened")
        await store.close()

    asyncio.run(run())


def test_a_closed_store_refuses_every_call(tmp_path: Path) -> None:
    """With ``StoreClosed``, as the blocking one does; closing again is fine."""

    async def run() -> None:
        store = refold.open_async(tmp_path / "log.db")
        await store.append("call-1", token("a"))
        branch = await store.branch("call-1")
        await store.close()
        await store.close()
        calls: list[Any] = [
            store.append("call-1", token("b")),
            store.head("call-1"),
            store.fold("call-1", COUNT),
            branch.save("call-1~b"),
        ]
        for call in calls:
            with pytest.raises(StoreClosed):
                await call
        with pytest.raises(StoreClosed):
            _ = [event async for event in store.read("call-1")]
        never_opened = refold.open_async(tmp_path / "other.db")
        await never_opened.close()
        with pytest.raises(StoreClosed):
            await never_opened.append("call-1", token("b"))
        assert not (tmp_path / "other.db").exists()

    asyncio.run(run())


def test_closing_waits_for_calls_under_way(tmp_path: Path) -> None:
    """A fold that has begun ends with its answer, not with a closed file."""
    begun, go_on = threading.Event(), threading.Event()
    slow: Fold[int] = Fold("slow", lambda: 0)

    @slow.on("test.token")
    def _(state: int, event: Any) -> int:
        begun.set()
        assert go_on.wait(WAIT_S)
        return state + 1

    async def run() -> None:
        store = refold.open_async(tmp_path / "log.db")
        await store.append("call-1", token("a"))
        folding = asyncio.create_task(store.fold("call-1", slow))
        assert await asyncio.to_thread(begun.wait, WAIT_S)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        assert not closing.done()
        go_on.set()
        assert (await folding).state == 1
        await closing
        assert [path.name for path in tmp_path.iterdir()] == ["log.db"]

    asyncio.run(run())


def test_a_read_that_is_given_up_holds_nothing(tmp_path: Path) -> None:
    """Leaving an iteration in the middle neither blocks the store nor its end."""

    async def run() -> None:
        async with refold.open_async(tmp_path / "log.db") as store:
            await store.append("call-1", token("a") * 600)
            async for event in store.read("call-1"):
                if event.version == 3:
                    break
            await store.append("call-1", token("b"))
            assert await store.head("call-1") == 600

    asyncio.run(run())


def test_commands_at_once_are_decided_one_after_the_other() -> None:
    """As with threads: each decision counts all before it."""
    decider: Decider[int, None] = Decider(
        COUNT, lambda command, state: [Event("test.token", {"saw": state})]
    )

    async def decide(store: AsyncStore) -> None:
        for _ in range(100):
            try:
                await store.execute("call-1", decider, None)
                return
            except Conflict:
                continue

    async def run() -> None:
        async with refold.open_async("memory:") as store:
            await asyncio.gather(*(decide(store) for _ in range(25)))
            saw = [event.data["saw"] async for event in store.read("call-1")]
        assert saw == list(range(25))

    asyncio.run(run())
