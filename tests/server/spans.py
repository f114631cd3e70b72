"""Traces of an agent as its exporter sends them."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import refold
from refold.conversation.importers.otlp import LOGS, SPANS
from refold.server.otlp_records import parts_of
from tests.conversation.importers.traces import attributes, otlp, span

USER = {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}
CALLS = {
    "role": "assistant",
    "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "X"}}],
}
RESULT = {
    "role": "tool",
    "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny"}],
}
SAYS = {"role": "assistant", "parts": [{"type": "text", "content": "Sunny."}]}
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.usage.input_tokens": 30,
}
AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Ada"}
NAMED = {"gen_ai.conversation.id": "talk 1", "gen_ai.agent.name": "Ada"}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "weather",
    "gen_ai.tool.call.id": "c1",
}


def chat(asked: list[Any], answered: list[Any], **more: Any) -> dict[str, Any]:
    """The attributes of a call of a model."""
    said = {"gen_ai.input.messages": json.dumps(asked)}
    said["gen_ai.output.messages"] = json.dumps(answered)
    return CHAT | said | more


def sent(number: int, trace: int, begin_s: float, end_s: float, given: Any, parent: int = 0) -> Any:
    """A span with ids as they are in a request."""
    made = span(f"{number:016x}", begin_s, end_s, given, traceId=f"{trace:032x}", kind=3)
    return {**made, "parentSpanId": f"{parent:016x}"} if parent else made


def turns() -> list[Any]:
    """Two turns of one conversation, each a trace, and a trace by itself."""
    return [
        sent(1, 1, 0, 5, AGENT),
        sent(2, 1, 0, 1, chat([USER], [CALLS], **NAMED), parent=1),
        sent(3, 1, 1, 1.5, TOOL, parent=1),
        sent(4, 1, 2, 4, chat([USER, CALLS, RESULT], [SAYS]), parent=1),
        sent(5, 2, 6, 7, chat([USER, CALLS, RESULT, SAYS, USER], [SAYS], **NAMED)),
        sent(6, 3, 0, 1, chat([USER], [SAYS])),
    ]


def logged(number: int, trace: int, name: str, given: dict[str, Any], at_ns: int) -> Any:
    """An event of the GenAI conventions that is a log record."""
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "eventName": name,
        "timeUnixNano": str(at_ns),
        "attributes": attributes(given),
    }


def log_document(*records: Any) -> dict[str, Any]:
    """A request of log records."""
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


def parts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What the door keeps of a request."""
    body = json.dumps(document).encode()
    if "resourceSpans" in document:
        return parts_of(ExportTraceServiceRequest(), body, places=SPANS, is_json=True)
    return parts_of(ExportLogsServiceRequest(), body, places=LOGS, is_json=True)


def request_of(*spans: Any) -> bytes:
    """A request in JSON."""
    return json.dumps(otlp(*spans)).encode()


def told(store: refold.Store) -> list[Any]:
    """The conversations of a store, but when they were recorded."""
    return sorted(
        (one.stream, one.version, one.stored_kind, one.raw, one.occurred_at_us, str(one.metadata))
        for one in store.read_all(categories=["otlp"])
    )
