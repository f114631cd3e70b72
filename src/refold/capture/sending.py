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
from refold.capture.call import Ending, ModelCall
from refold.capture.endpoints import endpoint, kept_headers, secrets, without
from refold.capture.writer import CaptureWriter
from refold.conversation.apis.base import Api
from refold.core.event import check_name
from refold.errors import UsageError

HEADER: Final = "x-refold-conversation"
"""Names the stream of a call; it is taken out of each request, whether that is watched or not."""
_RETRIES: Final = "x-stainless-retry-count"
_PACKING: Final = "content-encoding"
_SEEN: Final = "refold.capture"
_AS_BYTES: Final = "surrogateescape"
Send = Callable[..., Any]
Named = Callable[[Any], str | None]


class Taps:
    """Which requests are watched, and where what they bring is written.

    ``named`` is a stream, or gives that of a request, None where it does not know; ``metadata``
    goes into that of each event.
    """

    def __init__(
        self,
        writer: CaptureWriter,
        hosts: Container[str] | None,
        named: Named | str | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(named, str):
            check_name(named, what="the conversation")
        elif named is not None and not callable(named):
            raise UsageError(f"conversation={named!r:.50} is no stream and no function to one")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise UsageError(f"metadata={metadata!r:.50} is no mapping")
        self.writer, self._hosts, self._metadata = writer, hosts, metadata or {}
        self._named = (lambda _: named) if isinstance(named, str) else named

    def api(self, request: Any) -> Api | None:
        """The API of a request that is watched and not seen already by another tap."""
        if _SEEN in request.extensions or self.writer.is_stopped:
            return None
        return endpoint(request, self._hosts)

    def begin(self, request: Any, api: Api, body: bytes, name: str | None) -> Tap:
        """A call of a model begins; ``name`` is the stream that its header named."""
        named = name or threads.current() or self._name(request)
        retries = request.headers.get(_RETRIES, "")
        url = request.url
        port = f":{url.port}" if url.port else ""
        call = ModelCall(
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

    def _name(self, request: Any) -> str | None:
        """What the caller's callable says; one that fails has named nothing."""
        try:
            return None if self._named is None else self._named(request)
        except Exception as error:
            if self.writer.raises:
                raise
            self.writer.tell(error)
            return None


class Tap:
    """One call on its way: it tells the writer what comes, once each."""

    def __init__(self, call: ModelCall, writer: CaptureWriter, request: Any) -> None:
        self._call, self._writer, self._request = call, writer, request
        self._headers = request.headers.copy()  # Signing may give the request others.
        self._began = time.perf_counter()
        self._refusal: list[bytes] | None = None
        writer.begin(call)

    def answered(self, response: Any, library: ModuleType) -> None:
        """The head of the answer came; the body of an error is held back to remove secrets."""
        self._head(response)
        if response.is_stream_consumed:
            self._read_by_hook(response)
        else:
            response.stream = _stream_of(library)(response.stream, self)

    def _head(self, response: Any) -> None:
        call = self._call
        call.status, call.first_byte_ms = response.status_code, self._ms()
        kept = kept_headers(response.headers)
        hidden = self._secrets()
        call.answer_headers = {name: without(hidden, value) for name, value in kept.items()}
        if response.status_code >= 400:
            self._refusal = []

    def _read_by_hook(self, response: Any, raised: BaseException | None = None) -> None:
        """A hook of the caller's had the answer before: it has unpacked it, or kept none of it."""
        self._call.answer_headers.pop(_PACKING, None)
        try:
            self.data(response.content)
        except RuntimeError as error:  # ResponseNotRead
            self.end("closed", raised or error)
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
            said = without(self._secrets(), raw.decode(errors=_AS_BYTES))
            self.data(said.encode(errors=_AS_BYTES))
        if error is not None:
            text = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
            call.error = without(self._secrets(), text)
        self._writer.end(call)

    def _secrets(self) -> list[str]:
        return secrets((self._headers, self._request.headers), self._request.url)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """The request is sent in this block, and is afterwards what it was: it may be sent again.

        It is marked for other taps meanwhile.
        """
        request = self._request
        request.extensions = {**request.extensions, _SEEN: True}
        try:
            with self.watching():
                yield
        finally:
            request.extensions.pop(_SEEN, None)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What leaves the block as an exception ends the call."""
        try:
            yield
        except GeneratorExit:
            self.end("closed")
            raise
        except BaseException as error:
            answer = getattr(error, "response", None)
            if self._call.status is None and answer is not None:
                self._head(answer)
                self._read_by_hook(answer, error)
            self.end(_ending(error, is_answered=self._call.status is not None), error)
            raise

    def _ms(self) -> float:
        return round((time.perf_counter() - self._began) * 1000, 3)


@contextmanager
def _without_name(request: Any) -> Iterator[str | None]:
    """The stream that a request names; in this block, in which it is sent, it does not."""
    named = request.headers.pop(HEADER, None)
    try:
        yield named
    finally:
        if named is not None:
            request.headers[HEADER] = named


def watched(original: Send, library: ModuleType, in_force: Callable[[], Taps | None]) -> Send:
    """The ``send`` of a ``Client``, with a tap on each call of a model while taps are in force."""

    @wraps(original)
    def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        taps = in_force()
        api = taps.api(request) if taps else None
        with _without_name(request) as named:
            if taps is None or api is None:
                return original(client, request, stream=stream, **options)
            tap = taps.begin(request, api, request.read(), named)
            with tap.sending():
                response = original(client, request, stream=True, **options)
        tap.answered(response, library)
        if not stream:
            try:
                response.read()
            finally:
                response.close()
        return response

    return send


def watched_async(original: Send, library: ModuleType, in_force: Callable[[], Taps | None]) -> Send:
    """The ``send`` of an ``AsyncClient``, as :func:`watched`."""

    @wraps(original)
    async def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        taps = in_force()
        api = taps.api(request) if taps else None
        with _without_name(request) as named:
            if taps is None or api is None:
                return await original(client, request, stream=stream, **options)
            tap = taps.begin(request, api, await request.aread(), named)
            with tap.sending():
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
