"""Conversations of a tree of spans: what OpenTelemetry, Langfuse and LangSmith record.

Each call of a model has the whole conversation so far in its input. A call goes on with the
conversation that its input begins with, and what is new in it is added; a call that none fits, as
a sub-agent's, begins one of its own. Of calls that hold each other, as a framework's around its
client's, one is read: the innermost whose messages can be read, with the innermost figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import ODD, Conversations, Found, Options, Problem, losses
from refold.conversation.importers.dialects import (
    answer_in,
    decoded,
    is_printed,
    request_in,
    tools_of,
)
from refold.conversation.importers.fields import reason_of
from refold.conversation.importers.repeating import ReadRequest, RepeatedRequests, key_of
from refold.conversation.importers.source import named
from refold.conversation.importers.spans import Span, Trace
from refold.core import jsonvalue
from refold.core.event import Event
from refold.errors import InvalidEvent, UsageError

_CALL: Final = '["call",'
_OF_CALLS: Final = ("model", "tool")


@dataclass
class _Talk:
    """A conversation as far as it is known: its events, and a key for each that comes again."""

    said: list[Event]
    keys: list[str] = field(default_factory=list)
    setup: events.AgentConfigured | None = None
    open: dict[str, events.ToolCall] = field(default_factory=dict)
    _of_words: list[str] = field(default_factory=list)

    def keys_with(self, has_calls: bool) -> Sequence[str]:
        """The keys, those of calls only where they are told."""
        return self.keys if has_calls else self._of_words

    def add(self, event: Event, at_us: int | None) -> None:
        self.said.append(Event.of(event.data, metadata=event.metadata, occurred_at=at_us))
        if key := key_of(event.data):
            self.keys.append(key)
            self._of_words += [] if key.startswith(_CALL) else [key]
        match event.data:
            case events.ToolCall(call_id=own_id):
                self.open[own_id] = event.data
            case events.ToolResult(call_id=own_id):
                self.open.pop(own_id, None)


class Telling:
    """Tells a trace as conversations: ``talks``, and what of it is ``unread``.

    ``is_settled`` says, when it is told, that nothing in it waits for what comes later.
    """

    def __init__(self, trace: Trace, options: Options) -> None:
        self.talks: list[_Talk] = []
        self.unread: list[Unread] = []
        self.trace, self.options = trace, options
        self.is_settled = False
        self._spans = sorted(trace.spans, key=_order)
        self._began_us = self._spans[0].start_us if self._spans else None
        self._last = _order(self._spans[-1]) if self._spans else (0, "")
        self._by_id = {span.id: span for span in self._spans}
        self._goes_on = any(span.is_open for span in self._spans if span.parent not in self._by_id)
        if self._goes_on:
            self._spans = self._ended()
        self._ran: list[Span] = []
        self._requests = RepeatedRequests()

    def tell(self) -> None:
        """Go through the spans in the order of their time."""
        self.is_settled = False
        calls = {span.id: span for span in self._calls()}
        for span in self._spans:
            if span.id in calls:
                self._call(calls[span.id])
            elif span.kind in ("tool", "other"):
                self._tool(span)
        is_settled = not (self._ran or self._goes_on)
        for talk in self.talks:
            for call in list(talk.open.values()):
                ran = self._run_of(call)
                if ran and self._goes_on:  # What asks for it may tell it otherwise.
                    self._lose(ran.at, "the result of a call: it comes in when the trace has ended")
                elif ran:
                    talk.add(_result_of(ran, call), ran.end_us)
        if not self.talks:
            ended = " that has ended: it still goes on" if self._goes_on else " in it"
            raise InvalidEvent(f"there is no call of a model or of a tool{ended}")
        self.is_settled = is_settled
        # What was told is in the talks; the spans repeat it many times.
        self._spans, self._by_id, self.trace = [], {}, self.trace._replace(spans=())
        self._requests = RepeatedRequests()

    @property
    def size_chars(self) -> int:
        """How much is said in what it holds, in characters."""
        return sum(len(key) for talk in self.talks for key in talk.keys)

    def go_on(self, more: Trace) -> bool:
        """Take what the same conversation says later, to :meth:`tell` it as if all were told anew.

        No span of ``more`` may be, or hold, one of those before. False, and nothing is taken, where
        it does not come after them, or what they say may depend on it.
        """
        later = Telling(more, self.options)
        is_after = bool(later._spans) and _order(later._spans[0]) > self._last
        if not (self.is_settled and is_after and more.id == self.trace.id) or later._goes_on:
            return False
        unread, line = [*self.trace.unread, *more.unread], min(self.trace.line, more.line)
        self.trace = self.trace._replace(unread=unread, line=line)
        self._spans, self._by_id, self._last = later._spans, later._by_id, later._last
        return True

    def _ended(self) -> list[Span]:
        """The spans up to the first call that has not ended; told another time they go on so."""
        calls = (n for n, one in enumerate(self._spans) if one.is_open and one.kind in _OF_CALLS)
        count = next(calls, len(self._spans))
        for span in self._spans[count : count + 1]:
            self._lose(span.at, "not taken from here on: it has not ended; import it when it has")
        return self._spans[:count]

    def _calls(self) -> Iterator[Span]:
        """The calls of models, each once however many spans it has."""
        models = [span for span in self._spans if span.kind in ("model", "words")]
        inner: dict[str, list[Span]] = {span.id: [] for span in models}
        for span in models:
            for holder in self._holders(span):
                if holder.id in inner:
                    inner[holder.id].append(span)
        for span in models:
            held = inner[span.id]
            if any(_is_readable(one) for one in held):
                continue
            holders = (one for one in self._holders(span) if one.kind == "model")
            if any(map(_is_readable, holders)) and not _is_readable(span):
                continue
            if len(held) == 1:
                (last,) = held
                span = span._replace(usage=last.usage, cost=last.cost, params=last.params)
            yield span

    def _holders(self, span: Span) -> Iterator[Span]:
        seen, parent = {span.id}, span.parent
        while parent in self._by_id and parent not in seen:
            seen.add(parent)
            yield self._by_id[parent]
            parent = self._by_id[parent].parent

    def _call(self, span: Span) -> None:
        agent, said, keys_of_all, _ = self._asked(span)
        keys = [key for key in keys_of_all if key]
        talk = self._fitting(keys)
        known = len(talk.keys_with(any(key.startswith(_CALL) for key in keys)))
        if agent != talk.setup:
            talk.setup = agent
            talk.add(Event.of(agent), span.start_us)
        for event, key in zip(said, keys_of_all, strict=True):
            if known:
                known -= 1 if key else 0
                continue
            self._heard(talk, event, span)
        for event in self._answer(span, agent) if span.kind == "model" else ():
            talk.add(event, span.end_us or span.start_us)

    def _heard(self, talk: _Talk, event: Event, span: Span) -> None:
        """Add what a request says; a result with the time and the figures of its tool's span."""
        result = event.data
        if not isinstance(result, events.ToolResult):
            talk.add(event, span.start_us)
            return
        if not result.call_id and len(talk.open) == 1:
            result = replace(result, call_id=next(iter(talk.open)))
        call = talk.open.get(result.call_id)
        ran = self._run_of(call) if call else None
        if ran is not None:
            result = replace(result, latency_ms=ran.latency_ms)
        beside = (event.metadata or {}).get("openai", {}).get("set", {})
        if (ran and ran.error) or beside.get("error"):
            result = replace(result, is_error=True)
        at_us = ran.end_us if ran else None
        talk.add(Event.of(result, metadata=event.metadata), at_us or span.start_us)

    def _fitting(self, keys: list[str]) -> _Talk:
        """The longest conversation that goes on like this; a new one where none does."""
        # Some instrumentations leave out of a request the calls that its results answer.
        has_calls = any(key.startswith(_CALL) for key in keys)
        fit = [
            talk for talk in self.talks if (own := talk.keys_with(has_calls)) == keys[: len(own)]
        ]
        if not fit:
            fit = [_Talk([])]
            metadata = {"trace": {"id": self.trace.id, **self.trace.beside}}
            fit[0].add(Event.of(events.SessionStarted(), metadata=metadata), self._began_us)
            self.talks += fit
        return max(fit, key=lambda talk: len(talk.keys))

    def _asked(self, span: Span) -> ReadRequest:
        """What a call asks, its agent as request and span configure it together."""
        read = self._requests.read(span.asked, span.answered)
        if read is not None:
            self._note(span.asked_at, read.unread)
        elif span.asked is None:
            self._lose(span.at, "what the model was asked is not recorded")
        else:
            self._lose(span.asked_at, "what the model was asked is in no shape that is known")
        read = read or ReadRequest(events.AgentConfigured(), [], [])
        own = read.agent
        names = (one.agent for one in (span, *self._holders(span)) if one.agent)
        agent = replace(
            own,
            agent=next(names, self.options.agent),
            model=span.model or own.model or self.options.model,
            provider=span.provider,
            params={**span.params, **own.params},
            tools=own.tools or self._tools(span),
        )
        return read._replace(agent=agent)

    def _tools(self, span: Span) -> list[events.Tool]:
        if span.tools is None:
            return list(self.options.tools)
        tools, unread = shapes.read_tools(tools_of(span.tools))
        self._note(span.at, unread)
        return tools

    def _answer(self, span: Span, agent: events.AgentConfigured) -> list[Event]:
        """The events of an answer, with the figures of its span; and of its failure."""
        told = events.ModelResponse(message_id=span.id)
        made = [] if span.error else [Event.of(told)]
        if found := answer_in(span.answered):
            made = [Event.of(told)]
            try:
                chat = found[0].read_answer(found[1], told, agent.tools)
            except InvalidEvent as error:
                self._lose(span.answered_at, error.reason)
            else:
                self._note(span.answered_at, chat.unread)
                made = chat.events
        elif span.answered is not None:
            self._lose(span.answered_at, "the answer is in no shape that is known")
        elif not span.error:
            self._lose(span.at, "the answer is not recorded")
        failed = [events.ModelFailed(span.error)] if span.error else []
        return [*(_figured(event, span) for event in made), *map(Event.of, failed)]

    def _tool(self, span: Span) -> None:
        """A tool that ran: for a call that is open, or called by no model that is recorded."""
        if any(_fits(span, call) for talk in self.talks for call in talk.open.values()):
            self._ran.append(span)
            return
        if span.kind == "other":
            self._lose(span.at, f"a step that is no call: {span.name}")
            return
        talk = self.talks[-1] if self.talks else self._fitting([])
        text, own_id = span.arguments, span.call_id or span.id
        call = events.ToolCall(own_id, span.name, text, shapes.parsed_arguments(text))
        talk.add(Event.of(shapes.described(call, self.options.tools)), span.start_us)
        talk.add(_result_of(span, call), span.end_us)

    def _run_of(self, call: events.ToolCall) -> Span | None:
        """The span of the tool that ran for a call, the surest first; it is taken once."""
        fits = [span for span in self._ran if _fits(span, call)]
        first = min(fits, key=lambda span: not span.call_id, default=None)
        if first is not None:
            self._ran.remove(first)
        return first

    def _note(self, at: str, unread: Iterable[Unread]) -> None:
        """Losses inside a field that may be text: its own pointer, and why, and where in it."""
        for one in unread:
            self._lose(at, f"{one.why} ({one.pointer})")

    def _lose(self, at: str, reason: str) -> None:
        self.unread.append(Unread("field", at, reason))


def read_traces(
    source_name: str, category: str, options: Options, traces: Iterable[Trace | Problem]
) -> Conversations:
    """The conversations of traces; a trace that holds none is a problem by itself."""
    for trace in traces:
        if isinstance(trace, Problem):
            yield trace
        else:
            yield from told_by(Telling(trace, options), source_name, category)


def told_by(telling: Telling, source_name: str, category: str) -> Conversations:
    """The conversations of a trace, told now; what holds none is a problem."""
    trace = telling.trace
    try:
        telling.tell()
    except ODD as error:
        yield Problem(source_name, trace.line, f"trace {trace.id}: {reason_of(error)}")
        return
    base = f"{telling.options.category or trace.category or category}-{named(trace.id)}"
    loss = losses(f"{source_name}:{trace.line}", [*trace.unread, *telling.unread])
    for number, talk in enumerate(telling.talks):
        yield Found(
            f"{base}.{number + 1}" if number else base,
            talk.said if number else [*talk.said, *trace.scores],
            file=source_name,
            line=trace.line,
            metadata=trace.metadata,
            loss=() if number else loss,
            run=trace.run,
        )


def _order(span: Span) -> tuple[int, str]:
    return span.start_us or 0, span.order or span.at


def _figured(event: Event, span: Span) -> Event:
    """A response with the figures of its span, where the answer itself has none."""
    if not isinstance(own := event.data, events.ModelResponse):
        return event
    figured = replace(
        own,
        usage=own.usage or span.usage,
        model=own.model or span.model,
        response_id=own.response_id or span.response_id,
        latency_ms=span.latency_ms,
        first_token_ms=span.first_token_ms,
        cost=span.cost,
    )
    kept = {"span": {"id": span.id, "parent": span.parent, "name": span.name, **span.beside}}
    return Event.of(figured, metadata={**(event.metadata or {}), **kept})


def _result_of(span: Span, call: events.ToolCall) -> Event:
    result = _kept(span.answered)
    if result is None and span.error:
        result = span.error
    made = events.ToolResult(
        call.call_id, result, bool(span.error), span.latency_ms, name=call.name
    )
    return Event.of(made)


def _kept(result: Any) -> Any:
    """What a result says as JSON, where that comes back as it is; else its text."""
    try:
        said = decoded(result)
        shapes.check_json(said, [])
    except (InvalidEvent, UsageError):
        return result if isinstance(result, str) else shapes.json_text(result)
    return said


def _fits(span: Span, call: events.ToolCall) -> bool:
    """Whether a tool's span can be of a call: by its id, else by its name and arguments."""
    if span.call_id and span.call_id == call.call_id:
        return True
    if span.name != call.name or (span.call_id and not call.call_id.startswith("function:")):
        return False
    said = shapes.exact_arguments(span.arguments), shapes.exact_arguments(call.arguments)
    return span.asked is None or jsonvalue.equal(*said)


def _is_readable(span: Span) -> bool:
    """Whether the messages of a call are recorded as such, and not as a text of them all."""
    asked = decoded(span.asked)
    is_text = isinstance(asked, str) or is_printed(asked)
    return not is_text and request_in(asked) is not None
