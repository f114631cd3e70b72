"""The newest events of a log, read once for all who follow it."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import cached_property
from itertools import takewhile
from typing import Final

import msgspec

from refold.core.recorded import Recorded
from refold.engine.aio import AsyncStore
from refold.errors import RefoldError, StoreClosed, Unavailable
from refold.server.wire import EventAnswer

KEPT_EVENTS_MAX: Final = 1_024
KEPT_BYTES_MAX: Final = 4 * 1024 * 1024
"""What is kept of the newest events; who is further behind reads the log itself."""
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Framed:
    """An event, and the frame that tells it, made once."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded

    @cached_property
    def frame(self) -> bytes:
        """The event as server-sent; its JSON may have line ends, which begin a line of data."""
        text = b"\ndata: ".join(_encode(EventAnswer.of(self.recorded)).splitlines())
        return b"id: %d\ndata: %b\n\n" % (self.recorded.position, text)


class Tail:
    """Those of the newest events that are kept; ``position`` is how far the log was read.

    ``over`` says why nothing more comes.
    """

    def __init__(self, shared: AsyncStore) -> None:
        self._shared = shared
        self._kept: deque[Framed] = deque()
        self._bytes = 0
        self._followers = 0
        self._task: asyncio.Task[None] | None = None
        self._moved: asyncio.Future[None] | None = None
        self._start: int | None = None
        self.position = 0
        self.over: RefoldError | None = None

    @property
    def is_followed(self) -> bool:
        """Whether anybody follows along."""
        return self._followers > 0

    def join(self) -> None:
        """Follow along; the first who does has the log read."""
        self._followers += 1
        if self._task is None or self._task.done():
            self._start, self.over = None, None
            self._task = asyncio.ensure_future(self._read())

    def leave(self) -> None:
        """Follow no more; the last who does ends the reading."""
        self._followers -= 1
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task = None

    def since(self, position: int) -> list[Framed] | None:
        """The events after a position; None where they are not all kept."""
        if self._start is None or position < self._start:
            return None
        newest = takewhile(lambda one: one.recorded.position > position, reversed(self._kept))
        return [*newest][::-1]

    def moved(self) -> asyncio.Future[None]:
        """Done when there is more, or nothing more comes."""
        if self._moved is None or self._moved.done():
            self._moved = asyncio.get_running_loop().create_future()
        return self._moved

    def end(self, why: RefoldError) -> None:
        """Tell all who follow that nothing more comes."""
        self.over = why
        self._ring()

    async def _read(self) -> None:
        try:
            self._kept.clear()
            self._bytes = 0
            self._start = self.position = await self._shared.log_head()
            self._ring()
            async with self._shared.subscribe(after=self.position) as events:
                async for recorded in events:
                    self._keep(recorded)
            self.end(StoreClosed("the store is closed"))
        except RefoldError as error:
            self.end(error)
        except Exception as error:
            self.end(Unavailable(f"the log cannot be followed: {error}"))
            raise

    def _keep(self, recorded: Recorded) -> None:
        self._kept.append(Framed(recorded))
        self._bytes += len(recorded.raw)
        self.position = recorded.position
        while len(self._kept) > KEPT_EVENTS_MAX or self._bytes > KEPT_BYTES_MAX:
            gone = self._kept.popleft().recorded
            self._bytes -= len(gone.raw)
            self._start = gone.position
        self._ring()

    def _ring(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)
