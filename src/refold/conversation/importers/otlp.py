"""OTLP JSON: traces of agents that OpenTelemetry's exporters and collectors write.

Documents or lines of ``{"resourceSpans": […]}``, and of ``{"resourceLogs": […]}`` for the events
of the GenAI conventions that are logs (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
A trace may stand in several of them, so a source is read whole before it is told; exporters repeat
what they are not sure of, so what comes again is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from refold.conversation.apis.base import objects_in
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers import otel_attributes as otel
from refold.conversation.importers.base import (
    ODD,
    Conversations,
    Options,
    Problem,
    problem_of,
    read_all,
)
from refold.conversation.importers.fields import reason_of
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.importers.spans import Span, Trace
from refold.conversation.importers.telling import read_traces

Row = dict[str, Any]
Log = tuple[str, Row]

_ERROR: Final = (2, "STATUS_CODE_ERROR")
SPANS: Final = ("resourceSpans", "scopeSpans", "spans")
LOGS: Final = ("resourceLogs", "scopeLogs", "logRecords")


def read_otlp(source: ImportSource, options: Options) -> Conversations:
    """Import OpenTelemetry traces as OTLP JSON, with the GenAI conventions: documents or lines.

    The streams are called CATEGORY-CONVERSATION, or CATEGORY-TRACE where spans name no
    conversation; the category is by default otlp. Traces without a call of a model are passed.

        refold import otlp traces.jsonl
    """
    return read_traces(source.name, "otlp", options, _traces(source))


def _is_document(value: Any) -> bool:
    given = value if isinstance(value, dict) else {}
    return any(isinstance(given.get(key), list) for key in (SPANS[0], LOGS[0]))


def _traces(source: ImportSource) -> Iterator[Trace | Problem]:
    held = GatheredSpans(source.name)

    def read(value: Value) -> Iterator[Problem]:
        document = value.read()
        if not _is_document(document):
            raise ValueError("a document of OTLP has resourceSpans or resourceLogs")
        for span, at in _records(document, *SPANS):
            held.add_span(span, at, value.line)
        for log, at in _records(document, *LOGS):
            try:
                held.add_log(checked(log))
            except ODD as error:
                yield problem_of(source, value, error, f"{at}: ")

    yield from read_all(source, read)
    yield from held.traces()


class GatheredSpans:
    """Spans and logs, each once however often it comes; in what order they come is all the same.

    Of a span that comes with other content the one that ended last holds. Logs of one time stay
    in the order in which they came. ``name`` is what a problem calls the place they are from.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._spans: dict[str, dict[Any, tuple[Row, str, int]]] = {}
        self._logs: dict[str, dict[str, Row]] = {}

    def add_span(self, row: Row, at: str, line: int) -> None:
        """Take a span; ``at`` is its JSON Pointer, ``line`` where its document stands."""
        trace = self._spans.setdefault(str(row.get("traceId")), {})
        own_id = row.get("spanId") or (line, at)
        before = trace.get(own_id)
        if before is None or _holding(row) > _holding(before[0]):
            trace[own_id] = (row, at, line)

    def add_log(self, row: Row) -> None:
        """Take a log record, of the span that it names."""
        _logged(row)  # What is odd of it is told now.
        self._logs.setdefault(str(row.get("spanId")), {}).setdefault(_text(row), row)

    def traces(self) -> Iterator[Trace | Problem]:
        """The traces that hold a call, those of one conversation as one; problems are told."""
        talks: dict[str, Trace] = {}
        for trace in self._told():
            if isinstance(trace, Problem):
                yield trace
                continue
            before = talks.get(trace.id)
            if before is not None:
                # Those of one conversation are told together, as one that began with the first.
                odd, spans = [*before.unread, *trace.unread], [*before.spans, *trace.spans]
                line = min(before.line, trace.line)
                trace = before._replace(spans=spans, unread=odd, line=line)
            talks[trace.id] = trace
        yield from talks.values()

    def _told(self) -> Iterator[Trace | Problem]:
        """Each trace that holds a call, by the name of its conversation, the earliest first."""
        found: list[Trace] = []
        for trace_id, rows in self._spans.items():
            line = min(line for _, _, line in rows.values())
            try:
                unread: list[Unread] = []
                made = [self._span(checked(row), at, unread) for row, at, _ in rows.values()]
            except ODD as error:
                yield Problem(self._name, line, f"trace {trace_id}: {reason_of(error)}")
                continue
            made.sort(key=lambda one: one[0].order)
            if any(span.kind in ("model", "tool") for span, _ in made):
                name = next((name for _, name in made if name), None) or trace_id
                spans = [span for span, _ in made]
                found.append(Trace(name, spans, line, unread=unread, run=trace_id))
        yield from sorted(found, key=lambda trace: (trace.spans[0].order, trace.run))

    def _span(self, row: Row, at: str, unread: list[Unread]) -> tuple[Span, str | None]:
        logs = self._logs.get(str(row.get("spanId")), {}).values()
        return _span(row, at, [_logged(one) for one in sorted(logs, key=_log_ns)], unread)


def is_of_agents(log: Row) -> bool:
    """Whether a log record is an event of the GenAI conventions."""
    name = log.get("eventName") or _attributes(log).get("event.name")
    return str(name).startswith("gen_ai.")


def names_in(row: Row) -> set[str]:
    """The conversations that a span, or a log record with its ``body``, may name."""
    said = [_attributes(row), *map(_attributes, objects_in(row.get("events")))]
    said += [_logged(row)[1]] if "body" in row else []
    return {name for given in said if (name := otel.conversation_of(given))}


def _holding(row: Row) -> tuple[int, str]:
    """By this a span holds before another of its id: its end, and then what it says."""
    end = str(row.get("endTimeUnixNano"))
    return int(end) if end.isdecimal() else 0, _text(row)


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True, default=str)


def _log_ns(log: Row) -> int:
    return _ns(log.get("timeUnixNano")) or _ns(log.get("observedTimeUnixNano")) or 0


def _span(row: Row, at: str, logs: Sequence[Log], unread: list[Unread]) -> tuple[Span, str | None]:
    """A span, and the conversation that it says it is of."""
    attributes = _attributes(row)
    own_id, name = str(row.get("spanId")), str(row.get("name"))
    happened = [(str(one.get("name")), _attributes(one)) for one in objects_in(row.get("events"))]
    odd: list[Unread] = []
    told = otel.read(attributes, [*happened, *logs], odd)
    unread += [Unread(o.what, f"{at}/attributes", f"{o.reason} ({o.pointer})") for o in odd]
    start_ns, end_ns = _ns(row.get("startTimeUnixNano")), _ns(row.get("endTimeUnixNano"))
    if start_ns is None:
        raise ValueError(f"the span {own_id} has no time")
    tool, conversation = told.pop("tool"), told.pop("conversation")
    error = ""
    match row.get("status"):
        case {"code": code, **status} if code in _ERROR:
            error = str(status.get("message") or attributes.get("error.type") or "failed")
    span = Span(
        **{**told, "call_id": told["call_id"] or ""},
        id=own_id,
        at=at,
        order=f"{start_ns:020}{end_ns or 0:020}{own_id}",
        start_us=start_ns // 1_000,
        end_us=None if end_ns is None else end_ns // 1_000,
        name=tool or name.removeprefix("execute_tool ") if told["kind"] == "tool" else name,
        parent=str(row.get("parentSpanId") or ""),
        asked_at=f"{at}/attributes",
        answered_at=f"{at}/attributes",
        error=error,
        beside={"trace": str(row.get("traceId"))},
    )
    return span, conversation


def _logged(log: Row) -> tuple[str, Row]:
    """The name of an event that is a log, and what it says."""
    given = _attributes(log)
    body = _value(log.get("body"))
    given |= body if isinstance(body, dict) else {"body": body}
    return str(log.get("eventName") or given.get("event.name")), given


def _records(document: Row, *path: str) -> Iterator[tuple[Row, str]]:
    """The records of a document, each with its JSON Pointer."""
    found = [(document, "")]
    for key in path:
        found = [
            (one, f"{at}/{key}/{number}")
            for holder, at in found
            for number, one in enumerate(objects_in(holder.get(key)))
        ]
    yield from found


def _attributes(holder: Row) -> Row:
    items = objects_in(holder.get("attributes"))
    return {str(one.get("key")): _value(one.get("value")) for one in items}


def _value(value: Any) -> Any:
    """What an AnyValue of OTLP says; 64-bit numbers are text there."""
    match value:
        case {"intValue": number}:
            return int(number)
        case {"arrayValue": dict(inner)}:
            return [_value(one) for one in inner.get("values") or []]
        case {"kvlistValue": dict(inner)}:
            return _attributes({"attributes": inner.get("values")})
        case {"stringValue": one} | {"boolValue": one} | {"doubleValue": one} | {"bytesValue": one}:
            return one
    return None


def _ns(nanoseconds: Any) -> int | None:
    return None if nanoseconds in (None, "", 0, "0") else int(nanoseconds)
