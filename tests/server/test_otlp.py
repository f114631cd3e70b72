"""Exporters of OpenTelemetry record to a served store: the real ones, and odd requests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter as JsonExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import refold
from refold.conversation import Conversation
from refold.conversation.importers.otlp import SPANS
from refold.server import otlp, otlp_records, received, telling
from refold.server.otlp import PROTOBUF
from refold.server.tokens import Tokens
from tests.conversation.importers.traces import otlp as document
from tests.server.serving import served
from tests.server.spans import (
    AGENT,
    CALLS,
    NAMED,
    RESULT,
    SAYS,
    USER,
    chat,
    log_document,
    logged,
    parts,
    request_of,
    sent,
    turns,
)  # fmt: skip
from tests.server.waiting import conversation

JSON = "application/json"
TRACES, LOGS = "/v1/traces", "/v1/logs"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces are told at once."""
    monkeypatch.setattr(received, "SETTLED_S", 0.2)
    monkeypatch.setattr(telling, "LOOK_S", 0.05)


def post(client: httpx2.Client, path: str, body: bytes, **headers: str) -> httpx2.Response:
    named = {"content-type": JSON, **{key.replace("_", "-"): one for key, one in headers.items()}}
    return client.post(path, content=body, headers=named)


def spans_of(agent: str) -> Iterator[ReadableSpan]:
    """The spans that an instrumented agent makes, as they end."""
    held = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(held))
    tracer = provider.get_tracer("an agent")
    with tracer.start_as_current_span("agent", attributes=AGENT):
        named = {**NAMED, "gen_ai.conversation.id": agent}
        tracer.start_span("chat", attributes=chat([USER], [CALLS], **named)).end()
        tracer.start_span("chat", attributes=chat([USER, CALLS, RESULT], [SAYS])).end()
    yield from held.get_finished_spans()


@pytest.mark.parametrize("kind", ["protobuf", "gzip", "json"])
def test_an_instrumented_agent_records(
    client: httpx2.Client, store: refold.Store, kind: str
) -> None:
    """By the exporters as they are, each request sent again: once."""
    url = f"{client.base_url}{TRACES}"
    exporter: SpanExporter = (
        JsonExporter(endpoint=url)
        if kind == "json"
        else OTLPSpanExporter(
            endpoint=url,
            compression=Compression.Gzip if kind == "gzip" else Compression.NoCompression,
        )
    )
    root, *inner = [*spans_of(kind)][::-1]
    for spans in ([root], inner, [root, *inner]):
        assert exporter.export(spans) is SpanExportResult.SUCCESS
    conversation(store, f"otlp-{kind}")
    state = store.fold(f"otlp-{kind}", Conversation).state
    assert [one.text for one in state.transcript] == ["Weather?", "Sunny."]
    assert state.agent is not None
    assert (state.agent.agent, len(state.tool_calls)) == ("Ada", 1)
    assert store.head(f"otlp_received-{root.context.trace_id:032x}") == 2


def test_events_as_logs_are_told_with_their_spans(
    client: httpx2.Client, store: refold.Store
) -> None:
    """Other log records are passed; one of no span is refused by itself."""
    said = [
        logged(71, 71, "gen_ai.user.message", {"content": "Hello"}, 10),
        logged(71, 71, "gen_ai.choice", {"message": json.dumps({"content": "Hi"})}, 20),
        logged(71, 71, "started", {}, 5),
        {**logged(0, 0, "gen_ai.user.message", {}, 5), "traceId": ""},
    ]
    answer = post(client, LOGS, json.dumps(log_document(*said)).encode())
    assert answer.status_code == 200
    partial = answer.json()["partialSuccess"]
    assert partial["rejectedLogRecords"] == "1"
    assert "traceId" in partial["errorMessage"]
    chat_alone = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    assert post(client, TRACES, request_of(sent(71, 71, 0, 1, chat_alone))).json() == {}
    conversation(store, f"otlp-{71:032x}")
    state = store.fold(f"otlp-{71:032x}", Conversation).state
    assert [one.text for one in state.transcript] == ["Hello", "Hi"]


def test_what_is_refused_of_a_request_is_counted(client: httpx2.Client) -> None:
    """In the answer, as the specification has it; the rest is kept."""
    odd = {**sent(8, 8, 0, 1, {}), "startTimeUnixNano": "0"}
    request = ExportTraceServiceRequest()
    otlp_records.parts_of(
        request, json.dumps(document(odd, turns()[5])).encode(), places=SPANS, is_json=True
    )
    answer = post(client, TRACES, request.SerializeToString(), content_type=PROTOBUF)
    told = ExportTraceServiceResponse.FromString(answer.content)
    assert (answer.status_code, answer.headers["content-type"]) == (200, PROTOBUF)
    assert told.partial_success.rejected_spans == 1
    assert "no time" in told.partial_success.error_message


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"\xff", {"content_type": PROTOBUF}, 400),
        (b"{}", {"content_encoding": "br"}, 415),
        (b"{}", {"content_type": "text/plain"}, 415),
        (gzip.compress(bytes(65 << 20), 1, mtime=0), {"content_encoding": "gzip"}, 413),
    ],
)
def test_a_request_that_is_none_is_refused_for_good(
    client: httpx2.Client, body: bytes, headers: dict[str, str], status: int
) -> None:
    """With a status after which exporters do not send it again."""
    answer = post(client, TRACES, body, **headers)
    assert (answer.status_code, "retry-after" in answer.headers) == (status, False)
    if headers.get("content_type") == PROTOBUF:
        assert Status.FromString(answer.content).code == 3


def test_more_than_can_be_taken_is_to_come_again(client: httpx2.Client) -> None:
    """429 with Retry-After, which exporters obey."""
    with ExitStack() as held:
        for _ in range(otlp.REQUESTS_MAX):
            held.enter_context(otlp._ROOM)
        answer = post(client, TRACES, request_of(turns()[0]))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["code"] == 8
    assert post(client, TRACES, request_of(turns()[0])).status_code == 200


def test_a_token_for_other_categories_lets_nothing_in(tmp_path: Path) -> None:
    """Who may append notes may not append traces."""
    tokens = Tokens(tmp_path / "tokens")
    secrets = {
        category: tokens.create(category, scopes=["append"], categories=[category])[0]
        for category in ("note", "otlp")
    }
    with refold.open("memory:") as store, served(store, tokens=tokens) as client:
        for category, status in (("note", 403), ("otlp", 200)):
            bearer = f"Bearer {secrets[category]}"
            answer = post(client, TRACES, request_of(turns()[0]), authorization=bearer)
            assert answer.status_code == status
        assert post(client, TRACES, request_of(turns()[0])).status_code == 401


def test_what_a_store_cannot_keep_now_is_to_come_again() -> None:
    """Nothing is acknowledged that is not on disk."""
    with refold.open("memory:") as store, served(store) as client:
        store.close()
        answer = post(client, TRACES, request_of(turns()[0]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["code"] == 14


def test_what_was_not_told_when_a_server_ended_is_told_by_the_next(tmp_path: Path) -> None:
    """It is on disk since it was acknowledged."""
    with refold.open(tmp_path / "s.db") as store:
        received.take(store, parts(document(*turns()[:4])))
    with refold.open(tmp_path / "s.db") as store, served(store):
        conversation(store, "otlp-talk_1")
