"""Answers as fast as they are read: who reads nothing is let go, and all together have a bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from refold.errors import Overloaded

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SLOW_S_MAX: Final = 60.0
"""Who takes nothing for so long is let go."""
ANSWERS_BYTES_MAX: Final = 256 * 1024 * 1024
"""What answers that are not read yet hold together."""
FOLLOWED_BYTES_MAX: Final = 256 * 1024 * 1024
"""What subscribers have not read yet holds together, beside a piece for each of them."""
PIECE_BYTES: Final = 64 * 1024
"""So much is handed on at once; what is not yet handed on is not copied."""


class Room:
    """A bound on the bytes that all requests hold at once."""

    def __init__(self, what: str) -> None:
        self._held, self._what = 0, what

    def take(self, count: int, *, most: int) -> None:
        """Hold so many bytes more, ``most`` in all; :class:`~refold.errors.Overloaded` beyond."""
        if self._held + count > most:
            raise Overloaded(
                f"{self._what} hold {self._held} bytes: try later, or in smaller parts"
            )
        self._held += count

    def give(self, count: int) -> None:
        """Hold so many less."""
        self._held -= count


class PatientResponse(Response):
    """A response that is handed on piece by piece, and ends where nobody reads it.

    It has its place in a ``room`` until it was sent.
    """

    def __init__(self, body: bytes, status: int, media_type: str, room: Room) -> None:
        super().__init__(body, status, media_type=media_type)
        self._room, self._share = room, min(len(body), ANSWERS_BYTES_MAX)
        room.take(self._share, most=ANSWERS_BYTES_MAX)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Send it; the connection of somebody who reads nothing is cut."""
        start = {"type": "http.response.start", "status": self.status_code}
        try:
            await send({**start, "headers": self.raw_headers})
            for at in range(0, len(self.body), PIECE_BYTES):
                await written(send, bytes(self.body[at : at + PIECE_BYTES]))
            await written(send, b"", is_last=True)
        except TimeoutError:
            await cut(scope)
        finally:
            self._room.give(self._share)


async def written(send: Send, piece: bytes, *, is_last: bool = False) -> None:
    """Send a piece of a body; TimeoutError where what was sent before is not read."""
    async with asyncio.timeout(SLOW_S_MAX):
        await send({"type": "http.response.body", "body": piece, "more_body": not is_last})


async def cut(scope: Scope) -> None:
    """End the connection of somebody who does not read: what waits there is not sent any more."""
    connection = scope.get("state", {}).get("connection")
    if connection is not None:
        connection.transport.abort()
        await asyncio.sleep(0)  # The server hears of it before this has ended.
