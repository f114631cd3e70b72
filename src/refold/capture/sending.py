"""Around the one place where httpx and httpx2 send: what goes out and comes in is seen, unchanged.

Written against what both libraries share; the bytes are those on the wire, before they are
unpacked, and go on to the caller as they come.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from types import ModuleType
from typing import Any, Final
from uuid import uuid4
from weakref import WeakKeyDictionary

from refold import secrecy
from refold.capture import threads
from refold.capture.answers import unpacked
from refold.capture.call import Ending, ModelCall
from refold.capture.endpoints import RequestSecrets, endpoint, kept_headers, without
from refold.capture.writer import Address, CaptureWriter
from refold.conversation.apis.base import Api
from refold.core.event import check_name
from refold.errors import UsageError
from refold.event_loop import answered, at_once

HEADER: Final = "x-refold-conversation"
"""Names the stream of a call; it is taken out of each request, whether that is watched or not."""
_RETRIES: Final = "x-stainless-retry-count"
_PACKING: Final = "content-encoding"
_SEEN: Final = "refold.capture"
_AS_BYTES: Final = "surrogateescape"
Send = Callable[..., Any]
Named = Callable[[Any], str | None]


standing_in: Final[ContextVar[Callable[[ModuleType, Any, bytes], Any] | None]] = ContextVar(
    "refold.capture.standing_in", default=None
)
"""Answers requests in the place of a service: given the library, the request and its content.

See :func:`stood_in`. Nothing of it is recorded.
"""


class Taps:
    """Which requests are watched, and where what they bring is written.

    ``hosts`` tells those that are watched, None for every model endpoint; the other arguments are
    those of :func:`refold.capture.install`.
    """

    def __init__(
        self, store: Address, hosts: Callable[[str], bool] | None, *,
        conversation: Named | str | None = None, metadata: Mapping[str, Any] | None = None,
        **recording: Any,
    ) -> None:  # fmt: skip
        self._hosts, self._metadata, self._named = hosts, metadata or {}, conversation
        if isinstance(conversation, str):
            check_name(conversation, what="the conversation")
        elif conversation is not None and not callable(conversation):
            raise UsageError(f"conversation={conversation!r:.50} is no stream nor gives one")
        if not isinstance(self._metadata, Mapping):
            raise UsageError(f"metadata={metadata!r:.50} is no mapping")
        self._secrets: WeakKeyDictionary[Any, RequestSecrets] = WeakKeyDictionary()
        self.writer = CaptureWriter(store, **recording)

    def api(self, request: Any) -> Api | None:
        """The API of a request that is watched and not seen already by another tap."""
        if _SEEN in request.extensions or self.writer.is_stopped:
            return None
        return endpoint(request, self._hosts)

    def begin(self, client: Any, request: Any, api: Api, body: bytes, name: str | None) -> Tap:
        """A call of a model by a client begins; ``name`` is the stream that its header named."""
        named = name or threads.current() or self._name(request)
        retries = request.headers.get(_RETRIES, "")
        url, secrets = request.url, self._secrets.setdefault(client, RequestSecrets())
        port = f":{url.port}" if url.port else ""
        address = secrecy.without_keys(f"{url.scheme}://{url.host}{port}{url.path}")
        call = ModelCall(
            id=uuid4().hex,
            api=api,
            url=without(secrets.of((request.headers,), url), address),
            request=body,
            headers=kept_headers(request.headers),
            started_us=time.time_ns() // 1000,
            conversation=named,
            metadata=self._metadata,
            attempt=int(retries) + 1 if retries.isdecimal() else 1,
        )
        return Tap(call, self.writer, request, secrets)

    def _name(self, request: Any) -> str | None:
        """What the caller's callable says; one that fails has named nothing."""
        try:
            return self._named(request) if callable(self._named) else self._named
        except Exception as error:
            if self.writer.raises:
                raise
            self.writer.tell(error)
            return None


class Tap:
    """One call on its way: it tells the writer what comes, once each."""

    def __init__(
        self, call: ModelCall, writer: CaptureWriter, request: Any, secrets: RequestSecrets
    ) -> None:
        self._call, self._writer, self._request, self._known = call, writer, request, secrets
        self._headers = request.headers.copy()  # Signing may give the request others.
        self._began = time.perf_counter()
        self._refusal: bytearray | None = None
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
        call.status = response.status_code
        kept = kept_headers(response.headers)
        hidden = self._secrets()
        call.answer_headers = {name: without(hidden, value) for name, value in kept.items()}
        if response.status_code >= 400:
            self._refusal = bytearray()

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
            self._refusal += chunk
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
            raw = unpacked(bytes(self._refusal), call.answer_headers.pop(_PACKING, None))
            self._refusal = None
            said = without(self._secrets(), raw.decode(errors=_AS_BYTES))
            self.data(said.encode(errors=_AS_BYTES))
        if error is not None:
            text = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
            call.error = without(self._secrets(), text)
        self._writer.end(call)

    def _secrets(self) -> tuple[str, ...]:
        return self._known.of((self._headers, self._request.headers), self._request.url)

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
def _as_sent(request: Any, *, is_watched: bool) -> Iterator[str | None]:
    """The stream that a request names, which it does not say in this block, in which it is sent.

    One that is watched is marked for other taps. Afterwards it is what it was, to be sent again.
    """
    named = request.headers.pop(HEADER, None)
    if is_watched:
        request.extensions = {**request.extensions, _SEEN: True}
    try:
        yield named
    finally:
        if is_watched:
            request.extensions.pop(_SEEN, None)
        if named is not None:
            request.headers[HEADER] = named


def watched_async(original: Send, library: ModuleType, in_force: Callable[[], Taps | None]) -> Send:
    """The ``send`` of a client, with a tap on each call of a model while taps are in force."""

    @wraps(original)
    async def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        is_async = isinstance(client, library.AsyncClient)
        taps = in_force()
        api = taps.api(request) if taps else None
        with _as_sent(request, is_watched=api is not None) as named:
            if taps is None or api is None:
                return await answered(original(client, request, stream=stream, **options))
            body = await answered(request.aread() if is_async else request.read())
            tap = taps.begin(client, request, api, body, named)
            with tap.watching():
                response = await answered(original(client, request, stream=True, **options))
        tap.answered(response, library)
        if not stream:
            try:
                await answered(response.aread() if is_async else response.read())
            finally:
                await answered(response.aclose() if is_async else response.close())
        return response

    return send


def watched(original: Send, library: ModuleType, in_force: Callable[[], Taps | None]) -> Send:
    """As :func:`watched_async`, for a blocking client, in whose calls nothing is awaited."""
    send = watched_async(original, library, in_force)

    @wraps(original)
    def send_at_once(client: Any, request: Any, **options: Any) -> Any:
        taps = in_force()
        if taps is not None and taps.api(request) is not None:
            return at_once(send(client, request, **options))
        with _as_sent(request, is_watched=False):
            return original(client, request, **options)

    return send_at_once


def stood_in(original: Send, library: ModuleType) -> Send:
    """The ``send`` of a client, blocking or async, for which something else may stand in."""

    @wraps(original)
    def send(client: Any, request: Any, **options: Any) -> Any:
        instead = standing_in.get()
        if instead is None:
            return original(client, request, **options)
        if not isinstance(client, library.AsyncClient):
            return instead(library, request, request.read())

        async def awaited() -> Any:
            return instead(library, request, await request.aread())

        return awaited()

    return send


WATCHED: Final = {"Client": watched, "AsyncClient": watched_async}
"""By the class of a library, what its ``send`` becomes."""


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


def _ending(error: BaseException, *, is_answered: bool) -> Ending:
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"TimeoutException", "TimeoutError"}:
        return "timeout"
    if names & {"CancelledError", "KeyboardInterrupt", "SystemExit", "GeneratorExit"}:
        return "cancelled"
    return "cut" if is_answered else "unreachable"
