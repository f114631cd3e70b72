"""What the taps see: the bytes on the wire, unchanged for the caller, and how each call ended."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any
from urllib.parse import quote

import anthropic
import httpx
import httpx2
import openai
import pytest

from refold.capture import threads
from refold.capture.call import ModelCall
from refold.capture.endpoints import RequestSecrets
from refold.capture.sending import HEADER, Taps, watched, watched_async
from tests.capture.model_server import (
    ModelServer,
    Reply,
    chat,
    chat_stream,
    messages_stream,
    zipped,
)

MESSAGES: Any = [{"role": "user", "content": "hé"}]
LIBRARIES = pytest.mark.parametrize("library", [httpx2, httpx])


class Seen:
    """A writer that keeps what it is told, in order."""

    is_stopped = raises = False

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.bytes: dict[ModelCall, bytes] = {}
        self.ended: list[ModelCall] = []
        self.told: list[Exception] = []

    def tell(self, error: Exception) -> None:
        self.told.append(error)

    def begin(self, call: ModelCall) -> None:
        assert call.ending is None
        self.calls.append(call)
        self.bytes[call] = b""

    def data(self, call: ModelCall, chunk: bytes) -> None:
        assert chunk
        assert call not in self.ended
        self.bytes[call] += chunk

    def end(self, call: ModelCall) -> None:
        assert call.ending is not None
        assert call not in self.ended
        self.ended.append(call)

    def only(self) -> tuple[ModelCall, bytes]:
        """The one call there was, which has ended, and its answer."""
        (call,) = self.calls
        assert self.ended == [call]
        return call, self.bytes[call]


def every(_: str) -> bool:
    return True


def client(library: ModuleType, seen: Seen, hosts: Any = every, **options: Any) -> Any:
    made = library.Client(**options)
    made.send = partial(watched(library.Client.send, library, _taps(seen, hosts)), made)
    return made


def async_client(library: ModuleType, seen: Seen, hosts: Any = every, **options: Any) -> Any:
    made = library.AsyncClient(**options)
    wrapped = watched_async(library.AsyncClient.send, library, _taps(seen, hosts))
    made.send = partial(wrapped, made)
    return made


def _taps(seen: Seen, hosts: Any, named: Any = None) -> Callable[[], Taps]:
    made = Taps("memory:", hosts, conversation=named)
    made.writer = seen  # type: ignore[assignment]
    return lambda: made


def post(library: ModuleType, server: ModelServer, seen: Seen, **extra: Any) -> Any:
    """A call without an SDK."""
    with client(library, seen) as made:
        body = {"model": "m", "messages": MESSAGES}
        return made.post(f"{server.url}/v1/chat/completions", json=body, **extra)


# -- exact bytes ----------------------------------------------------------------------------------


@LIBRARIES
@pytest.mark.parametrize("pack", [lambda reply: reply, zipped])
@pytest.mark.parametrize("make", [chat, chat_stream])
def test_bytes_are_those_of_the_wire(
    server: ModelServer, library: ModuleType, pack: Any, make: Callable[[], Reply]
) -> None:
    """Whole or streamed, packed or not: seen as sent, and given to the caller as ever."""
    server.script = [pack(make())]
    seen = Seen()
    answer = post(library, server, seen)
    call, got = seen.only()
    assert got == server.sent[0]
    assert call.request == server.received[0].body
    assert (call.ending, call.status, call.error) == ("whole", 200, None)
    assert answer.content == make().body
    assert answer.is_closed


@LIBRARIES
@pytest.mark.parametrize("pack", [lambda reply: reply, zipped])
def test_bytes_are_those_of_the_wire_async(
    server: ModelServer, library: ModuleType, pack: Any
) -> None:
    """The same on an event loop."""
    server.script = [pack(chat_stream())]
    seen = Seen()

    async def ask() -> bytes:
        async with async_client(library, seen) as made:
            url = f"{server.url}/v1/chat/completions"
            async with made.stream("POST", url, json={"messages": MESSAGES}) as answer:
                return b"".join([chunk async for chunk in answer.aiter_bytes()])

    assert asyncio.run(ask()) == chat_stream().body
    call, got = seen.only()
    assert got == server.sent[0]
    assert call.ending == "whole"


def test_openai_streams_as_ever(server: ModelServer) -> None:
    """The SDK sees the stream that it would see, and the tap its exact bytes."""
    server.script = [chat_stream()]
    seen = Seen()
    url = f"{server.url}/v1"
    with openai.OpenAI(api_key="x", base_url=url, http_client=client(httpx2, seen)) as made:
        chunks = made.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert words == "Hi café … \U0001f600 done"
    call, got = seen.only()
    # The SDK may close at [DONE], before the connection's own end.
    assert call.ending in ("whole", "closed")
    assert got == server.sent[0]
    assert call.request == server.received[0].body


def test_openai_async_streams_as_ever(server: ModelServer) -> None:
    """The same with the SDK for an event loop."""
    server.script = [chat_stream()]
    seen = Seen()

    async def ask() -> str:
        url, own = f"{server.url}/v1", async_client(httpx2, seen)
        async with openai.AsyncOpenAI(api_key="x", base_url=url, http_client=own) as made:
            chunks = await made.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices])

    assert asyncio.run(ask()) == "Hi café … \U0001f600 done"
    assert seen.only()[1] == server.sent[0]


def test_anthropic_streams_as_ever(server: ModelServer) -> None:
    """The same with the SDK of Anthropic."""
    server.script = [messages_stream()]
    seen = Seen()
    own = client(httpx2, seen)
    with (
        anthropic.Anthropic(api_key="x", base_url=server.url, http_client=own) as made,
        made.messages.stream(model="x", max_tokens=9, messages=MESSAGES) as stream,
    ):
        assert "".join(stream.text_stream) == "Hi café … \U0001f600 done"
    call, got = seen.only()
    assert got == server.sent[0]
    assert call.api.name == "anthropic.messages"
    assert call.headers["anthropic-version"]


# -- endings --------------------------------------------------------------------------------------


@LIBRARIES
def test_a_stream_left_early_is_closed(server: ModelServer, library: ModuleType) -> None:
    """What the caller did not read was not seen, and nothing more is read for it."""
    server.script = [chat_stream(pause_s=0.01)]
    seen = Seen()
    with client(library, seen) as made:
        url = f"{server.url}/v1/chat/completions"
        with made.stream("POST", url, json={"messages": MESSAGES}) as answer:
            for chunk in answer.iter_raw():
                assert chunk
                break
    call, got = seen.only()
    assert call.ending == "closed"
    assert got
    assert server.sent[0].startswith(got)


@LIBRARIES
def test_a_broken_connection_is_a_cut(server: ModelServer, library: ModuleType) -> None:
    """What had come is there, with the error."""
    server.script = [chat_stream(cut=200)]
    seen = Seen()
    with pytest.raises(library.RemoteProtocolError):
        post(library, server, seen)
    call, got = seen.only()
    assert call.ending == "cut"
    assert call.error is not None
    assert call.error.startswith("RemoteProtocolError")
    assert got == server.sent[0][:200]


@LIBRARIES
def test_a_time_out_in_the_head_and_in_the_body(server: ModelServer, library: ModuleType) -> None:
    """Before the answer and within it."""
    for reply in (Reply(b"{}", wait_s=1), chat_stream(pause_s=1)):
        server.script = [reply]
        seen = Seen()
        with pytest.raises(library.ReadTimeout):
            post(library, server, seen, timeout=0.2)
        assert seen.only()[0].ending == "timeout"


@LIBRARIES
def test_nobody_there_is_unreachable(library: ModuleType) -> None:
    """There was no answer at all."""
    seen = Seen()
    with client(library, seen) as made, pytest.raises(library.ConnectError):
        made.post("http://127.0.0.1:9/v1/chat/completions", json={"messages": MESSAGES})
    call, got = seen.only()
    assert (call.ending, call.status, got) == ("unreachable", None, b"")


@LIBRARIES
def test_a_cancelled_task_is_cancelled(server: ModelServer, library: ModuleType) -> None:
    """What had come before is there."""
    server.script = [chat_stream(pause_s=0.05)]
    seen = Seen()

    async def ask() -> None:
        async with async_client(library, seen) as made:
            url = f"{server.url}/v1/chat/completions"
            task = asyncio.create_task(made.post(url, json={"messages": MESSAGES}))
            while not any(seen.bytes.values()):
                await asyncio.sleep(0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(ask())
    call, got = seen.only()
    assert call.ending == "cancelled"
    assert server.sent[0].startswith(got)


def test_each_try_of_an_sdk_is_a_call(server: ModelServer) -> None:
    """With its status, its number and its answer."""
    busy = Reply(b'{"error": {"message": "slow down"}}', status=429, headers={"retry-after": "0"})
    server.script = [busy, busy, chat()]
    seen = Seen()
    url, own = f"{server.url}/v1", client(httpx2, seen)
    with openai.OpenAI(api_key="x", base_url=url, http_client=own, max_retries=2) as made:
        made.chat.completions.create(model="m", messages=MESSAGES)
    assert [(call.status, call.attempt) for call in seen.calls] == [(429, 1), (429, 2), (200, 3)]
    assert [seen.bytes[call] for call in seen.calls] == server.sent
    assert seen.calls[0].answer_headers["retry-after"] == "0"


# -- what passes unread ---------------------------------------------------------------------------


@LIBRARIES
def test_what_is_no_call_of_a_model_passes_unread(server: ModelServer, library: ModuleType) -> None:
    """Not even its body is looked at."""
    seen = Seen()
    pieces_asked_for: list[int] = []

    def pieces() -> Any:
        for number in range(3):
            pieces_asked_for.append(number)
            yield b"x"

    with client(library, seen, hosts=None) as made:
        assert made.get(f"{server.url}/v1/models").status_code == 200
        for path in ("/v1/embeddings", "/upload", "/v1/messages", "/v1/responses"):
            # Read as it is sent: a body that may be read once alone.
            assert made.post(f"{server.url}{path}", content=pieces()).status_code == 200
    assert seen.calls == []
    assert [received.body for received in server.received[1:]] == [b"xxx"] * 4


@LIBRARIES
def test_only_the_hosts_asked_for(server: ModelServer, library: ModuleType) -> None:
    """Where hosts are named, others pass."""
    seen = Seen()
    url = f"{server.url}/v1/chat/completions"
    with client(library, seen, hosts={"api.openai.com"}.__contains__) as made:
        made.post(url, json={"messages": MESSAGES})
    assert seen.calls == []
    with client(library, seen, hosts={"127.0.0.1"}.__contains__) as made:
        made.post(url, json={"messages": MESSAGES})
    assert len(seen.calls) == 1


# -- secrets --------------------------------------------------------------------------------------


@LIBRARIES
@pytest.mark.parametrize("pack", [lambda reply: reply, zipped])
def test_no_secret_is_seen(server: ModelServer, library: ModuleType, pack: Any) -> None:
    """Not in headers, address or error, however the answer repeats it; the caller sees it all."""
    canaries = [f"canary-{n}-secret" for n in range(7)]
    said = " ".join(canaries)
    server.script = [
        pack(
            Reply(
                f'{{"error": "wrong key: {said}"}}'.encode(),
                status=401,
                headers={"set-cookie": canaries[0], "x-request-id": "r1"},
            )
        )
    ]
    seen = Seen()
    with client(library, seen) as made:
        answer = made.post(
            f"http://u:{canaries[5]}@127.0.0.1:{server.server_port}/v1/chat/completions"
            f"?key={canaries[4]}",
            json={"messages": MESSAGES},
            headers={
                "x-api-key": canaries[1],
                "Cookie": f"a={canaries[2]}; b=2",
                "Authorization": f"Bearer {canaries[3]}",
                "api-key": canaries[0],
                "x-goog-api-key": canaries[6],
            },
        )
    call, got = seen.only()
    kept = repr((call, got))
    assert "canary" not in kept.replace(repr(call.request), "")
    assert got.count(b"[removed]") == len(canaries)
    assert call.url == f"{server.url}/v1/chat/completions"
    assert call.answer_headers["x-request-id"] == "r1"
    assert said in answer.text


@LIBRARIES
def test_no_secret_is_seen_however_it_is_named_or_written(
    server: ModelServer, library: ModuleType
) -> None:
    """Any header that says it is one; quoted for a URL or JSON; in a header of the answer."""
    names = ("authorization", "x-amz-security-token", "x-auth-token", "x-session", "x-api-key")
    headers = {name: f'canary/{n}+"secret' for n, name in enumerate(names)}
    values = [*headers.values(), "canary:u/ser", 'canary:pass"word']
    written = [form for one in values for form in (one, quote(one), quote(one, safe=""))]
    escaped = "".join(f"\\u{ord(char):04x}" for char in headers["x-api-key"])
    body = (
        json.dumps({"error": {"message": " ".join(["@", *written])}}).replace("@", escaped).encode()
    )
    told = {"x-request-id": headers["x-api-key"]}
    server.script = [Reply(body, status=401, headers=told)]
    seen = Seen()
    user, word = (quote(one, safe="") for one in values[-2:])
    url = f"http://{user}:{word}@127.0.0.1:{server.server_port}/v1/chat/completions"
    with client(library, seen) as made:
        made.post(url, json={"messages": MESSAGES}, headers=headers)
        basic = library.BasicAuth("canary-user", "canary-passw")
        server.script = [Reply(b"canary-user and canary-passw are wrong", status=401)]
        made.post(f"{server.url}/v1/chat/completions", json={}, auth=basic)
    kept = repr([(call, seen.bytes[call]) for call in seen.calls])
    assert "canary" not in kept
    assert "u0063" not in kept


@LIBRARIES
@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/v1/sk-canary-1/chat/completions", "/v1/[removed]/chat/completions"),
        ("/key/canary/v1/messages", "/key/[removed]/v1/messages"),
        ("/my-token-canary/v1/responses", "/[removed]/v1/responses"),
        ("/9f8e7d6c5bcanary/openai/v1/responses", "/[removed]/openai/v1/responses"),
        ("/canaryCanaryCANARYcanaryC/v1/messages", "/[removed]/v1/messages"),
        ("/canary-in-a-header/v1/messages", "/[removed]/v1/messages"),
        ("/v1beta/models/gemini-2.5-flash-preview-04-17:streamGenerateContent", None),
        ("/openai/deployments/gpt-4o-mini-2024-07-18/chat/completions", None),
        ("/v1/projects/my-project-123456/locations/us-central1/endpoints/x/chat/completions", None),
    ],
)
def test_no_key_in_a_path_is_kept(
    server: ModelServer, library: ModuleType, path: str, kept: str | None
) -> None:
    """Nor what repeats it; names of models, versions and dates stay, and the request goes there."""
    server.script = [Reply(f'{{"error": "no route {path}"}}'.encode(), status=404)]
    seen = Seen()
    with client(library, seen, headers={"x-api-key": "canary-in-a-header"}) as made:
        made.post(f"{server.url}{path}", json={"contents": []})
        assert server.received[-1].path == path
        with pytest.raises(library.HTTPError):
            made.post(f"http://127.0.0.1:9{path}", json={"contents": []})
    call, got = seen.calls[0], seen.bytes[seen.calls[0]]
    assert call.url == server.url + (kept or path)
    assert "canary" not in repr((seen.calls, got)).lower()
    assert (b"[removed]" in got) == (kept is not None)


@LIBRARIES
def test_a_key_in_an_answer_is_kept_as_it_came_but_not_in_its_headers(
    server: ModelServer, library: ModuleType
) -> None:
    """The bytes of what is no error are exact, whatever a server repeats in them: a limit."""
    said = chat("your key is canary-1-secret")
    said.headers = {"x-request-id": "for canary-1-secret", "openai-model": "m"}
    server.script = [said]
    seen = Seen()
    answer = post(library, server, seen, headers={"authorization": "Bearer canary-1-secret"})
    call, got = seen.only()
    assert got == server.sent[0] == answer.content
    assert call.answer_headers["x-request-id"] == "for [removed]"
    assert "canary" not in repr(call).replace(repr(call.request), "")


# -- what is the caller's own ---------------------------------------------------------------------


@LIBRARIES
def test_a_request_may_be_sent_again(server: ModelServer, library: ModuleType) -> None:
    """Each time it is a call, and the request is what it was."""
    seen = Seen()
    with client(library, seen) as made:
        request = made.build_request(
            "POST", f"{server.url}/v1/chat/completions", json={}, headers={HEADER: "call-1"}
        )
        before = request.extensions, dict(request.headers)
        for _ in range(3):
            made.send(request)
        assert (request.extensions, dict(request.headers)) == before
    assert [call.conversation for call in seen.calls] == ["call-1"] * 3
    assert HEADER not in server.received[-1].headers


@LIBRARIES
def test_a_hook_that_raises_is_no_broken_connection(
    server: ModelServer, library: ModuleType
) -> None:
    """The status is known, and the body where the hook has read it."""
    server.script = [Reply(b'{"error": "no"}', status=429)]
    for reads in (False, True):
        seen = Seen()

        def hook(response: Any, reads: bool = reads) -> None:
            if reads:
                response.read()
            response.raise_for_status()

        with (
            client(library, seen, event_hooks={"response": [hook]}) as made,
            pytest.raises(library.HTTPStatusError),
        ):
            made.post(f"{server.url}/v1/chat/completions", json={})
        call, got = seen.only()
        assert (call.status, call.ending) == (429, "whole" if reads else "closed")
        assert got == (b'{"error": "no"}' if reads else b"")


@LIBRARIES
def test_a_hook_that_keeps_nothing_fails_as_ever(server: ModelServer, library: ModuleType) -> None:
    """A stream that it has read through is used up; sending itself does not fail for it."""
    seen = Seen()

    def hook(response: Any) -> None:
        for _ in response.iter_bytes():
            pass

    with client(library, seen, event_hooks={"response": [hook]}) as made:
        request = made.build_request("POST", f"{server.url}/v1/chat/completions", json={})
        assert made.send(request, stream=True).status_code == 200
        with pytest.raises(library.StreamConsumed):
            made.send(request)
    assert [call.ending for call in seen.ended] == ["closed", "closed"]


@LIBRARIES
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/other"])
def test_an_exhausted_iterator_of_the_callers_fails_as_ever(library: ModuleType, path: str) -> None:
    """``StopIteration``, as of a transport that plays answers: of watched and other requests."""
    seen = Seen()
    answers = iter([library.Response(200)])
    transport = library.MockTransport(lambda _: next(answers))
    with client(library, seen, transport=transport) as made:
        assert made.post(f"http://localhost{path}", json={}).status_code == 200
        with pytest.raises(StopIteration):
            made.post(f"http://localhost{path}", json={})
    assert [call.ending for call in seen.ended] == (
        [] if path == "/other" else ["whole", "unreachable"]
    )


@LIBRARIES
def test_the_secrets_of_a_client_go_with_it(server: ModelServer, library: ModuleType) -> None:
    """Nothing here holds its key when the caller no longer does; nor is another's removed."""
    server.script = [Reply(b"canary-one canary-two", status=401)]
    seen = Seen()
    in_force = _taps(seen, every)
    url = f"{server.url}/v1/chat/completions"

    def ask(key: str) -> None:
        with library.Client(headers={"authorization": f"Bearer {key}"}) as made:
            send = watched(library.Client.send, library, in_force)
            send(made, made.build_request("POST", url, json={}))

    ask("canary-one")
    ask("canary-two")
    said = [seen.bytes[call] for call in seen.calls]
    assert said == [b"[removed] canary-two", b"canary-one [removed]"]
    gc.collect()
    held = [each for each in gc.get_objects() if isinstance(each, RequestSecrets)]
    assert held == []


@LIBRARIES
def test_an_error_that_is_no_text_is_the_callers_as_it_was(library: ModuleType) -> None:
    """A lone surrogate in its words does not become another error."""
    seen = Seen()

    def refuses(_: object) -> None:
        raise library.ConnectError("no \udcff")

    with (
        client(library, seen, transport=library.MockTransport(refuses)) as made,
        pytest.raises(library.ConnectError),
    ):
        made.post("http://localhost/v1/chat/completions", json={})
    call, _ = seen.only()
    assert call.error == "ConnectError: no \\udcff"


def test_a_name_that_cannot_be_had_does_not_fail_the_call(server: ModelServer) -> None:
    """The call is recorded without it; by choice the error is raised."""
    seen = Seen()

    def named(_: object) -> str:
        raise LookupError("nobody speaks")

    with httpx2.Client(timeout=60) as made:
        send = watched(httpx2.Client.send, httpx2, _taps(seen, every, named))
        request = made.build_request("POST", f"{server.url}/v1/chat/completions", json={})
        assert send(made, request).status_code == 200
        call, _ = seen.only()
        assert call.conversation is None
        assert [str(one) for one in seen.told] == ["nobody speaks"]
        seen.raises = True
        with pytest.raises(LookupError):
            send(made, request)


# -- conversations that are named -----------------------------------------------------------------


@LIBRARIES
def test_the_header_names_the_conversation_and_is_not_sent(
    server: ModelServer, library: ModuleType
) -> None:
    """It is for the recorder alone."""
    seen = Seen()
    post(library, server, seen, headers={HEADER: "call-42"})
    assert seen.only()[0].conversation == "call-42"
    assert HEADER not in server.received[0].headers


@LIBRARIES
def test_the_header_leaves_with_no_request(server: ModelServer, library: ModuleType) -> None:
    """Nor with one that is not watched, nor when nothing is recorded any more."""
    seen = Seen()
    named = {HEADER: "call-42"}
    with client(library, seen, hosts={"elsewhere"}.__contains__, headers=named) as made:
        made.post(f"{server.url}/v1/chat/completions", json={})
    with client(library, seen, headers=named) as made:
        made.post(f"{server.url}/v1/embeddings", json={})
        made.get(f"{server.url}/v1/models")
        seen.is_stopped = True
        made.post(f"{server.url}/v1/chat/completions", json={})

    async def ask() -> None:
        async with async_client(library, seen, headers=named) as made:
            await made.post(f"{server.url}/v1/chat/completions", json={})

    asyncio.run(ask())
    assert seen.calls == []
    assert len(server.received) == 5
    assert not any(HEADER in each.headers for each in server.received)


def test_a_block_names_it_for_its_tasks_and_threads(server: ModelServer) -> None:
    """And for nothing behind it."""
    seen = Seen()
    ask = partial(post, httpx2, server, seen)

    async def in_tasks() -> None:
        await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(2)))

    with threads.conversation("call-42"):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        asyncio.run(in_tasks())
    ask()
    assert [call.conversation for call in seen.calls] == ["call-42"] * 3 + [None]


def test_a_thread_of_a_pool_is_in_no_conversation_later(server: ModelServer) -> None:
    """Though it was begun in one."""
    from concurrent.futures import ThreadPoolExecutor

    seen = Seen()
    ask = partial(post, httpx2, server, seen)
    with ThreadPoolExecutor(1) as pool:
        with threads.conversation("call-42"):
            pool.submit(ask).result()
        pool.submit(ask).result()
    assert [call.conversation for call in seen.calls] == ["call-42", None]
