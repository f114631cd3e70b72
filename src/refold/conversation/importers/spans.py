"""Steps of a trace, as OpenTelemetry, Langfuse, LangSmith and Inspect record them.

A format is a table of the places where its steps have what a :class:`Span` has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import msgspec

from refold.conversation import events
from refold.conversation.chat_shapes import Unread, json_text
from refold.conversation.importers.fields import FieldReader, amount, time_us
from refold.core.event import Event

Kind = Literal["model", "words", "tool", "agent", "other"]
Places = Mapping[str, str]
"""For each field of a span where it may stand: keys, or ``key/key``; the first that is set."""


class Span(NamedTuple):
    """A step of a trace; ``at`` is its JSON Pointer, ``asked_at`` and ``answered_at`` below it.

    The kind ``words`` is a conversation as it ended, its calls not recorded.
    ``asked`` and ``answered`` are its input and output as recorded. ``tools`` are those offered,
    in the shape of chat completions. ``error`` says why it failed, "" where it did not. What
    stands ``beside`` is kept with the response as it was. ``order`` is what steps of one time are
    ordered by, ``at`` where it is "".
    """

    id: str
    kind: Kind
    at: str
    start_us: int | None
    name: str = ""
    parent: str = ""
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
    order: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it was still going on when it was recorded."""
        is_ended = self.end_us is not None or self.answered is not None or self.error
        return self.kind != "words" and not is_ended

    @property
    def latency_ms(self) -> float | None:
        """How long it took; None where its end is not known."""
        if self.start_us is None or self.end_us is None:
            return None
        return (self.end_us - self.start_us) / 1_000

    @property
    def arguments(self) -> str:
        """What a tool was asked, as text."""
        return self.asked if isinstance(self.asked, str) else json_text(self.asked or {})


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

    @property
    def members(self) -> set[str]:
        """The traces that its spans name beside them; several may be of one conversation."""
        return {span.beside["trace"] for span in self.spans if "trace" in span.beside}


_HOW: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("start_us", "end_us"), time_us),
    # Text may be empty: a tool that says "" has answered.
    **dict.fromkeys(("asked", "answered"), lambda said: None if said == {} else said),
    **dict.fromkeys(("id", "call_id"), lambda said: str(said) or None),
    "tools": lambda said: None if said in ({}, "") else said,
    "cost": amount,
}


def _text(said: Any) -> str | None:
    return msgspec.convert(said, str) or None


def spans_of(one: FieldReader, kind: Kind, places: Places, **given: Any) -> list[Span]:
    """The span of an object whose fields stand in ``places``; none where it has no time.

    What is ``given`` goes before what stands there.
    """
    said: dict[str, Any] = {}
    for field, where in places.items():
        found = one.usage(where) if field == "usage" else one.first(where, _HOW.get(field, _text))
        if found is not None:
            said[field] = found
    if said.get("start_us") is None:
        one.lose(places["start_us"], "a step without a time")
        return []
    for field in ("asked", "answered"):
        said[f"{field}_at"] = f"{one.at}/{places.get(field, '')}".rstrip("/")
    said |= {key: value for key, value in given.items() if value is not None}
    return [Span(**{"id": one.at, **said}, kind=kind, at=one.at)]
