"""A client object of the user's own, of a provider's SDK, as a candidate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from refold.conversation.apis.asking import written
from refold.errors import refuse_unless
from refold.http import retry_after_s
from refold.replay.candidate import Candidate, FailureKind, ModelFailure, snippet
from refold.replay.request import ChatRequest

_BUSY = frozenset({408, 409, 425, 429})


def candidate_of(given: Any) -> Candidate:
    """The candidate itself, or one that asks a client: of OpenAI, Anthropic, or google-genai.

    Sync and async clients will do; they are told not to ask again by themselves.
    """
    if callable(given):
        answering: Candidate = given
        return answering
    ask = _asking(given)
    refuse_unless(ask is not None, "a function, a ChatEndpoint or a client", candidate=given)
    assert ask is not None
    return ClientCandidate(given, ask)


class ClientCandidate:
    """Asks a client object; ``url`` is where it leads, by its own word."""

    model: str | None = None

    def __init__(self, client: Any, ask: Callable[[ChatRequest], Any]) -> None:
        self.url = str(getattr(client, "base_url", None) or type(client).__qualname__)
        self._ask = ask

    def __call__(self, request: ChatRequest) -> Any:
        """The answer of the SDK, or an awaitable of it."""
        try:
            answer = self._ask(request)
        except Exception as error:
            raise _failure(error) from error
        return _awaited(answer) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Any) -> Any:
    try:
        return await answer
    except Exception as error:
        raise _failure(error) from error


def _asking(client: Any) -> Callable[[ChatRequest], Any] | None:
    """How a client is asked, by what it has."""
    once = client.with_options(max_retries=0) if hasattr(client, "with_options") else client
    if hasattr(getattr(once, "chat", None), "completions"):
        return lambda request: once.chat.completions.create(**_sent("chat", request, "messages"))
    if hasattr(getattr(once, "messages", None), "create"):
        said = "messages", "system", "max_tokens"
        return lambda request: once.messages.create(**_sent("anthropic", request, *said))
    # google-genai has its async half beside the sync one.
    if hasattr(getattr(client, "models", None), "generate_content"):
        return lambda request: client.models.generate_content(**_generating(request))
    return None


def _sent(api: str, request: ChatRequest, *named: str) -> dict[str, Any]:
    """The arguments of ``create``: what has no name of its own there goes along as it is."""
    body = written(api, request.model, request.messages, request.tools, request.params)
    known = {"model", "tools", *named}
    more = {name: value for name, value in body.items() if name not in known}
    return {**{name: body[name] for name in body.keys() & known}, "extra_body": more}


def _generating(request: ChatRequest) -> dict[str, Any]:
    body = written("gemini", request.model, request.messages, request.tools, request.params)
    config = {**body.pop("generationConfig", {}), **body}
    return {"model": request.model, "contents": config.pop("contents"), "config": config}


def _failure(error: Exception) -> ModelFailure:
    """What an SDK raised, as a failure: each has its classes, and they are named alike."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    name, kind = type(error).__name__, "error"
    if isinstance(status, int):
        kind = "busy" if status in _BUSY or status >= 500 else "refused"
    elif "Timeout" in name:
        kind = "timeout"
    elif "Connect" in name:
        kind = "unreachable"
    known: FailureKind = kind  # type: ignore[assignment]
    return ModelFailure(
        f"the client raised {name}: {snippet(str(error))}",
        kind=known,
        status=status if isinstance(status, int) else None,
        retry_after_s=retry_after_s(headers, now=datetime.now(UTC)),
    )
