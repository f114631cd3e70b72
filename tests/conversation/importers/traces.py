"""Traces written for a test, and what a conversation says in a line each."""

import json
from pathlib import Path
from typing import Any

import msgspec

import refold
from refold.conversation import events
from refold.conversation.importers import ImportReport, import_files

START_NS = 1_772_445_600_000_000_000
START_US = START_NS // 1_000


def value_of(value: Any) -> dict[str, Any]:
    """A value as OTLP writes it."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list():
            return {"arrayValue": {"values": [value_of(one) for one in value]}}
        case _:
            pairs = [{"key": key, "value": value_of(one)} for key, one in value.items()]
            return {"kvlistValue": {"values": pairs}}


def attributes(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP writes them."""
    return [{"key": key, "value": value_of(value)} for key, value in given.items()]


def span(own: str, begin_s: float, end_s: float, given: dict[str, Any], **more: Any) -> Any:
    """A span from ``begin_s`` to ``end_s`` after the start of its trace."""
    times = {
        key: str(START_NS + int(seconds * 1e9))
        for key, seconds in (("startTimeUnixNano", begin_s), ("endTimeUnixNano", end_s))
    }
    made = {"traceId": "t1", "spanId": own, "name": own, **times}
    return {**made, "attributes": attributes(given), **more}


def happened(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """An event in a span."""
    return {"name": name, "timeUnixNano": str(START_NS), "attributes": attributes(given)}


def otlp(*spans: Any) -> dict[str, Any]:
    """A document of OTLP."""
    return {
        "resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]
    }


def imported(store: refold.Store, path: Path, format: str, *documents: Any) -> ImportReport:
    """What the import of documents, a line each, tells."""
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    return import_files(store, format, [path])


def said(store: refold.Store, stream: str) -> list[Any]:
    """Who says what in a stream, and which calls have which results."""
    told: list[Any] = []
    for recorded in store.read(stream):
        match recorded.event:
            case events.AgentConfigured(prompt=events.Prompt(text=text)):
                told.append(("prompt", text))
            case events.UserUtterance(text=text):
                told.append(("user", text))
            case events.AgentUtterance(text=text):
                told.append(("agent", text))
            case events.ToolCall(call_id=own, name=name, arguments=arguments):
                told.append(("call", own, name, msgspec.json.decode(arguments)))
            case events.ToolResult(call_id=own, result=result):
                told.append(("result", own, result))
    return told


def of_type(store: refold.Store, stream: str, kind: str) -> list[Any]:
    """The events of a type in a stream."""
    return [one.event for one in store.read(stream) if one.type == kind]
