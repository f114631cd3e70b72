"""The same store for asyncio: every call runs on a worker thread of its own pool."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cached_property, partial, wraps
from itertools import islice
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from refold import process
from refold.core.expected import ANY, Expected
from refold.core.query import Query, condition_of
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.engine.append import Append, appended, batch_of, batch_together
from refold.engine.branch import Branch
from refold.engine.store import Store
from refold.engine.subscription import AsyncSubscription, Subscription
from refold.errors import StoreClosed
from refold.ports import Appended, Batch

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

THREADS_MAX: Final = 8
ITEMS_PER_HOP: Final = 256
"""How many items an async iterator fetches a hop to the worker thread."""


def _awaited(
    method: Callable[Concatenate[Store, P], R],
) -> Callable[Concatenate[AsyncStore, P], Coroutine[Any, Any, R]]:
    @wraps(method)
    async def call(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(lambda: method(self._store, *args, **kwargs))

    return call


def _iterated(
    method: Callable[Concatenate[Store, P], Iterator[T]],
) -> Callable[Concatenate[AsyncStore, P], AsyncIterator[T]]:
    @wraps(method)
    async def iterate(self: AsyncStore, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items = await self._run(lambda: method(self._store, *args, **kwargs))
        while page := await self._run(lambda: list(islice(items, ITEMS_PER_HOP))):
            for item in page:
                yield item

    return iterate


class AsyncStore:
    """A :class:`~refold.Store` to ``await``: the same names, arguments, results and errors.

    Made by :func:`refold.open_async`. ``append_many``, ``read``, ``read_all``, ``streams`` and
    ``check`` are async iterators; a subscription is used from the loop that asked for it. A call
    whose task is cancelled goes on to its end: an append may still be stored. It belongs to the
    process that first asks something of it.
    """

    def __init__(self, opener: Callable[[], Store]) -> None:
        self._opener = opener
        self._opened: Store | None = None
        self._opening = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="refold")

    execute = _awaited(Store.execute)
    head = _awaited(Store.head)
    log_head = _awaited(Store.log_head)
    wait_for = _awaited(Store.wait_for)
    event = _awaited(Store.event)
    find = _awaited(Store.find)
    compact = _awaited(Store.compact)
    sizes = _awaited(Store.sizes)
    backup = _awaited(Store.backup)
    copy_into = _awaited(Store.copy_into)
    repair = _iterated(Store.repair)
    fold = _awaited(Store.fold)
    fold_all = _awaited(Store.fold_all)
    save_branch = _awaited(Store.save_branch)
    append_many = _iterated(Store.append_many)
    read = _iterated(Store.read)
    read_all = _iterated(Store.read_all)
    streams = _iterated(Store.streams)
    check = _iterated(Store.check)

    async def append(
        self,
        stream: str,
        events: Sequence[object],
        *,
        expected: Expected = ANY,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        unless: Query | None = None,
        after: int = 0,
    ) -> Appended:
        """See :meth:`refold.Store.append`; joins the next commit without a thread of its own."""
        append = Append(stream, events, expected, metadata, key, tags)
        batch_for = partial(batch_of, append, condition=condition_of(unless, after))
        return (await self._append(batch_for))[0]

    async def append_together(
        self,
        appends: Sequence[Append],
        *,
        key: str | None = None,
        unless: Query | None = None,
        after: int = 0,
    ) -> list[Appended]:
        """See :meth:`refold.Store.append_together`; joins the next commit as ``append`` does."""
        condition = condition_of(unless, after)
        return await self._append(partial(batch_together, appends, key, condition=condition))

    async def _append(self, batch_for: Callable[[Registry], Batch]) -> list[Appended]:
        store = self._opened
        if store is None:
            store = await self._run(lambda: self._store)
        (outcome,) = await store._writer.append_async([batch_for(store.registry)])
        return appended(outcome)

    def subscribe(
        self,
        *,
        after: int = 0,
        categories: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
    ) -> AsyncSubscription:
        """See :meth:`refold.Store.subscribe`; to be used from the loop that called it."""

        def opened() -> Subscription:
            return self._store.subscribe(after=after, categories=categories, types=types)

        return AsyncSubscription(partial(self._run, opened), self._run, after=after)

    async def branch(
        self, stream: str, *, at: int | None = None
    ) -> Branch[Coroutine[Any, Any, Any]]:
        """See :meth:`refold.Store.branch`; read at once, and its ``save`` is to be awaited."""

        def read() -> tuple[Branch[Any], tuple[Recorded, ...]]:
            found = self._store.branch(stream, at=at)
            return found, tuple(found.events)

        found, events = await self._run(read)
        return Branch(stream, events, found.shared, found.registry, saver=self.save_branch)

    async def close(self) -> None:
        """Let go of files, connections and threads; waits for calls that are under way."""
        if self._process.is_here:
            self._closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown()
        if self._opened is not None:
            self._opened.close()

    async def __aenter__(self) -> Self:
        await self._run(lambda: self._store)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @cached_property
    def _process(self) -> process.Process:
        """The process that first asked anything of it; the threads are there."""
        return process.here()

    @property
    def _store(self) -> Store:
        """The store, opened by the first call, always on a worker thread."""
        with self._opening:
            if self._opened is None:
                self._opened = self._opener()
            return self._opened

    async def _run(self, call: Callable[[], R]) -> R:
        self._process.check()
        if self._closed:
            raise StoreClosed("the store is closed")
        # The context of who asks goes along: it may say for whom values are read.
        asked = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._threads, asked, call)
