"""The demo agent is served over real HTTP, and says plainly that it is no model."""

import errno
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from refold.demo import Demo, tables
from refold.demo.agent import MODEL
from refold.demo.clinic import TOOLS
from refold.demo.server import REQUEST_BYTES_MAX
from refold.errors import Unavailable
from refold.replay import ChatEndpoint, ChatRequest, ModelFailure

HELLO = [{"role": "system", "content": tables.RECORDED}]
REQUEST: dict[str, Any] = {"model": MODEL, "messages": HELLO, "tools": list(TOOLS)}
TURN = {"role": "user", "content": "Can I talk to a person?"}


@pytest.fixture(scope="module")
def server() -> Iterator[Demo]:
    with Demo() as running:
        yield running


@pytest.fixture
def client(server: Demo) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.base_url, timeout=30, trust_env=False) as opened:
        yield opened


def test_it_listens_on_this_machine_only(server: Demo) -> None:
    """The address is the loopback interface, on a port of its own."""
    assert server.base_url.startswith("http://127.0.0.1:")


def test_the_same_request_gets_the_same_bytes(client: httpx2.Client) -> None:
    """Ids, words and counts are functions of the request."""
    first, second = (client.post("/chat/completions", json=REQUEST) for _ in range(2))
    assert first.status_code == 200
    assert first.content == second.content
    other = client.post("/chat/completions", json={**REQUEST, "messages": [*HELLO, TURN]})
    assert other.json()["id"] != first.json()["id"]


def test_an_answer_has_the_shape_of_a_chat_completion(client: httpx2.Client) -> None:
    """Message, tool calls with JSON text as arguments, finish reason, usage that adds up."""
    said = client.post("/chat/completions", json={**REQUEST, "messages": [*HELLO, TURN]}).json()
    (choice,) = said["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert (said["object"], choice["finish_reason"]) == ("chat.completion", "tool_calls")
    assert call["function"]["name"] == "transfer_call"
    assert json.loads(call["function"]["arguments"])["to"] == "reception"
    usage = said["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]


def test_it_says_that_it_is_no_model(client: httpx2.Client) -> None:
    """Model name and system fingerprint of every answer tell what gave it."""
    said = client.post("/chat/completions", json=REQUEST).json()
    assert said["model"] == MODEL == "clinic-rules-1"
    assert "not-a-model" in said["system_fingerprint"]
    assert [model["id"] for model in client.get("/models").json()["data"]] == [MODEL]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"model": "clinic-rules-1"}', 400),
        (b'{"model": "clinic-rules-1", "messages": []}', 400),
        (b'{"model": "clinic-rules-1", "messages": ["hi"]}', 400),
        (b'{"model": "clinic-rules-1", "messages": [{}], "tools": [1]}', 400),
        (b'{"model": "clinic-rules-1", "messages": [{}], "stream": true}', 400),
        (b'{"model": "gpt-4o", "messages": [{}]}', 404),
        (b'{"model": "clinic-rules-1", "messages": [{"role":"assistant","tool_calls":[7]}]}', 500),
        (b"\xff\xfe", 400),
    ],
)
def test_what_is_no_request_is_refused_with_a_reason(
    client: httpx2.Client, body: bytes, status: int
) -> None:
    """The provider's own error shape, and the line stays open."""
    refused = client.post("/chat/completions", content=body)
    assert refused.status_code == status
    assert refused.json()["error"]["message"]
    assert client.post("/chat/completions", json=REQUEST).status_code == 200


@pytest.mark.parametrize("length", [str(REQUEST_BYTES_MAX + 1), "-1", "many"])
def test_a_request_over_the_limit_is_not_read(server: Demo, length: str) -> None:
    """The stated length decides, before a byte of the body has come."""
    connection = HTTPConnection("127.0.0.1", urlsplit(server.base_url).port or 0, timeout=30)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_another_path_is_not_found(client: httpx2.Client) -> None:
    """Only what the demo serves is there."""
    assert client.post("/embeddings", json={}).status_code == 404
    assert client.get("/nothing").status_code == 404


def test_a_proxy_of_the_environment_is_not_asked(
    server: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs on this machine is reached without the proxy that the world is reached by."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    endpoint = ChatEndpoint(server.base_url, api_key="")
    assert endpoint(ChatRequest(messages=HELLO, model=MODEL)).text
    endpoint.close()


def test_the_replays_own_client_reads_its_answers(server: Demo) -> None:
    """Text, calls, usage, cost and model arrive as an action; a refusal as a failure."""
    endpoint = ChatEndpoint(server.base_url, api_key="")
    action = endpoint(ChatRequest(messages=[*HELLO, TURN], model=MODEL, tools=list(TOOLS)))
    assert [call.name for call in action.calls] == ["transfer_call"]
    assert action.usage is not None
    assert action.usage.input_tokens > 0
    assert action.cost is not None
    assert action.cost > 0
    with pytest.raises(ModelFailure) as refused:
        endpoint(ChatRequest(messages=HELLO, model="gpt-4o"))
    assert (refused.value.kind, refused.value.status) == ("refused", 404)
    endpoint.close()


def test_an_address_that_cannot_be_listened_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of ours, with what the system said."""

    def taken(_: TCPServer) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(TCPServer, "server_bind", taken)
    with pytest.raises(Unavailable, match=r"cannot listen on 127\.0\.0\.1: Address already in use"):
        Demo()
