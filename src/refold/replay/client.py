"""An OpenAI-compatible endpoint as a candidate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlunsplit

import msgspec

from refold.errors import Rejected, Unavailable, UsageError
from refold.http import HttpClient, checked_url, decoded
from refold.replay.candidate import ModelFailure
from refold.replay.completion import parse_completion
from refold.replay.decision import Action
from refold.replay.request import ChatRequest

KEY_VARIABLES: Final = ("REFOLD_API_KEY", "OPENAI_API_KEY")
_PATH: Final = "/chat/completions"
_CONFLICT: Final = 409
"""Two requests at a time for one thing, as OpenAI answers where it holds a lock: ask again."""


class ChatEndpoint:
    """A service that speaks ``POST <base_url>/chat/completions``, as OpenAI's and many others do.

    ``base_url`` ends as the provider gives it, mostly in ``/v1``. ``model`` is asked for where the
    variant names none; put it into the variant where it is what you compare. ``api_key`` is by
    default that of the environment: ``REFOLD_API_KEY``, else ``OPENAI_API_KEY``. ``timeout_s``
    bounds a whole answer. ``headers`` are sent along. Safe between threads; connections are made
    when first needed and let go by :meth:`close`, after which it can be used again.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        parts = checked_url(base_url)
        self._target = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{_PATH}"))
        # A query may hold a key, and this is what errors name.
        self.url = self._target.partition("?")[0]
        self.model = model
        said = dict(headers or {})
        if key := (_key_of_environment() if api_key is None else api_key).strip():
            said["authorization"] = f"Bearer {key}"
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
        content = msgspec.json.encode(request.body())
        try:
            completion = decoded(await self.http.send("POST", self._target, content=content))
        except (Unavailable, Rejected) as error:
            raise ModelFailure.of(error) from error
        return parse_completion(completion)

    def close(self) -> None:
        """Let go of connections; what is under way on them fails."""
        self.http.close()

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.url!r}, model={self.model!r})"


def _key_of_environment() -> str:
    return next((key for name in KEY_VARIABLES if (key := os.environ.get(name))), "")
