"""Work goes on and off an event loop, ends when it is stopped, and holds nobody up."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from refold.event_loop import Interrupted, LoopThread, finished, on_thread


async def never() -> None:
    await asyncio.Event().wait()


async def stopped(work: "asyncio.Task[object]") -> object:
    """Cancel a task once it is under way; what it gives all the same."""
    await asyncio.sleep(0.01)
    work.cancel()
    return await work


def test_a_thread_gives_and_raises_what_its_calls_do() -> None:
    """Whoever is on no loop can use one, as often as needed."""

    async def fails() -> None:
        raise ValueError("x")

    thread = LoopThread()
    assert thread.run(asyncio.sleep(0, result=7)) == 7
    with pytest.raises(ValueError, match="x"):
        thread.run(fails())
    thread.close()
    assert not thread.is_alive()


def test_an_interrupt_waits_for_the_end_of_what_it_cancels() -> None:
    """Ctrl-C: what has to be put in order is, before the caller goes on."""
    ended: list[str] = []

    async def tidy() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await never()
        finally:
            await asyncio.sleep(0.05)
            ended.append("tidy")

    thread = LoopThread()
    with pytest.raises(KeyboardInterrupt):
        thread.run(tidy())
    assert ended == ["tidy"]
    thread.close()


INTERRUPTED_TWICE = """
import asyncio, os, signal, threading, time
from refold.event_loop import LoopThread, finished

def press():
    for _ in range(2):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

async def waits():
    await asyncio.to_thread(int)
    await finished(asyncio.sleep(30), grace_s=30)

async def blocks():
    await asyncio.to_thread(int)
    time.sleep(30)

async def stays():
    while True:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            pass

thread = LoopThread()
threading.Thread(target=press, daemon=True).start()
try:
    thread.run(WORK())
except KeyboardInterrupt:
    thread.close()
    print("ended")
"""


@pytest.mark.parametrize("work", ["waits", "blocks", "stays"])
def test_a_second_interrupt_waits_no_longer(work: str) -> None:
    """The process ends, and nothing but its own words is printed."""
    program = [sys.executable, "-c", INTERRUPTED_TWICE.replace("WORK", work)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_what_ends_within_the_grace_is_kept() -> None:
    """A cancelled task still gets the answer that was under way; the cancellation is not lost."""

    async def work() -> tuple[str, int]:
        answer = await finished(asyncio.sleep(0.05, result="paid for"), grace_s=10)
        task = asyncio.current_task()
        assert task is not None
        return answer, task.cancelling()

    async def main() -> object:
        return await stopped(asyncio.create_task(work()))

    assert asyncio.run(main()) == ("paid for", 1)


def test_what_hangs_is_cancelled_after_the_grace() -> None:
    """The end is not held up for ever."""

    async def main() -> object:
        return await stopped(asyncio.create_task(finished(never(), grace_s=0.05)))

    began_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert time.monotonic() - began_s < 5


def test_an_interrupt_in_a_task_does_not_break_the_loop() -> None:
    """It comes out as an error that names it."""

    async def pressed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as raised:
        asyncio.run(finished(pressed(), grace_s=1))
    assert isinstance(raised.value.__cause__, KeyboardInterrupt)


def test_a_call_on_a_thread_gives_or_raises() -> None:
    """It does not hold up the loop, and its error is its own."""

    def fails() -> None:
        raise ValueError("x")

    async def main() -> object:
        released = threading.Event()
        waiting = asyncio.create_task(on_thread(lambda: released.wait(10)))
        await asyncio.sleep(0)
        released.set()
        assert await waiting
        return await on_thread(fails)

    with pytest.raises(ValueError, match="x"):
        asyncio.run(main())


def test_a_call_that_hangs_does_not_hold_up_the_end() -> None:
    """Its thread is abandoned; that it ends later harms nobody."""
    released = threading.Event()

    async def main() -> object:
        return await stopped(asyncio.create_task(on_thread(released.wait)))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    released.set()
