"""Workers on one event loop: all to the end, or all stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from refold.replay.requests import GRACE_S


async def all_work(
    workers: int, work: Callable[[], Coroutine[Any, Any, None]], stop: Callable[[], None]
) -> None:
    """Let so many work to the end; an error of one stops the others, and comes as it is."""
    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        stop()
        await _ended(tasks)
    # Of all of them: an exception that nobody asks for is told by asyncio, with its traceback.
    errors = [task.exception() for task in tasks if not task.cancelled()]
    for error in filter(None, errors):
        raise error


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    """Give what is under way its grace: it may be paid for."""
    if any(not task.done() for task in tasks):
        await asyncio.wait(tasks, timeout=GRACE_S)
    if late := [task for task in tasks if not task.done()]:
        for task in late:
            task.cancel()
        await asyncio.wait(late, timeout=1)
