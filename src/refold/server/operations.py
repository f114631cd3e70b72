"""The addresses: one table that routes, the document and the tests are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from refold.server import following, knowing, otlp, reading, wire, writing
from refold.server.access import Scope
from refold.server.desk import ServedCall

JSON: Final = "application/json"


class Endpoint(NamedTuple):
    """What an address does: ``handler`` makes a ``gives`` of a ``query`` and a ``body``.

    A ``body`` of ``bytes`` is given as it was sent, in any of the ``media`` types. A handler may
    answer with a response of its own. ``scope`` is what a token must allow; None: no token is
    asked for. ``refusals`` are the statuses that it may have beside 400 and those of tokens.
    """

    method: str
    path: str
    handler: Callable[[ServedCall], Awaitable[Any]]
    gives: type
    scope: Scope | None
    query: type | None = None
    body: type | None = None
    status: int = 200
    media: tuple[str, ...] = (JSON,)
    answer_media: str = JSON
    refusals: tuple[int, ...] = ()


def _reading(
    path: str,
    handler: Callable[[ServedCall], Awaitable[Any]],
    gives: type,
    *refusals: int,
    query: type | None = None,
    **more: Any,
) -> Endpoint:
    """What a token for reading may ask; the store may be away."""
    how = {"scope": "read", "refusals": (*refusals, 503), **more}
    return Endpoint("GET", path, handler, gives, query=query, **how)


_LONG: Final = (422, 429)
"""What is worked for beside may be too much, or have to wait."""

OPERATIONS: Final = (
    Endpoint(
        "POST",
        "/v1/streams/{stream}/events",
        writing.append,
        wire.AppendAnswer,
        "append",
        body=wire.AppendRequest,
        status=201,
        refusals=(408, 409, 413, 415, 422, 429, 503, 504),
    ),
    _reading(
        "/v1/streams/{stream}/events", reading.stream_events, wire.EventPage, 404,
        query=wire.OfStream,
    ),
    _reading("/v1/events", reading.log_events, wire.EventPage, *_LONG, query=wire.OfLog),
    _reading(
        "/v1/streams/{stream}/state", knowing.state, wire.StateAnswer, 404, *_LONG,
        query=wire.OfState,
    ),
    _reading(
        "/v1/conversations", knowing.conversations, wire.ConversationsAnswer, 429,
        query=wire.OfConversations,
    ),
    _reading(
        "/v1/compare", knowing.compare, wire.ComparisonAnswer, 404, *_LONG, query=wire.OfComparison
    ),
    _reading(
        "/v1/subscribe", following.subscribe, str, 410,
        query=wire.OfFollowing, answer_media=following.EVENT_STREAM,
    ),
    _reading("/health", reading.health, wire.Health, scope=None),
)  # fmt: skip

OTLP: Final = tuple(
    Endpoint("POST", path, handler, bytes, "append", body=bytes, media=(otlp.PROTOBUF, JSON))
    for path, handler in (("/v1/traces", otlp.traces), ("/v1/logs", otlp.logs))
)
"""What exporters of OpenTelemetry send to; its own specification describes them."""
