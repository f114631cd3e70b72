"""Around the one place where httpx and httpx2 send: what goes out and comes in is seen, unchanged.

Written against what both libraries share; the bytes are those on the wire, before they are
unpacked, and go on to the caller as they come.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from types import ModuleType
from typing import Any, Final
from uuid import uuid4

from refold.capture import threads
from refold.capture.call import Call, Ending
from refold.capture.endpoints import endpoint, kept_headers, secrets, without
from refold.capture.writer import Writer
from refold.conversation.apis.base import Api

HEADER: Final = "x-refold-conversation"
"""Names the stream of a call; it is taken out before the request is sent."""
_RETRIES: Final = "x-stainless-retry-count"
_PACKING: Final = "content-encoding"
_SEEN: Final = "refold.capture"
Send = Callable[..., Any]
Named = Callable[[Any], str | None]


class Taps:
    """Which requests are watched, and where what they bring is written.

    ``named`` gives the stream of a request, or None where it does not know; ``metadata`` goes into
    that of each event.
    """

    def __init__(
        self,
        writer: Writer,
        hosts: Container[str] | None,
        named: Named | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.writer, self._hosts, self._named = writer, hosts, named
        self._metadata = metadata or {}

    def api(self, request: Any) -> Api | None:
        """The API of a request that is watched and not seen already by another tap."""
        if _SEEN in request.extensions:
            return None
        return endpoint(request, self._hosts)

    def begin(self, request: Any, api: Api, body: bytes) -> Tap:
        """A call of a model begins."""
        # Asked before the header goes: a callable may look at it.
        named = request.headers.get(HEADER) or threads.current()
        if named is None and self._named is not None:
            named = self._named(request)
        request.headers.pop(HEADER, None)
        request.extensions = {**request.extensions, _SEEN: True}
        retries = request.headers.get(_RETRIES, "")
        url = request.url
        port = f":{url.port}" if url.port else ""
        call = Call(
            id=uuid4().hex,
            api=api,
            url=f"{url.scheme}://{url.host}{port}{url.path}",
            request=body,
            headers=kept_headers(request.headers),
            started_us=time.time_ns() // 1000,
            conversation=named,
            metadata=self._metadata,
            attempt=int(retries) + 1 if retries.isdecimal() else 1,
        )
        return Tap(call, self.writer, request)


class Tap:
    """One call on its way: it tells the writer what comes, once each."""

    def __init__(self, call: Call, writer: Writer, request: Any) -> None:
        self._call, self._writer, self._request = call, writer, request
        self._headers = request.headers.copy()  # Signing may give the request others.
        self._began = time.perf_counter()
        self._refusal: list[bytes] | None = None
        writer.begin(call)

    def answered(self, response: Any, library: ModuleType) -> None:
        """The head of the answer came; the body of an error is held back to remove secrets."""
        call = self._call
        call.status, call.first_byte_ms = response.status_code, self._ms()
        call.answer_headers = kept_headers(response.headers)
        if response.status_code >= 400:
            self._refusal = []
        if not response.is_stream_consumed:
            response.stream = _stream_of(library)(response.stream, self)
        else:  # A hook of the caller's has read it, and unpacked it.
            call.answer_headers.pop(_PACKING, None)
            self.data(response.content)
            self.end("whole")

    def data(self, chunk: bytes) -> None:
        """A piece of the body, as on the wire."""
        if self._refusal is not None:
            self._refusal.append(chunk)
        elif chunk:
            self._writer.data(self._call, chunk)

    def end(self, ending: Ending, error: BaseException | None = None) -> None:
        """The call is over; only the first ending counts."""
        call = self._call
        if call.ending is not None:
            return
        call.latency_ms = self._ms()
        call.ending = ending
        if self._refusal is not None:
            packed, self._refusal = b"".join(self._refusal), None
            raw = _unpacked(packed, call.answer_headers.pop(_PACKING, None))
            self.data(self._clean(raw))
        if error is not None:
            text = f"{type(error).__name__}: {error}"
            call.error = self._clean(text.encode()).decode()
        self._writer.end(call)

    def _clean(self, body: bytes) -> bytes:
        url = self._request.url
        both = [*secrets(self._headers, url), *secrets(self._request.headers, url)]
        return without(both, body)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What leaves the block as an exception ends the call."""
        try:
            yield
        except GeneratorExit:
            self.end("closed")
            raise
        except BaseException as error:
            self.end(_ending(error, is_answered=self._call.status is not None), error)
            raise

    def _ms(self) -> float:
        return round((time.perf_counter() - self._began) * 1000, 3)


def watched(original: Send, library: ModuleType, taps: Taps) -> Send:
    """The ``send`` of a ``Client``, with a tap on each call of a model."""

    @wraps(original)
    def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        api = taps.api(request)
        if api is None:
            return original(client, request, stream=stream, **options)
        tap = taps.begin(request, api, request.read())
        with tap.watching():
            response = original(client, request, stream=True, **options)
        tap.answered(response, library)
        if not stream:
            try:
                response.read()
            finally:
                response.close()
        return response

    return send


def watched_async(original: Send, library: ModuleType, taps: Taps) -> Send:
    """The ``send`` of an ``AsyncClient``, with a tap on each call of a model."""

    @wraps(original)
    async def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        api = taps.api(request)
        if api is None:
            return await original(client, request, stream=stream, **options)
        tap = taps.begin(request, api, await request.aread())
        with tap.watching():
            response = await original(client, request, stream=True, **options)
        tap.answered(response, library)
        if not stream:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response

    return send


@cache
def _stream_of(library: ModuleType) -> type:
    """A stream of a library, blocking or async, that tells a tap what passes through it."""

    class Tapped(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any, tap: Tap) -> None:
            self._stream, self._tap = stream, tap

        def __iter__(self) -> Iterator[bytes]:
            with self._tap.watching():
                for chunk in self._stream:
                    self._tap.data(chunk)
                    yield chunk
            self._tap.end("whole")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with self._tap.watching():
                async for chunk in self._stream:
                    self._tap.data(chunk)
                    yield chunk
            self._tap.end("whole")

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                self._tap.end("closed")

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                self._tap.end("closed")

    return Tapped


def _unpacked(body: bytes, packing: str | None) -> bytes:
    """The body of an error as text; nothing where it is packed in a way that is not known."""
    from httpx2 import DecodingError, Response

    try:
        return Response(200, headers={_PACKING: packing} if packing else {}, content=body).content
    except DecodingError:
        return b""


def _ending(error: BaseException, *, is_answered: bool) -> Ending:
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"TimeoutException", "TimeoutError"}:
        return "timeout"
    if names & {"CancelledError", "KeyboardInterrupt", "SystemExit", "GeneratorExit"}:
        return "cancelled"
    return "cut" if is_answered else "unreachable"
