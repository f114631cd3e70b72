"""OTLP JSON: traces of agents that OpenTelemetry's exporters and collectors write.

Documents or lines of ``{"resourceSpans": […]}``, and of ``{"resourceLogs": […]}`` for the events
of the GenAI conventions that are logs (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
A trace may stand in several of them, so a source is read whole before it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
Logs = Mapping[str, Sequence[tuple[str, Row]]]

_ERROR: Final = (2, "STATUS_CODE_ERROR")
_SPANS: Final = ("resourceSpans", "scopeSpans", "spans")
_LOGS: Final = ("resourceLogs", "scopeLogs", "logRecords")


def read_otlp(source: ImportSource, options: Options) -> Conversations:
    """Import OpenTelemetry traces as OTLP JSON, with the GenAI conventions: documents or lines.

    The streams are called CATEGORY-CONVERSATION, or CATEGORY-TRACE where spans name no
    conversation; the category is by default otlp. Traces without a call of a model are passed.

        refold import otlp traces.jsonl
    """
    return read_traces(source.name, "otlp", options, _traces(source))


def _is_document(value: Any) -> bool:
    given = value if isinstance(value, dict) else {}
    return any(isinstance(given.get(key), list) for key in (_SPANS[0], _LOGS[0]))


def _traces(source: ImportSource) -> Iterator[Trace | Problem]:
    rows: dict[str, list[tuple[Row, str, int]]] = {}
    logs: dict[str, list[tuple[str, Row]]] = {}

    def read(value: Value) -> Iterator[Problem]:
        document = value.read()
        if not _is_document(document):
            raise ValueError("a document of OTLP has resourceSpans or resourceLogs")
        for span, at in _records(document, *_SPANS):
            rows.setdefault(str(span.get("traceId")), []).append((span, at, value.line))
        for log, at in _records(document, *_LOGS):
            try:
                logs.setdefault(str(log.get("spanId")), []).append(_logged(checked(log)))
            except ODD as error:
                yield problem_of(source, value, error, f"{at}: ")

    yield from read_all(source, read)
    talks: dict[str, Trace] = {}
    for trace_id, held in rows.items():
        try:
            unread: list[Unread] = []
            made = [_span(checked(row), at, logs, unread) for row, at, _ in held]
        except ODD as error:
            yield Problem(source.name, held[0][2], f"trace {trace_id}: {reason_of(error)}")
            continue
        if any(span.kind in ("model", "tool") for span, _ in made):
            name = next((name for _, name in made if name), None) or trace_id
            first = Trace(name, [], held[0][2], {"otlp": {"traces": []}}, run=trace_id)
            before = talks.get(name, first)
            traces = {"otlp": {"traces": [*before.beside["otlp"]["traces"], trace_id]}}
            spans = [*before.spans, *(span for span, _ in made)]
            # Those of one conversation are told together.
            odd = [*before.unread, *unread]
            talks[name] = before._replace(spans=spans, beside=traces, unread=odd)
    yield from talks.values()


def _span(row: Row, at: str, logs: Logs, unread: list[Unread]) -> tuple[Span, str | None]:
    """A span, and the conversation that it says it is of."""
    attributes = _attributes(row)
    own_id, name = str(row.get("spanId")), str(row.get("name"))
    happened = [(str(one.get("name")), _attributes(one)) for one in objects_in(row.get("events"))]
    odd: list[Unread] = []
    told = otel.read(attributes, [*happened, *logs.get(own_id, ())], odd)
    unread += [Unread(o.what, f"{at}/attributes", f"{o.reason} ({o.pointer})") for o in odd]
    start_us, end_us = _us(row.get("startTimeUnixNano")), _us(row.get("endTimeUnixNano"))
    if start_us is None:
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
        start_us=start_us,
        end_us=end_us,
        name=tool or name.removeprefix("execute_tool ") if told["kind"] == "tool" else name,
        parent=str(row.get("parentSpanId")),
        asked_at=f"{at}/attributes",
        answered_at=f"{at}/attributes",
        error=error,
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


def _us(nanoseconds: Any) -> int | None:
    return None if nanoseconds in (None, "", 0, "0") else int(nanoseconds) // 1_000
