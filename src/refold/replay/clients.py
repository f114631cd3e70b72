"""A client object of the user's own, of a provider's SDK, as a candidate."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec.structs import replace

from refold import secrecy
from refold.conversation.apis.asking import API_NAMES, written
from refold.conversation.apis.saying import has_token
from refold.conversation.apis.sse import Frame
from refold.conversation.chat_shapes import as_json
from refold.errors import refuse_unless
from refold.event_loop import LoopThread
from refold.hosts import normal_url
from refold.http import retry_after_s
from refold.replay.candidate import (
    STATUSES,
    ApiName,
    Candidate,
    FailureKind,
    ModelFailure,
    assembled,
    parse_completion,
    snippet,
)
from refold.replay.decision import Action
from refold.replay.request import ChatRequest

_BUSY: Final = frozenset({408, 409, 425, 429})
_KINDS: Final[dict[str, FailureKind]] = {
    **dict.fromkeys(("ConnectError", "ConnectTimeout", "ClientConnectorError"), "unreachable"),
    **dict.fromkeys(("TimeoutException", "TimeoutError", "ReadTimeout", "PoolTimeout"), "timeout"),
    # A connection that was dropped: as of our own, the service may have too much to do.
    **dict.fromkeys(("RemoteProtocolError", "ReadError", "WriteError", "CloseError"), "busy"),
    **dict.fromkeys(("ServerDisconnectedError", "ClientPayloadError", "ClientOSError"), "busy"),
    **dict.fromkeys(("JSONDecodeError", "UnknownApiResponseError"), "garbage"),
    **{"APITimeoutError": "timeout", "APIConnectionError": "unreachable"},
}
"""What is raised by the HTTP libraries of the SDKs, and by these where nothing else is known."""
_NAMED: Final = {
    "chat": ("messages", "tools"),
    "responses": ("input", "tools"),
    "anthropic": ("messages", "tools", "system", "max_tokens"),
}
"""What ``create`` takes by name; the rest of a body goes along as it is."""


class ClientCandidate:
    """Asks a client object, as the user made it, of the SDK of OpenAI, Anthropic or google-genai.

    It may be sync or async, and is told not to ask again by itself. ``api`` is what a client of
    OpenAI is asked in, ``"chat"`` by default or ``"responses"``; the others have one. With
    ``stream`` answers come in pieces, so that the time to the first that says something is known.
    ``url`` is where it leads, by its own word. What its errors repeat of its keys is taken out of a
    failure's text. Raises :class:`~refold.errors.UsageError` for what
    is no such client, or has not that API.
    """

    model: str | None = None

    def __init__(self, client: Any, *, api: ApiName | None = None, stream: bool = False) -> None:
        once = client.with_options(max_retries=0) if hasattr(client, "with_options") else client
        found = {name: ask for name in API_NAMES if (ask := _asking(name, once)) is not None}
        refuse_unless(
            bool(found), "a function, a ChatEndpoint or a client of an SDK", candidate=client
        )
        self._api = next(iter(found)) if api is None else api
        refuse_unless(self._api in found, f"{' or '.join(found)}, as the client has it", api=api)
        self._client, self._ask, self._is_streamed = once, found[self._api], stream
        named = str(getattr(client, "base_url", None) or type(client).__qualname__)
        place = secrecy.without_keys(secrecy.without_password(named).partition("?")[0])
        self.address = normal_url(place) if "://" in place else None
        # Of the SDK of OpenAI the address ends in a slash, and that goes on it.
        self.url = normal_url(place + "responses" * (self._api == "responses"))

    def __call__(self, request: ChatRequest) -> Any:
        """The answer of the SDK, or the action that its pieces make."""
        pieces = _Pieces()
        try:
            answer = self._ask(request, self._is_streamed)
            if inspect.isawaitable(answer):
                answer = _loop().run(self._awaited(answer, pieces))
            elif self._is_streamed:
                for piece in answer:
                    pieces.add(piece)
        except Exception as error:
            raise _failure(error, self._client, self._is_streamed) from error
        return pieces.action(self._api) if self._is_streamed else answer

    async def _awaited(self, asked: Awaitable[Any], pieces: _Pieces) -> Any:
        answer = await asked
        if self._is_streamed:
            async for piece in answer:
                pieces.add(piece)
        return answer


class _Pieces:
    """The pieces of a streamed answer, and when the first came that says something."""

    def __init__(self) -> None:
        self._began_s, self._first_s, self._frames = monotonic(), 0.0, list[Frame]()

    def add(self, piece: Any) -> None:
        frame = Frame("", msgspec.json.encode(as_json(piece)).decode())
        if not self._first_s and has_token(frame):
            self._first_s = monotonic() - self._began_s
        self._frames.append(frame)

    def action(self, api: str) -> Action:
        took_s = monotonic() - self._began_s
        action = parse_completion(assembled(api, self._frames))
        first_ms = round(self._first_s * 1_000, 3) or None
        return replace(action, latency_ms=round(took_s * 1_000, 3), first_token_ms=first_ms)


def candidate_of(given: Any) -> Candidate:
    """The candidate itself, or one that asks a client: see :class:`ClientCandidate`."""
    if callable(given):
        answering: Candidate = given
        return answering
    return ClientCandidate(given)


def _asking(api: str, client: Any) -> Callable[[ChatRequest, bool], Any] | None:
    """How a client is asked in an API, in pieces or not; None where it has not that API."""
    if api == "gemini":
        # google-genai has its async half beside the sync one.
        models = getattr(client, "models", None)
        whole = getattr(models, "generate_content", None)
        pieces = getattr(models, "generate_content_stream", None)
        each: dict[bool, Any] = {False: whole, True: pieces}
        return whole and (lambda asked, is_streamed: each[is_streamed](**_generating(asked)))
    place = getattr(client, "messages" if api == "anthropic" else api, None)
    place = getattr(place, "completions", None) if api == "chat" else place
    create = getattr(place, "create", None)
    return create and (lambda asked, is_streamed: create(**_sent(api, asked, is_streamed)))


def _sent(api: str, request: ChatRequest, is_streamed: bool) -> dict[str, Any]:
    """The arguments of ``create``: what has no name of its own there goes along as it is."""
    body = written(api, request.model, request.messages, request.tools, request.params)
    known = {"model", *_NAMED[api]}
    more = {name: value for name, value in body.items() if name not in known}
    said = {**{name: body[name] for name in body.keys() & known}, "extra_body": more}
    if is_streamed:
        said["stream"] = True
        if api == "chat":
            said["stream_options"] = {"include_usage": True}
    return said


def _generating(request: ChatRequest) -> dict[str, Any]:
    body = written("gemini", request.model, request.messages, request.tools, request.params)
    config = {**body.pop("generationConfig", {}), **body}
    return {"model": request.model, "contents": config.pop("contents"), "config": config}


_lock: Final = threading.Lock()
_loops: Final = list[LoopThread]()


def _loop() -> LoopThread:
    """The loop on which async clients are asked: one for good, as their connections are of it."""
    with _lock:
        if not _loops or not _loops[0].is_alive():  # In a process that was forked.
            _loops[:] = [LoopThread()]
        return _loops[0]


def _failure(error: Exception, client: Any, is_streamed: bool) -> ModelFailure:
    """What an SDK raised, as a failure: each has its classes, and they are named alike."""
    if isinstance(error, ModelFailure):
        return error
    status = _status(error)
    causes = [type(one).__name__ for one in _causes(error)]
    kinds: list[FailureKind] = [_KINDS[name] for name in causes if name in _KINDS]
    kind = kinds[-1] if kinds else "error"
    if status is not None:
        kind = "busy" if status in _BUSY or status >= 500 else "refused"
    elif kind == "garbage" and is_streamed:
        kind = "busy"  # A stream that was cut ends in half a piece.
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    text = secrecy.without(str(error).encode(errors="replace"), _secrets(client, error)).decode()
    return ModelFailure(
        f"the client raised {causes[0]}: {snippet(text)}",
        kind=kind,
        status=status,
        retry_after_s=retry_after_s(headers, now=datetime.now(UTC)),
    )


def _secrets(client: Any, error: Exception) -> list[str]:
    """What a client sent that is secret, as texts repeat it: keys, and what its requests held."""
    inner = getattr(client, "_api_client", None)  # Google's has its key and headers there alone.
    requests = [*_requests(error)]
    urls = [getattr(client, "base_url", ""), *(getattr(one, "url", "") for one in requests)]
    parts = [urlsplit(str(url)) for url in urls]
    keys = [getattr(one, name, "") for one in (client, inner) for name in ("api_key", "auth_token")]
    keys += [key for url in parts for key in (url.password, *secrecy.keys_in(url.path))]
    named = [("key", key) for key in keys]
    named += [pair for url in parts for pair in parse_qsl(url.query)]
    options = getattr(inner, "_http_options", None)
    headers = [getattr(client, "default_headers", None)]
    headers += [getattr(one, "headers", None) for one in (options, *requests)]
    named += [pair for one in headers if isinstance(one, Mapping) for pair in one.items()]
    # An SDK may have an object there, for a header that is left out.
    return secrecy.of((name, value) for name, value in named if isinstance(value, str))


def _requests(error: Exception) -> Iterator[Any]:
    """The requests that an error and its causes name; where there is none, it may raise."""
    for cause in _causes(error):
        for holder in (cause, getattr(cause, "response", None)):
            with suppress(RuntimeError):
                yield getattr(holder, "request", None)


def _status(error: Exception) -> int | None:
    """The HTTP status of an error; in the midst of a stream, that which it would have had."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    if isinstance(status, int) and status >= 400:
        return status
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else {}
    said = [inner.get("type"), inner.get("code")] if isinstance(inner, dict) else []
    return next((STATUSES[one] for one in said if isinstance(one, str) and one in STATUSES), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__
