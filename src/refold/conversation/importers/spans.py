"""Steps of a trace, as OpenTelemetry, Langfuse, LangSmith and Inspect record them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from refold.conversation import events
from refold.conversation.chat_shapes import Unread
from refold.core.event import Event

Kind = Literal["model", "words", "tool", "agent", "other"]


class Span(NamedTuple):
    """A step of a trace; ``at`` is its JSON Pointer, ``asked_at`` and ``answered_at`` below it.

    The kind ``words`` is a conversation as it ended, its calls not recorded.
    ``asked`` and ``answered`` are its input and output as recorded. ``tools`` are those offered,
    in the shape of chat completions. ``error`` says why it failed, "" where it did not. What
    stands ``beside`` is kept with the response as it was.
    """

    id: str
    parent: str
    kind: Kind
    name: str
    at: str
    start_us: int | None
    end_us: int | None = None
    asked: Any = None
    answered: Any = None
    asked_at: str = ""
    answered_at: str = ""
    model: str | None = None
    provider: str | None = None
    agent: str | None = None
    params: Mapping[str, Any] = {}
    tools: Any = None
    usage: events.Usage | None = None
    cost: Decimal | None = None
    first_token_ms: float | None = None
    response_id: str | None = None
    call_id: str = ""
    error: str = ""
    beside: Mapping[str, Any] = {}

    @property
    def latency_ms(self) -> float | None:
        """How long it took; None where its end is not known."""
        if self.start_us is None or self.end_us is None:
            return None
        return (self.end_us - self.start_us) / 1_000


class Trace(NamedTuple):
    """The spans of a trace; ``beside`` is kept with the start of the session as it was.

    ``scores`` are the events that it ends with. ``category`` is the trace's own, "" for none.
    """

    id: str
    spans: Sequence[Span]
    line: int = 1
    beside: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}
    scores: Sequence[Event] = ()
    unread: Sequence[Unread] = ()
    run: str = ""
    category: str = ""
