"""Each API is asked in its own shapes, over HTTP and through the clients of its SDK."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest
from google import genai

import refold
from refold.conversation.apis import api_of
from refold.errors import UsageError
from refold.replay import Action, Call, ChatEndpoint, ChatRequest, ModelFailure, Variant, replay
from refold.replay.candidate import ApiName
from refold.replay.clients import candidate_of
from tests.replay.stories import record

CALL = {"name": "lookup", "arguments": '{"id": "B1"}'}
REQUEST = ChatRequest(
    model="m",
    messages=[
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Where is B1?"}]},
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [{"id": "c1", "type": "function", "function": CALL}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"gate": 4}'},
        {"role": "user", "content": "And now?"},
    ],
    tools=[
        {
            "type": "function",
            "function": {
                "name": "lookup",
                "description": "Find.",
                "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
            },
        }
    ],
    params={"temperature": 0, "max_tokens": 64, "seed": 7},
)
USED = {"input_tokens": 20, "output_tokens": 5}
ANSWERS: dict[str, Any] = {
    "openai.chat": {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "m-1",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "Gate 4.",
                    "tool_calls": [{"id": "c2", "type": "function", "function": CALL}],
                },
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    },
    "openai.responses": {
        "id": "a",
        "object": "response",
        "model": "m-1",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Gate 4.", "annotations": []}],
            },
            {"type": "function_call", "call_id": "c2", **CALL},
        ],
        "usage": {**USED, "total_tokens": 25},
    },
    "anthropic.messages": {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": [
            {"type": "text", "text": "Gate 4."},
            {"type": "tool_use", "id": "c2", "name": "lookup", "input": {"id": "B1"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USED,
    },
    "gemini.generate_content": {
        "modelVersion": "m-1",
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "Gate 4."},
                        {"functionCall": {"id": "c2", "name": "lookup", "args": {"id": "B1"}}},
                    ],
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 5, "totalTokenCount": 25},
    },
}


class Service(ThreadingHTTPServer):
    """Answers each API with what was said of it; ``status`` instead where that is set."""

    daemon_threads = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        api = api_of(self.path)
        assert api is not None, self.path
        answer = ANSWERS[api.name] if self.server.status == 200 else {"error": {"message": "no"}}
        content = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        # An async client of the user's own outlives the event loop that its connections are of.
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def endpoint(service: Service, api: ApiName, **how: Any) -> ChatEndpoint:
    version = "/v1beta" if api == "gemini" else "/v1"
    return ChatEndpoint(f"{service.url}{version}", api=api, api_key="k-123456", **how)


def same_answer(action: Action) -> None:
    """All of them said the same, in their words."""
    assert action.text == "Gate 4."
    (call,) = action.calls
    assert (call.name, json.loads(call.arguments)) == ("lookup", {"id": "B1"})
    assert action.usage is not None
    assert (action.usage.input_tokens, action.usage.output_tokens) == (20, 5)
    assert action.model == "m-1"


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic", "gemini"])
def test_each_api_is_asked_in_its_shapes_and_its_answer_is_read(
    service: Service, api: ApiName
) -> None:
    """What it was asked says the same when it is read as that API's request."""
    asking = endpoint(service, api)
    action = asking(REQUEST)
    asking.close()
    same_answer(action)
    assert action.latency_ms is not None and action.latency_ms > 0
    (path, headers, body) = service.asked[0]
    named = api_of(path)
    assert named is not None
    read = named.read_request(body, path)
    assert read.unread == []
    assert read.agent.prompt is not None and read.agent.prompt.text == "Be kind."
    assert [tool.name for tool in read.agent.tools] == ["lookup"]
    kinds = [type(event.data).__name__ for element in read.elements for event in element]
    assert [kind for kind in kinds if kind != "ModelResponse"] == [
        "UserUtterance",
        "AgentUtterance",
        "ToolCall",
        "ToolResult",
        "UserUtterance",
    ]
    secret = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(api, "authorization")
    assert headers[secret].endswith("k-123456")


def test_a_length_has_the_name_that_the_api_gives_it(service: Service) -> None:
    """And what only OpenAI has is left out elsewhere."""
    apis: list[ApiName] = ["chat", "responses", "anthropic", "gemini"]
    for api in apis:
        asking = endpoint(service, api)
        asking(REQUEST)
        asking.close()
    chat, responses, messages, gemini = (body for _, _, body in service.asked)
    assert (chat["max_tokens"], responses["max_output_tokens"], messages["max_tokens"]) == (64,) * 3
    assert gemini["generationConfig"] == {"temperature": 0, "maxOutputTokens": 64, "seed": 7}
    assert "seed" in chat and "seed" not in messages


def client_of(name: str, service: Service) -> Any:
    """The client of an SDK, which leads here."""
    version = f"{service.url}/v1"
    match name:
        case "openai":
            return openai.OpenAI(api_key="k", base_url=version)
        case "async openai":
            return openai.AsyncOpenAI(api_key="k", base_url=version)
        case "anthropic":
            return anthropic.Anthropic(api_key="k", base_url=service.url)
        case "async anthropic":
            return anthropic.AsyncAnthropic(api_key="k", base_url=service.url)
    options = genai.types.HttpOptions(base_url=service.url)
    return genai.Client(api_key="k", http_options=options)


@pytest.mark.parametrize(
    "name", ["openai", "async openai", "anthropic", "async anthropic", "google"]
)
def test_a_client_of_the_users_own_is_a_candidate(service: Service, name: str) -> None:
    """Its answers are recorded as those of where it leads."""
    client = client_of(name, service)
    with refold.open("memory:") as store:
        record(store, "call-1")
        said = replay(store, ["call-1"], Variant(model="m"), client, workers=1)
        assert (said.answered, said.failed) == (2, 0), said.failures
    assert len(service.asked) == 2
    if "async" not in name:
        client.close()


@pytest.mark.parametrize(("status", "kind"), [(429, "busy"), (503, "busy"), (400, "refused")])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_what_an_sdk_raises_is_a_failure_of_its_kind(
    service: Service, name: str, status: int, kind: str
) -> None:
    """Once: it is refold that asks again, at the pace of the run."""
    service.status = status
    client = client_of(name, service)
    with pytest.raises(ModelFailure) as failed:
        candidate_of(client)(REQUEST)
    assert (failed.value.kind, failed.value.status) == (kind, status)
    assert len(service.asked) == 1
    client.close()


def test_what_is_no_client_is_refused() -> None:
    """It says what may be given."""
    with pytest.raises(UsageError, match="client"):
        candidate_of(5)
    with pytest.raises(UsageError):
        ChatEndpoint("http://127.0.0.1:9/v1", api="soap")  # type: ignore[arg-type]


def test_an_action_of_a_function_stays_what_it_is() -> None:
    """A function is its own candidate, sync or async."""

    async def later(request: ChatRequest) -> Action:
        return Action(calls=(Call("f"),))

    assert candidate_of(later) is later
    assert asyncio.run(later(REQUEST)).calls == (Call("f"),)
