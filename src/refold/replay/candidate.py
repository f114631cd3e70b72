"""Who answers in a replay: a function or an endpoint, how they fail, and what they say, checked."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlunsplit

import msgspec
from msgspec.structs import replace

from refold import secrecy
from refold.conversation.amounts import read_amount
from refold.conversation.apis import APIS, api_of_answer
from refold.conversation.apis.asking import API_NAMES, written
from refold.conversation.apis.saying import has_token
from refold.conversation.apis.sse import Frame, SseParser, frames_of
from refold.conversation.chat_shapes import as_json
from refold.conversation.events import ModelFailed, ModelResponse, Usage
from refold.conversation.openai_chat import read_cost
from refold.errors import (
    InvalidEvent,
    RefoldError,
    Rejected,
    Unavailable,
    UsageError,
    refuse_unless,
)
from refold.hosts import normal_url
from refold.http import HttpClient, checked_headers, checked_url, decoded
from refold.replay.decision import REFUSED, Action, action_in
from refold.replay.request import ChatRequest

T = TypeVar("T")
Answered = Action | Mapping[str, Any]
"""An action, an assistant message as a dict, or a whole chat completion as a dict."""
Candidate = Callable[[ChatRequest], Answered | Awaitable[Answered]]
"""A function, sync or async, or a :class:`~refold.replay.ChatEndpoint`."""

FailureKind = Literal["unreachable", "timeout", "busy", "garbage", "refused", "error"]
"""Why there was no answer.

``unreachable``: no connection. ``timeout``: no whole answer in time. ``busy``: the service said to
come back (429, 5xx) or dropped the connection. ``garbage``: an answer that is not one. ``refused``:
the service will not take this request (other 4xx). ``error``: the candidate function raised.
"""
FAILURES_MAX: Final[Mapping[str, int]] = {"garbage": 2, "refused": 1, "error": 1}
"""How often one decision may fail so before asking again is pointless; the rest may pass."""


class ModelFailure(RefoldError):
    """A candidate gave no answer; recorded as ``model.failed`` and never held against the model.

    A candidate function may raise it to have ``busy`` or ``timeout`` asked again. ``status`` is
    the HTTP status, ``retry_after_s`` what the service asked for, where known; ``usage`` what was
    charged all the same, as far as the service says.
    """

    kind: FailureKind
    status: int | None
    retry_after_s: float | None
    usage: Usage | None = None

    code = "model_failed"

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        # What a candidate says may hold half a surrogate pair, which nothing can store.
        message = message.encode("utf-8", "replace").decode()
        # Nor can a status that is none be.
        status = status if type(status) is int and 0 <= status < STATUS_END else None
        retry_after_s = _known(retry_after_s, float)
        super().__init__(message, kind=kind, status=status, retry_after_s=retry_after_s)

    @property
    def is_free(self) -> bool:
        """Whether surely nothing was charged: it was turned away, or never came to the service.

        Not so where the service failed at it, or the user's own function did after it had asked.
        """
        turned_away = self.status is not None and 400 <= self.status < 500 and self.status != 408
        return turned_away or self.status in _TOO_MUCH or self.kind == "unreachable"

    @classmethod
    def of(cls, error: Unavailable | Rejected, *, key: str) -> ModelFailure:
        """The failure that an error of the HTTP client is; ``key`` says whose key was sent."""
        kind: Any = "refused" if isinstance(error, Rejected) else error.code
        return cls(
            f"{error.message}; {key}" if error.facts.get("status") in (401, 403) else error.message,
            # A lost connection may be the service's way to say that it has too much to do.
            kind="busy" if kind == "broken" else kind,
            status=error.facts.get("status"),
            retry_after_s=error.facts.get("retry_after_s"),
        )


STATUSES: Final[Mapping[Any, int]] = {
    **{"rate_limit_error": 429, "rate_limit_exceeded": 429, "overloaded_error": 529},
    **{"api_error": 500, "server_error": 500, "timeout_error": 504},
}
"""The statuses of errors that come in the midst of a stream, by what APIs call them."""
_TOO_MUCH: Final = frozenset({503, 529})
"""Statuses of a service that has too much to do to take a request up."""
KEY_VARIABLES: Final = ("REFOLD_API_KEY", "OPENAI_API_KEY")
_KEYS: Final = {
    "anthropic": ("REFOLD_API_KEY", "ANTHROPIC_API_KEY"),
    "gemini": ("REFOLD_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"),
}
_PATHS: Final = {"chat": "/chat/completions", "responses": "/responses", "anthropic": "/messages"}
_CHAT: Final = "openai.chat"
_CONFLICT: Final = 409
"""Two requests at a time for one thing, as OpenAI answers where it holds a lock: ask again."""
ApiName = Literal["chat", "responses", "anthropic", "gemini"]


class ChatEndpoint:
    """A service that speaks ``POST <base_url>/chat/completions``, as OpenAI's and many others do.

    ``api`` is ``chat``, or the API that it speaks instead: OpenAI's ``responses``, Messages of
    ``anthropic``, generateContent of ``gemini``. ``base_url`` ends as the provider gives it, mostly
    in ``/v1``. ``model`` is asked for where the variant names none; put it into the variant where
    it is what you compare. ``api_key`` is by default that of the environment: ``REFOLD_API_KEY``,
    else ``OPENAI_API_KEY`` (``ANTHROPIC_API_KEY``, ``GEMINI_API_KEY``). With ``stream`` answers
    come in pieces, so that the time to the first that says something is known; one that breaks off
    before its API's own end is no answer, and asked for again. ``timeout_s`` bounds a whole answer.
    ``headers`` are sent along. Safe between threads; connections are made when first needed and
    let go by :meth:`close`, after which it can be used again.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api: ApiName = "chat",
        stream: bool = False,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        parts = checked_url(base_url)
        refuse_unless(api in API_NAMES, f"one of {', '.join(API_NAMES)}", api=api)
        self._api, self._is_streamed = api, stream
        own = _PATHS.get(api, "/models")
        # Whoever gives the whole address means the same place.
        path = parts.path.rstrip("/").removesuffix(own) + own
        self._target = urlunsplit(parts._replace(path=path))
        # A query or a path may hold a key, and this is what is recorded, and what errors name.
        self.url = secrecy.without_keys(normal_url(self._target.partition("?")[0]))
        # Where it leads, whatever it is called on record.
        self.address = normal_url(f"{parts.scheme}://{parts.netloc}")
        self.model = model
        said = checked_headers(headers)
        if not isinstance(api_key, str | None):
            raise UsageError("api_key= is text, or None for that of the environment")
        known = _KEYS.get(api, KEY_VARIABLES)
        name = next(filter(os.environ.get, known), "") if api_key is None else "api_key="
        if key := (os.environ.get(name, "") if api_key is None else api_key).strip():
            said |= _key_header(api, key)
        if api == "anthropic":
            said = {"anthropic-version": "2023-06-01", **said}
        self._key_said = f"the key sent: {name or 'none, set ' + ' or '.join(known)}"
        self.http = HttpClient(headers=said, timeout_s=timeout_s, come_back=frozenset({_CONFLICT}))

    def __call__(self, request: ChatRequest) -> Action:
        """Ask once; raises :class:`~refold.replay.ModelFailure` when there is no answer."""
        return self.http.wait(self.ask(request))

    async def ask(self, request: ChatRequest) -> Action:
        """The same, on an event loop."""
        if request.model is None:
            raise UsageError(
                f"no model to ask {self.url} for: the record of {request.at} names none, so give "
                "Variant(model=…) or ChatEndpoint(model=…)",
                at=request.at,
            )
        url, body = self._asked(request)
        content, parser = msgspec.json.encode(body), SseParser()

        def begins(piece: bytes) -> bool:
            return self._is_streamed and any(map(has_token, parser.feed(piece)))

        try:
            reply = await self.http.send("POST", url, content=content, begins=begins)
            is_stream = reply.headers.get("content-type", "").startswith("text/event-stream")
            frames = frames_of([reply.content]) if is_stream else []
            completion = assembled(self._api, frames) if is_stream else decoded(reply)
        except (Unavailable, Rejected) as error:
            raise ModelFailure.of(error, key=self._key_said) from error
        took_ms, first_ms = (round(seconds * 1_000, 3) for seconds in reply[-2:])
        action = parse_completion(completion)
        return replace(action, latency_ms=took_ms, first_token_ms=first_ms or None)

    def _asked(self, request: ChatRequest) -> tuple[str, dict[str, Any]]:
        """Where a request goes, and what it says there."""
        said = request.messages, request.tools, request.params
        body = written(self._api, request.model, *said)
        if self._api == "gemini":
            verb = ":streamGenerateContent?alt=sse" if self._is_streamed else ":generateContent"
            base, mark, query = self._target.partition("?")
            more = f"{'&' if '?' in verb else '?'}{query}" if mark else ""
            return f"{base}/{request.model}{verb}{more}", body
        if self._is_streamed:
            body["stream"] = True
            if self._api == "chat":
                body["stream_options"] = {"include_usage": True}
        return self._target, body

    def close(self) -> None:
        """Let go of connections; what is under way on them fails."""
        self.http.close()

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.url!r}, model={self.model!r})"


STATUS_END: Final = 1_000
MEASURE_END: Final = 2**53
"""From here on a count, or a number of milliseconds, is none."""
CALLS_MAX: Final = 1_000
"""The most tool calls that one answer may hold."""
SNIPPET_CHARS: Final = 200
# Without one of these an object is no assistant message.
_SAYS: Final = frozenset({"content", "tool_calls", "function_call", "refusal", "audio"})


def action_of(answered: Answered) -> Action:
    """The action of whatever a candidate may answer with: an action, a message, an API's answer.

    Raises :class:`ModelFailure` of kind ``garbage`` saying what is not as it must be: an answer
    of which a part is not understood is none, as it would be taken for another.
    """
    if isinstance(answered, Action):
        took = {
            "cost": read_amount(answered.cost),
            "latency_ms": _known(answered.latency_ms, float),
            "usage": _known(answered.usage, Usage),
        }
        try:
            return msgspec.convert(msgspec.to_builtins(replace(answered, **took)), Action)
        except Exception as error:
            raise _garbage(f"an action that is none: {error}: {snippet(answered)}") from error
    try:
        # As a service would have sent it: tuples are lists, an SDK's object is what was set.
        said = msgspec.json.decode(msgspec.json.encode(as_json(answered)))
    except Exception as error:
        raise _garbage(f"an answer that is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise _garbage(f"{type(answered).__name__} where an action or a message must be")
    is_message = api_of_answer(said).name == _CHAT and not said.keys() & {"choices", "error"}
    return parse_completion({"choices": [{"message": said}]} if is_message else said)


def _key_header(api: str, key: str) -> dict[str, str]:
    match api:
        case "anthropic":
            return {"x-api-key": key}
        case "gemini":
            return {"x-goog-api-key": key}
    return {"authorization": f"Bearer {key}"}


def assembled(api: str, frames: Iterable[Frame]) -> Any:
    """The answer that a stream of server-sent events makes."""
    (reader,) = (one for one in APIS if one.name == API_NAMES[api])
    made = reader.assemble(frames)
    if made.error is not None:
        status = STATUSES.get(made.error.get("type"), made.error.get("code"))
        return {"error": {**made.error, "code": status}}
    if not made.is_whole:
        # As a dropped connection, which it mostly is: a server may close one in good order too.
        why = f"the stream broke off before its end: {snippet(made.body)}"
        raise ModelFailure(why, kind="busy")
    return made.body


def parse_completion(completion: Any) -> Action:
    """The action of the first choice of an answer, with usage, cost and model.

    It is a chat completion, or an answer of another API of :mod:`refold.conversation.apis`.
    """
    api = api_of_answer(completion)
    try:
        events, unread = api.read_answer(completion, ModelResponse())
    except (InvalidEvent, RecursionError) as error:
        raise _garbage(f"no answer: {error}: {snippet(completion)}") from error
    typed = [event.data for event in events]
    if failed := [event for event in typed if isinstance(event, ModelFailed)]:
        raise _failure(failed[0])
    if odd := [one for one in unread if one.what in ("words", "call")]:
        raise _garbage(f"{odd[0].reason} at {odd[0].pointer}: {snippet(completion)}")
    message = completion["choices"][0]["message"] if api.name == _CHAT else {}
    if api.name == _CHAT and not message.keys() & _SAYS:
        raise _garbage(f"no assistant message: {snippet(message)}")
    action = action_in(typed)
    if message.get("refusal"):
        action = replace(action, finish_reason=REFUSED)
    if len(action.calls) > CALLS_MAX or not all(call.name for call in action.calls):
        raise _garbage(f"a tool call without a name, or over {CALLS_MAX}: {snippet(action.calls)}")
    usage = action.usage if _counts_both(completion) else None
    if usage is not None and not all(map(_is_measure, msgspec.structs.astuple(usage))):
        usage = None
    return replace(action, usage=usage, cost=read_cost(completion, []))


def _known(value: Any, kind: type[T]) -> T | None:
    """What an answer took, as far as it is a measure: of its kind, finite and not negative."""
    try:
        found = msgspec.convert(msgspec.to_builtins(value), kind)
        measures = msgspec.to_builtins(found)
    except Exception:
        return None
    every = measures.values() if isinstance(measures, dict) else [measures]
    return found if all(map(_is_measure, every)) else None


def _is_measure(one: float | None) -> bool:
    return one is None or 0 <= one < MEASURE_END


def _counts_both(completion: Any) -> bool:
    """Whether an answer says how much was read and how much was said; half of it is no price."""
    given = ("prompt_tokens", "input_tokens", "promptTokenCount")
    said = ("completion_tokens", "output_tokens", "candidatesTokenCount")
    usage = completion.get("usage", completion.get("usageMetadata"))
    counts = usage if isinstance(usage, dict) else {}
    return all(any(type(counts.get(n)) is int for n in of) for of in (given, said))


def snippet(value: Any) -> str:
    """The beginning of what came instead, for an error message."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= SNIPPET_CHARS else f"{text[:SNIPPET_CHARS]}…"


def _failure(failed: ModelFailed) -> ModelFailure:
    """The failure of a service that answers 200 and says in the body that it failed."""
    is_busy = failed.status is not None and (failed.status == 429 or failed.status >= 500)
    said = f"the service's error: {snippet(failed.error)}"
    return ModelFailure(said, kind="busy" if is_busy else "garbage", status=failed.status)


def _garbage(message: str) -> ModelFailure:
    return ModelFailure(message, kind="garbage")
