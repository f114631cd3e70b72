"""Recorders for threads and for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from refold.core.event import Event
from refold.core.expected import Expected
from refold.core.recorded import Recorded
from refold.engine.aio import AsyncStore
from refold.engine.store import Store
from refold.ports import Appended
from refold.recording.recorder import Recorder

T = TypeVar("T")


class Session(Recorder[Store, Appended]):
    """A :class:`~refold.recording.recorder.Recorder` for a ``with`` block."""

    _lock = threading.Lock
    _kind = ""

    def __enter__(self) -> Self:
        self._run(self._enter)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._run(partial(self._leave, error))

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self._turn:
            try:
                work().send(None)
            except StopIteration as done:
                result: T = done.value
                return result
        raise AssertionError("nothing that a Session does can wait")

    async def _append(self, events: Sequence[Event], expected: Expected) -> Appended:
        return self._store.append(self.stream, events, expected=expected, metadata=self._metadata)

    async def _history(self) -> Iterable[Recorded]:
        return self._store.read(self.stream)


class AsyncSession(Recorder[AsyncStore, Coroutine[Any, Any, Appended]]):
    """A :class:`~refold.recording.recorder.Recorder` for an ``async with`` block.

    What is given to a call is stored even when its task is cancelled meanwhile, and the end of
    the session behind it.
    """

    _lock = asyncio.Lock
    _kind = "_async"

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._enter)
        except asyncio.CancelledError as error:
            # The start is stored all the same, and no block will be left to end it.
            await self._run(partial(self._abandon, error))
            raise
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._run(partial(self._leave, error))

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # Shielded: a cancelled call that was half done would leave the version unknown.
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(work)))

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._turn:
            return await work()

    async def _append(self, events: Sequence[Event], expected: Expected) -> Appended:
        return await self._store.append(
            self.stream, events, expected=expected, metadata=self._metadata
        )

    async def _history(self) -> Iterable[Recorded]:
        return [recorded async for recorded in self._store.read(self.stream)]
