"""An event loop on a thread of its own, so that async candidates are called like others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Final, TypeVar

T = TypeVar("T")
CLOSING_S: Final = 5.0
"""How long ``close`` waits for what is cancelled to end."""


class LoopThread:
    """Runs awaitables from any thread, all on one loop; it starts with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, awaitable: Awaitable[T]) -> T:
        """What the awaitable gives or raises; waits for it."""
        return asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._started()).result()

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(lambda: asyncio.ensure_future(_cancel_others(), loop=loop))
        thread.join(CLOSING_S)
        if not thread.is_alive():
            loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="refold-replay-loop", daemon=True
                )
                self._thread.start()
            return self._loop


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _cancel_others() -> None:
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop.stop()
