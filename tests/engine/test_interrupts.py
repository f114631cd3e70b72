"""Ctrl-C in the thread that commits for others, at any step: nobody is left waiting.

Found by interrupting a thread thousands of times: one interrupt between two steps of handing the
lead over, and all who waited, waited for ever.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest

import refold
from refold.core.expected import ANY
from refold.engine import group_commit
from refold.engine.group_commit import GroupCommit
from refold.errors import OutcomeUnknown
from refold.ports import Appended, Batch, Outcome, Write

STEPS = ["before the commit", "after the commit", "taking", "taken", "handing over", "waking"]
WAIT_S = 30
STORED = [Appended("a", 0, 1, 1, 0)]


def batch(name: str) -> list[Batch]:
    """What one caller appends."""
    return [Batch([Write(name, ANY, ("x",), None, "[]")])]


class Log:
    """Commits in memory; the first is held until there are others waiting."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.stored: list[str] = []

    def commit(self, batches: Sequence[Batch]) -> list[Outcome]:
        """Store them."""
        assert self.go.wait(WAIT_S)
        outcomes: list[Outcome] = []
        for one in batches:
            self.stored.append(one.writes[0].stream)
            outcomes.append([Appended(one.writes[0].stream, 0, 1, 1, 0)])
        return outcomes


class Interrupts:
    """Raises KeyboardInterrupt at the n-th pass of a step, once."""

    def __init__(self, left: int) -> None:
        self.left = left

    def at(self, call: Any, *, after: bool) -> Any:
        """The call with the interrupt before or after it."""

        def interrupted(*args: Any) -> Any:
            answer = call(*args) if after else None
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return answer if after else call(*args)

        return interrupted


def interrupted_at(
    step: str, left: int, log: Log, writer: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let an interrupt come at a step of a writer, when others wait."""
    interrupts = Interrupts(left)
    match step:
        case "before the commit" | "after the commit":
            commit = interrupts.at(log.commit, after=step.startswith("after"))

            def with_others(batches: Sequence[Batch]) -> Any:
                assert log.go.wait(WAIT_S)
                return commit(batches)

            monkeypatch.setattr(writer, "_commit", with_others)
        case "taking" | "taken":
            after = step == "taken"
            monkeypatch.setattr(writer, "_taken", interrupts.at(writer._taken, after=after))
        case "handing over":
            call = interrupts.at(writer._hand_over, after=False)
            monkeypatch.setattr(writer, "_hand_over", call)
        case _:
            call = interrupts.at(group_commit._wake_all, after=False)
            monkeypatch.setattr(group_commit, "_wake_all", call)


def told(append: Any) -> str:
    """What a caller is told."""
    try:
        append()
    except KeyboardInterrupt:
        return "interrupted"
    except OutcomeUnknown:
        return "unknown"
    return "stored"


@pytest.mark.parametrize("left", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_threads_that_wait_are_told(step: str, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is stored once, or told that it is not known; the writer goes on, and closes."""
    log = Log()
    writer = GroupCommit(log.commit)
    interrupted_at(step, left, log, writer, monkeypatch)
    names = [f"call-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as pool:
        futures = [pool.submit(told, lambda n=name: writer.append(batch(n))) for name in names]
        until = threading.Event()
        while len(writer._waiting) < len(names) - 1 and not until.wait(0.01):
            assert not any(future.done() for future in futures)
        log.go.set()
        answers = dict(zip(names, (f.result(timeout=WAIT_S) for f in futures), strict=True))
    assert len(set(log.stored)) == len(log.stored)
    assert {name for name, answer in answers.items() if answer == "stored"} <= set(log.stored)
    assert told(lambda: writer.append(batch("last-1"))) in ("stored", "interrupted")
    assert told(lambda: writer.append(batch("last-2"))) == "stored"
    writer.close()


@pytest.mark.parametrize("step", ["before the commit", "after the commit", "handing over"])
def test_tasks_that_wait_are_told(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that was interrupted is not theirs, yet it was to wake theirs."""
    log = Log()
    writer = GroupCommit(log.commit)
    interrupted_at(step, 1, log, writer, monkeypatch)

    async def ask() -> list[object]:
        first = asyncio.get_running_loop().run_in_executor(
            None, told, lambda: writer.append(batch("call-0"))
        )
        while not writer._busy:
            await asyncio.sleep(0.001)
        tasks = [asyncio.ensure_future(writer.append_async(batch(f"call-{n}"))) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        log.go.set()
        gathered = asyncio.gather(first, *tasks, return_exceptions=True)
        return list(await asyncio.wait_for(gathered, WAIT_S))

    answers = asyncio.run(ask())
    assert len(set(log.stored)) == len(log.stored)
    for number, answer in enumerate(answers[1:], start=1):
        assert isinstance(answer, OutcomeUnknown | KeyboardInterrupt) or (
            f"call-{number}" in log.stored
        )
    writer.close()


def test_an_interrupt_before_the_writer_thread_is_there_leaves_a_writer_that_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found in review: a task that was queued waited for a thread that nobody had started."""
    start, interrupted = GroupCommit._start_thread, iter([True])

    def interrupt(self: GroupCommit) -> None:
        if next(interrupted, False):
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(GroupCommit, "_start_thread", interrupt)
    writer = GroupCommit(lambda batches: [STORED for _ in batches])
    batch = Batch([])
    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(writer.append_async([batch]))
    assert writer.append([batch]) == [STORED]
    assert loop.run_until_complete(writer.append_async([batch])) == [STORED]
    closing = threading.Thread(target=writer.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    loop.close()


def test_an_interrupt_as_the_writer_thread_says_that_it_runs_leaves_no_writer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found in review: two writers waited to be woken, and close() woke the one it did not join."""
    start, started = threading.Thread.start, list[threading.Thread]()

    def interrupt(self: threading.Thread) -> None:
        start(self)
        started.append(self)
        if len(started) == 1:
            raise KeyboardInterrupt

    writer = GroupCommit(lambda batches: [STORED for _ in batches])
    loop = asyncio.new_event_loop()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(writer.append_async([Batch([])]))
        assert loop.run_until_complete(writer.append_async([Batch([])])) == [STORED]
    closing = threading.Thread(target=writer.close, daemon=True)
    closing.start()
    for thread in (closing, *started):
        thread.join(10)
        assert not thread.is_alive()
    loop.close()


def test_an_interrupt_as_the_writer_thread_is_woken_leaves_nobody_waiting() -> None:
    """Wherever Python code wakes it: the next append has its outcome, and the store closes."""
    for step in range(1, 20):
        store = refold.open_async("memory:")

        async def append(store: refold.AsyncStore) -> int:
            return (await store.append("a", [refold.Event("e", {})])).version

        asyncio.run(append(store))
        events = [step]

        def interrupted(frame: FrameType, _event: str, _: object, left: list[int] = events) -> Any:
            if frame.f_code.co_filename == threading.__file__:
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt
            return partial(interrupted, left=left)

        async def interrupt(store: refold.AsyncStore, trace: Any = interrupted) -> None:
            sys.settrace(trace)
            try:
                await store.append("a", [refold.Event("e", {})])
            finally:
                sys.settrace(None)

        with suppress(KeyboardInterrupt):
            asyncio.run(interrupt(store))
        assert asyncio.run(asyncio.wait_for(append(store), 5)) >= 1
        asyncio.run(store.close())
