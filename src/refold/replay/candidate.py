"""Who answers in a replay: an endpoint or a function, and the ways in which it can fail to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

from refold.errors import RefoldError, Rejected, Unavailable
from refold.replay.decision import Action
from refold.replay.request import ChatRequest

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
_ASKED_AGAIN_ONCE: Final = frozenset({"garbage"})
_ASKED_AGAIN: Final = frozenset({"unreachable", "timeout", "busy"})


class ModelFailure(RefoldError):
    """A candidate gave no answer; recorded as ``model.failed`` and never held against the model.

    A candidate function may raise it to have ``busy`` or ``timeout`` asked again. ``status`` is
    the HTTP status, ``retry_after_s`` what the service asked for, where known.
    """

    code = "model_failed"

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, kind=kind, status=status, retry_after_s=retry_after_s)

    @classmethod
    def of(cls, error: Unavailable | Rejected) -> ModelFailure:
        """The failure that an error of the HTTP client is."""
        kind: Any = "refused" if isinstance(error, Rejected) else error.code
        return cls(
            error.message,
            # A lost connection may be the service's way to say that it has too much to do.
            kind="busy" if kind == "broken" else kind,
            status=error.facts.get("status"),
            retry_after_s=error.facts.get("retry_after_s"),
        )

    def seen_max(self, attempts_max: int) -> int:
        """How often one decision may fail like this before asking again is pointless."""
        if self.kind in _ASKED_AGAIN:
            return attempts_max
        return 2 if self.kind in _ASKED_AGAIN_ONCE else 1
