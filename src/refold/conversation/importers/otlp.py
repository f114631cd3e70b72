"""OTLP JSON: traces of agents that OpenTelemetry's exporters and collectors write.

Documents or lines of ``{"resourceSpans": […]}``, and of ``{"resourceLogs": […]}`` for the events
of the GenAI conventions that are logs (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
A trace may stand in several of them, so a source is read whole before it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from refold.conversation.importers import otel_attributes as otel
from refold.conversation.importers.base import (
    ODD,
    Found,
    Importer,
    Options,
    Problem,
    problem_of,
    read_all,
)
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.importers.spans import Span, Trace
from refold.conversation.importers.traces import read_traces

Row = dict[str, Any]

_ERROR: Final = (2, "STATUS_CODE_ERROR")


def read_otlp(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import OpenTelemetry traces as OTLP JSON, with the GenAI conventions: documents or lines.

    The streams are called CATEGORY-CONVERSATION, or CATEGORY-TRACE where spans name no
    conversation; the category is by default otlp. Traces without a call of a model are passed.

        refold import otlp traces.jsonl
    """
    return read_traces(source.name, "otlp", options, _traces(source))


def looks_like(values: Sequence[Any], /) -> str:
    """By what the first values are known to be of OTLP; "" where they are not."""
    is_known = any(_is_document(value) for value in values)
    return "it has the resourceSpans of OTLP" if is_known else ""


def _is_document(value: Any) -> bool:
    given = value if isinstance(value, dict) else {}
    return any(isinstance(given.get(key), list) for key in ("resourceSpans", "resourceLogs"))


def _traces(source: ImportSource) -> Iterator[Trace | Problem]:
    rows: dict[str, list[tuple[Row, str, int]]] = {}
    logs: dict[str, list[tuple[str, Row]]] = {}

    def read(value: Value) -> Iterator[Problem]:
        document = value.read()
        if not _is_document(document):
            raise ValueError("a document of OTLP has resourceSpans or resourceLogs")
        for span, at in _records(document, "resourceSpans", "scopeSpans", "spans"):
            rows.setdefault(str(span.get("traceId")), []).append((span, at, value.line))
        for log, at in _records(document, "resourceLogs", "scopeLogs", "logRecords"):
            try:
                logs.setdefault(str(log.get("spanId")), []).append(_logged(checked(log)))
            except ODD as error:
                yield problem_of(source, value, error, f"{at}: ")

    yield from read_all(source, read)
    yield from _told(source.name, rows, logs)


def _told(
    source_name: str,
    rows: Mapping[str, Sequence[tuple[Row, str, int]]],
    logs: Mapping[str, Sequence[tuple[str, Row]]],
) -> Iterator[Trace | Problem]:
    """The traces with a call of a model, those of one conversation together."""
    talks: dict[str, Trace] = {}
    for trace_id, held in rows.items():
        try:
            made = [(_span(checked(row), at, logs), line) for row, at, line in held]
        except ODD as error:
            yield Problem(source_name, held[0][2], f"trace {trace_id}: {error}")
            continue
        spans = [span for (span, _), _ in made]
        if not any(span.kind in ("model", "tool") for span in spans):
            continue
        name = next((name for (_, name), _ in made if name), None) or trace_id
        line = made[0][1]
        before = talks.get(name) or Trace(name, [], line, {"otlp": {"traces": []}}, run=trace_id)
        traces = [*before.beside["otlp"]["traces"], trace_id]
        talks[name] = before._replace(
            spans=[*before.spans, *spans], beside={"otlp": {"traces": traces}}
        )
    yield from talks.values()


def _span(
    row: Row, at: str, logs: Mapping[str, Sequence[tuple[str, Row]]]
) -> tuple[Span, str | None]:
    """A span, and the conversation that it says it is of."""
    attributes = _attributes(row)
    own_id = str(row.get("spanId"))
    happened = [(str(one.get("name")), _attributes(one)) for one in _objects(row.get("events"))]
    told = otel.read(attributes, [*happened, *logs.get(own_id, ())])
    status = row.get("status")
    failed = isinstance(status, dict) and status.get("code") in _ERROR
    why = status.get("message") if isinstance(status, dict) else None
    start_us, end_us = _us(row.get("startTimeUnixNano")), _us(row.get("endTimeUnixNano"))
    if start_us is None:
        raise ValueError(f"the span {own_id} has no time")
    name = str(row.get("name"))
    span = Span(
        id=own_id,
        parent=str(row.get("parentSpanId")),
        kind=told.kind,
        name=told.tool or name.removeprefix("execute_tool ") if told.kind == "tool" else name,
        at=at,
        start_us=start_us,
        end_us=end_us,
        asked=told.asked,
        answered=told.answered,
        asked_at=f"{at}/attributes",
        answered_at=f"{at}/attributes",
        model=told.model,
        provider=told.provider,
        agent=told.agent,
        params=told.params,
        tools=told.tools,
        usage=told.usage,
        response_id=told.response_id,
        call_id=told.call_id,
        error=str(why or attributes.get("error.type") or "failed") if failed else "",
    )
    return span, told.conversation


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
            for number, one in enumerate(_objects(holder.get(key)))
        ]
    yield from found


def _attributes(holder: Row) -> Row:
    items = _objects(holder.get("attributes"))
    return {str(item.get("key")): _value(item.get("value")) for item in items}


def _value(value: Any) -> Any:
    """What an AnyValue of OTLP says; 64-bit numbers are text there."""
    match value:
        case {"intValue": number}:
            return int(number)
        case {"arrayValue": dict(inner)}:
            return [_value(one) for one in inner.get("values") or []]
        case {"kvlistValue": dict(inner)}:
            pairs = _objects(inner.get("values"))
            return {str(one.get("key")): _value(one.get("value")) for one in pairs}
        case {"stringValue": one} | {"boolValue": one} | {"doubleValue": one} | {"bytesValue": one}:
            return one
    return None


def _us(nanoseconds: Any) -> int | None:
    return None if nanoseconds in (None, "", 0, "0") else int(nanoseconds) // 1_000


def _objects(items: Any) -> list[Row]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


OTLP: Final = Importer("otlp", read_otlp, looks_like)
