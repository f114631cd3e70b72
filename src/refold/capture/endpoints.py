"""Which requests are calls of a model, and what of their headers may be kept.

Decided by address and headers alone: nothing else of what passes is read.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from refold.conversation.apis import api_of
from refold.conversation.apis.base import Api

HOSTS: Final = frozenset(
    {
        "api.anthropic.com",
        "api.cerebras.ai",
        "api.deepseek.com",
        "api.fireworks.ai",
        "api.groq.com",
        "api.mistral.ai",
        "api.openai.com",
        "api.perplexity.ai",
        "api.together.xyz",
        "api.x.ai",
        "generativelanguage.googleapis.com",
        "openrouter.ai",
    }
)
"""Hosts that serve models and nothing else that has an address such as a model's."""

_OF_SDKS: Final = ("anthropic-version", "x-stainless-lang", "x-goog-api-client")
_UNMISTAKABLE: Final = ("/chat/completions", ":generateContent", ":streamGenerateContent")
_KEPT: Final = frozenset(
    {
        "anthropic-beta",
        "anthropic-version",
        "content-encoding",
        "content-type",
        "date",
        "openai-beta",
        "openai-model",
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "user-agent",
        "x-request-id",
        "x-should-retry",
        "x-stainless-package-version",
        "x-stainless-retry-count",
    }
)
_KEPT_BEGINNINGS: Final = ("anthropic-ratelimit-", "x-ratelimit-")
_SECRET_CHARS_MIN: Final = 6
"""Shorter values of headers and queries are no secrets, and may be parts of any word."""


def endpoint(request: Any, hosts: Container[str] | None) -> Api | None:
    """The API that a request of httpx or httpx2 calls; None: it is none, and passes unread.

    ``hosts`` are those that are watched, None for all: then a path that others may have too counts
    on a known host, or with a header that the SDKs of models send.
    """
    url = request.url
    if request.method != "POST" or (hosts is not None and url.host not in hosts):
        return None
    api = api_of(url.path)
    if api is None or hosts is not None or url.host in HOSTS:
        return api
    is_sure = url.path.endswith(_UNMISTAKABLE) or any(name in request.headers for name in _OF_SDKS)
    return api if is_sure else None


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of the allow-list, names in lower case."""
    lower = ((name.lower(), value) for name, value in headers.items())
    return {k: v for k, v in lower if k in _KEPT or k.startswith(_KEPT_BEGINNINGS)}


def secrets(headers: Any, url: Any) -> list[bytes]:
    """What a request says that must not be kept, wherever it is said again; the longest first."""
    values = {
        v for name, v in headers.items() if name.lower() in _SECRET_HEADERS or "key" in name.lower()
    }
    values |= set(_words(values)) | {str(value) for value in url.params.values()}
    values |= set(filter(None, (url.username, url.password)))
    values |= {unquote_plus(value) for value in values}
    long = {value.encode() for value in values if len(value) >= _SECRET_CHARS_MIN}
    return sorted(long, key=len, reverse=True)


_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


def _words(values: Iterable[str]) -> Iterable[str]:
    """The token of ``Bearer token``, each value of ``a=1; b=2``."""
    for value in values:
        yield from (word.split("=", 1)[-1] for word in value.replace(";", " ").split())


def without(secret: Iterable[bytes], body: bytes) -> bytes:
    """A body with ``[removed]`` in place of each secret."""
    for value in secret:
        body = body.replace(value, b"[removed]")
    return body
