"""The edge of the network, scripted: what a connection brings, in which pieces, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

Broken = Literal["cut", "timeout", "hangs", "interrupt"]


@dataclass
class Comes:
    """What comes of one request; ``broken`` is how it ends after the chunks, None: as it should.

    Without a status nothing comes: not even a connection, or no head of an answer in time.
    """

    chunks: list[bytes]
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)
    broken: Broken | None = None


def wire_of(library: ModuleType) -> Any:
    """A transport of httpx or httpx2, blocking and async: ``comes`` is set before each request."""

    class Wire(library.BaseTransport, library.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        comes: Comes

        def __init__(self) -> None:
            self.sent: list[Any] = []

        def handle_request(self, request: Any) -> Any:
            self.sent.append((request, request.read()))
            return self._response(request)

        async def handle_async_request(self, request: Any) -> Any:
            self.sent.append((request, await request.aread()))
            return self._response(request)

        def _response(self, request: Any) -> Any:
            comes = self.comes
            if comes.status is None:
                raise _error(library, comes.broken, request)
            stream = _pieces(library, comes, request)
            return library.Response(comes.status, headers=comes.headers, stream=stream)

    return Wire()


def _error(library: ModuleType, broken: Broken | None, request: Any) -> BaseException:
    if broken == "interrupt":
        return KeyboardInterrupt()
    kind = library.ReadTimeout if broken == "timeout" else library.ReadError
    error: BaseException = kind("no more", request=request)
    return error


def _pieces(library: ModuleType, comes: Comes, request: Any) -> Any:
    class Pieces(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            yield from comes.chunks
            if comes.broken is not None:
                raise _error(library, comes.broken, request)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in comes.chunks:
                yield chunk
            if comes.broken == "hangs":
                await asyncio.Event().wait()
            if comes.broken is not None:
                raise _error(library, comes.broken, request)

    return Pieces()
