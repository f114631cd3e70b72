"""Client objects of the user's own, as the SDKs make them: each API, sync and async, in pieces."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Iterator
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai

import refold
from refold.errors import UsageError
from refold.replay import ClientCandidate, ModelFailure, Variant, replay
from refold.replay.candidate import ApiName
from refold.replay.clients import _loop as own_loop
from tests.capture.model_server import ModelServer, Reply, serving
from tests.replay.stories import record
from tests.replay.test_apis_asked import ANSWERS, REQUEST, same_answer
from tests.replay.test_streamed import FRAMES, lines, streamed

# Of google-genai's own, on aiohttp.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
WHOLE = {
    "chat": "openai.chat",
    "responses": "openai.responses",
    "anthropic": "anthropic.messages",
    "gemini": "gemini.generate_content",
}
KEY = "sk-proj-abcdefghijklmnop"
GATEWAY = {"x-gateway-token": "of-the-gateway"}
APIS: list[ApiName] = ["chat", "responses", "anthropic", "gemini"]


_made: list[Any] = []


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving() as served:
        yield served
        for client in _made:
            closing = (client.aclose if hasattr(client, "aclose") else client.close)()
            if inspect.isawaitable(closing):
                own_loop().run(_awaited(closing))
        _made.clear()


async def _awaited(closing: Awaitable[None]) -> None:
    await closing


def client_of(api: ApiName, server: ModelServer, *, is_async: bool = False) -> Any:
    """A client of the SDK of an API, that leads here."""
    _made.append(_client(api, server, is_async))
    return _made[-1]


def _client(api: ApiName, server: ModelServer, is_async: bool) -> Any:
    if api == "anthropic":
        made = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
        return made(api_key=KEY, base_url=server.url, default_headers=GATEWAY)
    if api == "gemini":
        options = genai.types.HttpOptions(base_url=server.url, headers=GATEWAY)
        client = genai.Client(api_key=KEY, http_options=options)
        return client.aio if is_async else client
    made_of_openai = openai.AsyncOpenAI if is_async else openai.OpenAI
    return made_of_openai(api_key=KEY, base_url=f"{server.url}/v1", default_headers=GATEWAY)


def whole(api: ApiName) -> Reply:
    return Reply(json.dumps(ANSWERS[WHOLE[api]]).encode())


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
@pytest.mark.parametrize("api", APIS)
def test_a_client_answers_in_its_api(
    server: ModelServer, api: ApiName, stream: bool, is_async: bool
) -> None:
    """What is recorded is the same answer, whoever asked, and however it came; also in a 2nd run.

    The connections of an async client are of one event loop, and are used again by the next run.
    """
    server.script = [streamed(api) if stream else whole(api)]
    client = client_of(api, server, is_async=is_async)
    with refold.open("memory:") as store:
        for label in ("one", "two"):
            candidate = ClientCandidate(client, api=api, stream=stream)
            record(store, f"call-{label}")
            said = replay(store, [f"call-{label}"], Variant(model="m", label=label), candidate)
            assert (said.answered, said.failed, said.requests) == (2, 0, 2), said.failures
        kept = [e.data for e in store.read_all(categories=["call~"], types=["model.response"])]
    assert len(server.received) == len(kept) == 4
    assert {(one["model"], one["usage"]["output_tokens"]) for one in kept} == {("m-1", 5)}
    assert all(one["latency_ms"] > 0 for one in kept)
    assert [one.get("first_token_ms", 0) > 0 for one in kept] == [stream] * 4


@pytest.mark.parametrize("api", APIS)
def test_what_an_api_is_asked_is_what_the_endpoint_asks(server: ModelServer, api: ApiName) -> None:
    """The path of that API, the prompt in its place, and pieces where they are wanted."""
    server.script = [streamed(api)]
    action = ClientCandidate(client_of(api, server), api=api, stream=True)(REQUEST)
    same_answer(action)
    assert action.first_token_ms <= action.latency_ms
    (asked,) = server.received
    body = json.loads(asked.body)
    paths = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
    paths |= {"anthropic": "/v1/messages", "gemini": ":streamGenerateContent?alt=sse"}
    assert asked.path.endswith(paths[api])
    assert "Be kind." in json.dumps(body)
    if api != "gemini":
        assert body["stream"] is True
    assert (body.get("stream_options") == {"include_usage": True}) is (api == "chat")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_is_cut_is_asked_again(
    server: ModelServer, api: ApiName, is_async: bool
) -> None:
    """By a broken connection or in good order: it is no answer, and may be charged."""
    text = lines(api, FRAMES[api])
    half = len(text) // 2
    server.script = [
        Reply(text[:half], "text/event-stream"),
        streamed(api, cut=half),
        streamed(api),
    ]
    client = client_of(api, server, is_async=is_async)
    with refold.open("memory:") as store:
        record(store, "call-1")
        candidate = ClientCandidate(client, api=api, stream=True)
        said = replay(store, ["call-1"], Variant(model="m"), candidate, workers=1)
        assert (said.answered, said.failed, said.requests) == (2, 0, 4), said.failures
        kept = [e.data for e in store.read_all(categories=["call~"], types=["model.response"])]
    assert [(one.get("attempts", 1), one.get("lost_unknown", 0)) for one in kept] == [
        (3, 2),
        (1, 0),
    ]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("api", "error", "kind", "status"),
    [
        ("anthropic", {"type": "overloaded_error", "message": "Overloaded"}, "busy", 529),
        ("chat", {"type": "server_error", "message": "no", "code": None}, "busy", 500),
        ("gemini", {"code": 503, "message": "no", "status": "UNAVAILABLE"}, "busy", 503),
        ("gemini", {"code": 429, "message": "no", "status": "EXHAUSTED"}, "busy", 429),
        ("gemini", {"code": 400, "message": "no", "status": "INVALID"}, "refused", 400),
    ],
)
def test_an_error_in_the_midst_of_a_stream_is_that_failure(
    server: ModelServer,
    api: ApiName,
    error: dict[str, Any],
    kind: str,
    status: int,
    is_async: bool,
) -> None:
    """With the status that it would have had at the beginning, so that it is asked again."""
    told = {"error": error} if api == "gemini" else {"type": "error", "error": error}
    server.script = [Reply(lines(api, [*FRAMES[api][:2], told]), "text/event-stream")]
    client = client_of(api, server, is_async=is_async)
    with pytest.raises(ModelFailure) as failed:
        ClientCandidate(client, api=api, stream=True)(REQUEST)
    assert (failed.value.kind, failed.value.status) == (kind, status)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_what_googles_sdk_passes_over_leaves_a_stream_without_its_end(
    server: ModelServer, is_async: bool
) -> None:
    """An error in a shape that Gemini does not send, as of a gateway: cut, and asked again."""
    told = {"type": "error", "error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}
    server.script = [Reply(lines("gemini", [*FRAMES["gemini"][:2], told]), "text/event-stream")]
    client = client_of("gemini", server, is_async=is_async)
    with pytest.raises(ModelFailure) as failed:
        ClientCandidate(client, api="gemini", stream=True)(REQUEST)
    assert (failed.value.kind, failed.value.status) == ("busy", None)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", APIS)
def test_a_status_and_a_service_that_is_away_are_failures_of_their_kinds(
    server: ModelServer, api: ApiName, is_async: bool
) -> None:
    """Asked once: it is refold that asks again, at the pace of the run."""
    server.script = [Reply(b'{"error": {"message": "no", "code": 429}}', status=429)]
    client = client_of(api, server, is_async=is_async)
    with pytest.raises(ModelFailure) as failed:
        ClientCandidate(client, api=api)(REQUEST)
    assert (failed.value.kind, failed.value.status) == ("busy", 429)
    assert len(server.received) == 1
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelFailure) as failed:
        ClientCandidate(client_of(api, server, is_async=is_async), api=api)(REQUEST)
    assert failed.value.kind == "unreachable"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("api", APIS)
def test_what_an_error_repeats_of_keys_is_not_in_the_failure(
    server: ModelServer, api: ApiName, is_async: bool
) -> None:
    """It is shown, and kept in the log: neither the SDK's own key, nor that of a header."""
    text = f"key '{KEY}' of of-the-gateway is not known"
    error = {"error": {"message": text, "code": 401, "status": "NO", "type": "x"}}
    server.script = [Reply(json.dumps(error).encode(), status=401)]
    with pytest.raises(ModelFailure) as failed:
        ClientCandidate(client_of(api, server, is_async=is_async), api=api)(REQUEST)
    assert (failed.value.kind, failed.value.status) == ("refused", 401)
    assert "key '[secret]' of [secret] is not known" in failed.value.message


def test_a_key_is_taken_out_that_only_the_request_of_an_error_held() -> None:
    """As of a client whose keys are made for each request, or stand in the address."""
    url = "https://me:pass-word@h/key/abc-def-ghi/chat?api_key=of-the-query&model=gpt-big"
    request = httpx2.Request("POST", url, headers={"authorization": "Bearer made-just-now"})

    class Completions:
        def create(self, **_: Any) -> None:
            said = "pass-word abc-def-ghi of-the-query gpt-big made-just-now"
            raise httpx2.ConnectError(said, request=request)

    client = SimpleNamespace(chat=SimpleNamespace(completions=Completions()))
    with pytest.raises(ModelFailure) as failed:
        ClientCandidate(client)(REQUEST)
    assert failed.value.kind == "unreachable"
    assert failed.value.message.endswith("[secret] [secret] [secret] gpt-big [secret]")


def test_an_error_without_a_request_and_a_client_without_a_key_are_told_as_they_are() -> None:
    """Whatever stands where they would be."""

    class Completions:
        def create(self, **_: Any) -> None:
            raise httpx2.ConnectError("no way to h \ud800")

    completions = SimpleNamespace(completions=Completions())
    client = SimpleNamespace(chat=completions, api_key=len, default_headers=7, base_url=None)
    with pytest.raises(ModelFailure, match=r"the client raised ConnectError: no way to h \?"):
        ClientCandidate(client)(REQUEST)


def test_an_api_that_a_client_has_not_is_refused(server: ModelServer) -> None:
    """It says which it has; where none was named, it is chat completions with OpenAI's."""
    with pytest.raises(UsageError, match="anthropic"):
        ClientCandidate(client_of("anthropic", server), api="chat")
    with pytest.raises(UsageError, match="chat or responses"):
        ClientCandidate(client_of("chat", server), api="gemini")
    with pytest.raises(UsageError, match="client"):
        ClientCandidate(object())
    server.script = [whole("chat")]
    ClientCandidate(client_of("chat", server))(REQUEST)
    assert server.received[0].path == "/v1/chat/completions"


def test_chat_and_responses_are_two_endpoints(server: ModelServer) -> None:
    """The answers of one do not pass for those of the other."""
    client = client_of("chat", server)
    urls = {ClientCandidate(client, api=api).url for api in APIS[:2]}
    assert len(urls) == 2
