"""Following the log by server-sent events: what is there, then what comes.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from refold.core.event import Kind, category_of
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import RefoldError, UsageError, log_went_back
from refold.server import sending
from refold.server.desk import ServedCall
from refold.server.effort import gone_away
from refold.server.problem import problem
from refold.server.reading import paged
from refold.server.sending import cut, written
from refold.server.tail import Framed
from refold.server.wire import NUMBER_MAX, OfFollowing

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

EVENT_STREAM: Final = "text/event-stream"
HEARTBEAT_S: Final = 15.0
"""A subscriber hears so often how far the log was looked at, and its token is looked at again."""
EVENTS_PER_READ: Final = 256
BYTES_PER_WRITE: Final = sending.PIECE_BYTES
RECONNECT_MS: Final = 1_000


async def subscribe(call: ServedCall) -> Response:
    """Follow the log: the events after a position, then those to come, as server-sent events.

    The `id` of each is its position, its data the event as JSON. `Last-Event-ID` stands above
    `after`, so that a client that was broken off goes on without a gap or a double. Every 15 s a
    comment and an `id` alone say how far the log was looked at. Before the server ends, or where it
    cannot go on, comes an event `problem` with a problem document; so it does where all who follow
    have more large events unread than the server holds (`overloaded`): come again later.
    """
    asked: OfFollowing = call.query
    after = _last_seen(call) or asked.after
    head = await call.desk.read(Store.log_head)
    if after > head:
        raise log_went_back(after, head)
    categories = call.grant.among(asked.category)
    return EventStream(call, after, categories, [Kind.parse(one).type for one in asked.type])


def _last_seen(call: ServedCall) -> int | None:
    said = call.request.headers.get("last-event-id", "").strip()
    if not said:
        return None
    if not said.isascii() or not said.isdigit() or len(said) > 16 or int(said) > NUMBER_MAX:
        raise UsageError(f"Last-Event-ID {said!r:.99} is no position", argument="last-event-id")
    return int(said)


class EventStream(Response):
    """The events after a position for one subscriber.

    It is written to as fast as it reads, and holds what was written last; it holds up nobody. What
    is over a piece has a place in the room of all who follow, until what comes next is written.
    """

    def __init__(
        self, call: ServedCall, after: int, categories: list[str] | None, types: list[str]
    ) -> None:
        self._call = call
        self._tail, self._unread = call.desk.tail, call.unread
        self._position = after
        self._categories = None if categories is None else frozenset(categories)
        self._types = frozenset(types)
        # Of each is looked whether all that it branched from may be seen: in the log, not here.
        self._of_branches = bool(call.grant.categories) and "~" in "".join(categories or ())
        self._beat_at, self._held = 0.0, 0
        self.background = None
        self.status_code = 200
        self.init_headers({"content-type": EVENT_STREAM, "cache-control": "no-store"})
        self.raw_headers = [one for one in self.raw_headers if one[0] != b"content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the subscriber goes, is let go, or there are no more."""
        await send(
            {"type": "http.response.start", "status": 200, "headers": self.raw_headers},
        )
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        gone = asyncio.ensure_future(gone_away(receive))
        self._tail.join()
        try:
            await written(send, b"retry: %d\n\n" % RECONNECT_MS)
            why = await self._until_over(send, gone)
            await written(send, b"" if why is None else _problem(why), is_last=True)
        except TimeoutError:
            await cut(scope)
        finally:
            self._tail.leave()
            self._unread.give(self._held)
            gone.cancel()

    async def _until_over(self, send: Send, gone: asyncio.Future[None]) -> RefoldError | None:
        """Send until the subscriber goes, or until there is no more: then why."""
        try:
            while not gone.done() and self._tail.over is None:
                await self._follow(send, gone)
        except RefoldError as error:
            return error
        return self._tail.over

    async def _follow(self, send: Send, gone: asyncio.Future[None]) -> None:
        """Send what there is, or wait until there is more."""
        moved = self._tail.moved()  # First: what comes while it is looked is not missed.
        now = asyncio.get_running_loop().time()
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_S
            self._call.allowed()
            await self._write(send, b":\nid: %d\n\n" % self._position)
        before = self._position
        frames = await self._next()
        if frames:
            await self._write(send, frames)
        elif self._position == before:
            await asyncio.wait(
                {gone, moved},
                timeout=self._beat_at - now,
                return_when=asyncio.FIRST_COMPLETED,
            )

    async def _write(self, send: Send, piece: bytes) -> None:
        """Write, when what was written before is read."""
        share = max(0, len(piece) - BYTES_PER_WRITE)
        self._unread.take(share, most=sending.FOLLOWED_BYTES_MAX)
        self._held += share
        await written(send, piece)
        self._unread.give(self._held - share)
        self._held = share

    async def _next(self) -> bytes:
        """The frames of the next events; empty where none that is wanted is there."""
        kept = self._tail.since(self._position)
        if kept is not None and not self._of_branches:
            return self._frames(kept, self._tail.position)
        call, after = self._call, self._position

        def read(store: Store) -> tuple[list[Recorded], int]:
            head = store.log_head()
            categories = None if self._categories is None else sorted(self._categories)
            found = store.read_all(
                after=after, categories=categories, types=sorted(self._types) or None
            )
            found = call.grant.visible(store, found)
            events, end = paged(found, EVENTS_PER_READ, bytes_max=BYTES_PER_WRITE)
            return events, max(head, after) if end else after

        events, seen = await call.desk.read(read)
        return self._frames([*map(Framed, events)], seen)

    def _frames(self, events: list[Framed], seen: int) -> bytes:
        """So many of them as are written at once; after the last the log was ``seen`` to there."""
        frames = bytearray()
        for told in events:
            self._position = told.recorded.position
            if self._wants(told.recorded):
                frames += told.frame
                if len(frames) > BYTES_PER_WRITE:
                    return bytes(frames)
        self._position = max(self._position, seen)
        return bytes(frames)

    def _wants(self, recorded: Recorded) -> bool:
        is_of_type = not self._types or recorded.type in self._types
        category = category_of(recorded.stream)
        return is_of_type and (self._categories is None or category in self._categories)


def _problem(error: RefoldError) -> bytes:
    return b"event: problem\ndata: %b\n\n" % msgspec.json.encode(problem(error))
