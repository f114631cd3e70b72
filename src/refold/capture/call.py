"""A model call as it passes by: what the transport sees of it, for the recorder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from refold.conversation.apis.base import Api

Ending = Literal["whole", "cut", "closed", "timeout", "cancelled", "unreachable"]
"""How a call ended: ``cut`` where the connection broke in the answer, ``closed`` where the caller
stopped reading, ``cancelled`` where its task or program was stopped, ``unreachable`` before any
answer came."""


@dataclass(slots=True, eq=False)
class ModelCall:
    """One request to a model's endpoint and what came back, as far as it has come.

    ``request`` is the body as sent. The headers are those of an allow-list, names in lower case;
    ``url`` has neither user nor query. ``conversation`` is the stream that the caller named, or
    the request itself, ``metadata`` what the caller adds to that of each event.
    ``attempt`` counts the SDK's own retries, from 1. ``started_us`` is microseconds UTC; the other
    times are milliseconds since then by the monotonic clock. ``status`` is None while there is no
    answer, ``ending`` while it goes on.
    """

    id: str
    api: Api
    url: str
    request: bytes
    headers: dict[str, str]
    started_us: int
    conversation: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    status: int | None = None
    answer_headers: dict[str, str] = field(default_factory=dict)
    first_token_ms: float | None = None
    latency_ms: float | None = None
    ending: Ending | None = None
    error: str | None = None
