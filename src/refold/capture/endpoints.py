"""Which requests are calls of a model, and what of their headers may be kept.

Decided by address and headers alone: nothing else of what passes is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from refold import secrecy
from refold.conversation.apis import api_of
from refold.conversation.apis.base import Api

HOSTS: Final = frozenset((
    "api.anthropic.com", "api.cerebras.ai", "api.deepseek.com", "api.fireworks.ai",
    "api.groq.com", "api.mistral.ai", "api.openai.com", "api.perplexity.ai", "api.together.xyz",
    "api.x.ai", "generativelanguage.googleapis.com", "openrouter.ai",
))  # fmt: skip
"""Hosts that serve models and nothing else that has an address such as a model's."""

_OF_SDKS: Final = ("anthropic-version", "x-stainless-lang", "x-goog-api-client")
_UNMISTAKABLE: Final = ("/chat/completions", ":generateContent", ":streamGenerateContent")
_KEPT: Final = frozenset((
    "anthropic-beta", "anthropic-version", "content-encoding", "content-type", "date",
    "openai-beta", "openai-model", "openai-processing-ms", "openai-version", "request-id",
    "retry-after", "retry-after-ms", "user-agent", "x-request-id", "x-should-retry",
    "x-stainless-package-version", "x-stainless-retry-count",
))  # fmt: skip
_KEPT_BEGINNINGS: Final = ("anthropic-ratelimit-", "x-ratelimit-")


def endpoint(request: Any, hosts: Callable[[str], bool] | None) -> Api | None:
    """The API that a request of httpx or httpx2 calls; None: it is none, and passes unread.

    ``hosts`` tells those that are watched, None for all: then a path that others may have too
    counts on a known host, or with a header that the SDKs of models send.
    """
    url = request.url
    if request.method != "POST" or (hosts is not None and not hosts(url.host)):
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


class RequestSecrets:
    """The secrets of the requests of one client, which holds those of its last request."""

    def __init__(self) -> None:
        # Mostly those of the next, too; to work them out took a third of the overhead of a call.
        self._last: tuple[list[str], tuple[str, ...]] = [], ()

    def of(self, headers: Iterable[Any], url: Any) -> tuple[str, ...]:
        """What a request says that must not be kept, wherever it is said again; the longest first.

        ``headers`` are those that it was made with, and those that it was sent with.
        """
        named = dict.fromkeys(item for each in headers for item in each.items())
        values = [value for name, value in named if secrecy.is_secret(name)]
        values += [str(value) for value in url.params.values()]
        values += filter(None, (url.username, url.password, *secrecy.keys_in(url.path)))
        known, forms = self._last
        if values != known:
            forms = tuple(secrecy.forms([*values, *map(unquote_plus, values)]))
            self._last = values, forms
        return forms


def without(hidden: Iterable[str], said: str) -> str:
    """A text with ``[removed]`` in place of each secret."""
    raw = said.encode(errors="surrogateescape")
    return secrecy.without(raw, hidden, mark=b"[removed]").decode(errors="surrogateescape")
