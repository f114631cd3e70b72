"""On and off an event loop: from callers that are on none, and for calls that block it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from inspect import isawaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")

ABANDONED_S: Final = 1.0
_STOPPED: Final = "coroutine raised StopIteration"
SEEN_S: Final = 1.0
"""How long an interrupt may go unseen that comes between two steps of waiting."""


async def answered(given: Any) -> Any:
    """What is given: at once, or where it is awaited."""
    return await given if isawaitable(given) else given


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives or raises in which nothing waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    except RuntimeError as error:  # No coroutine may let this one out, as what it calls may.
        if str(error) == _STOPPED and isinstance(error.__cause__, StopIteration):
            raise error.__cause__ from None
        raise
    raise AssertionError("what was to be done at once waits")


class LoopThread:
    """An event loop on a thread of its own.

    A daemon: what hangs on it must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ending_max_s: float | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """False in a process that was forked from the one with the thread."""
        return self._thread.is_alive()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives or raises. An interrupt cancels it and waits for its end."""
        # Not begun before its end is sure to be waited for: an interrupt may come at any line.
        may_begin, ended = asyncio.Event(), threading.Event()

        async def to_its_end() -> T:
            try:
                await may_begin.wait()
                return await coroutine
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(to_its_end(), self._loop)
        try:
            self._loop.call_soon_threadsafe(may_begin.set)
            while not future.done():
                # An interrupt that comes just before the wait is seen when the wait ends.
                wait((future,), timeout=SEEN_S)
            return future.result()
        except BaseException:
            future.cancel()
            self._ending_max_s = ABANDONED_S
            ended.wait()
            self._ending_max_s = None
            raise

    def close(self) -> None:
        """End the thread and what is still on it.

        Where :meth:`run` was interrupted again, what does not end in a second is left to the end
        of the process.
        """
        ending = asyncio.run_coroutine_threadsafe(self._drained(), self._loop)
        try:
            ending.result(self._ending_max_s)
        except TimeoutError:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _drained(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_default_executor()


class Interrupted(Exception):
    """A ``KeyboardInterrupt`` or ``SystemExit`` in a task, as ``__cause__``.

    By itself it would leave the event loop at once, and with it what is under way.
    """


async def finished(coroutine: Coroutine[Any, Any, T], *, grace_s: float) -> T:
    """What a coroutine gives; when this task is cancelled meanwhile, what it gives in the grace.

    Raises :class:`Interrupted` for an interrupt in it.
    """
    task = asyncio.create_task(_held(coroutine))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=grace_s)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        task.cancel()
        await asyncio.wait([task], timeout=1)
        raise


async def on_thread(call: Callable[[], T]) -> T:
    """What a call gives or raises, made on a thread of its own.

    A daemon, unlike those of an executor: a hung one must not keep the process from ending.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)


def is_stopping() -> bool:
    """Whether the task that this runs in was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _held(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except (KeyboardInterrupt, SystemExit) as error:
        raise Interrupted from error
