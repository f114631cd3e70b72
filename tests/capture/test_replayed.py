"""A replay of what was captured, nothing changed, against a server that compares."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

import refold
from refold import capture
from refold.capture.exact import request_of
from refold.replay import ChatEndpoint, ChatRequest, Variant, decisions, replay
from tests.capture.model_server import ModelServer, Reply
from tests.capture.random_talks import Caller, Talk
from tests.capture.speakers.chat import ChatSpeaker
from tests.capture.speakers.drawing import Draw
from tests.capture.speakers.gemini import GeminiSpeaker
from tests.capture.speakers.messages import MessagesSpeaker
from tests.capture.speakers.responses import ResponsesSpeaker
from tests.capture.speakers.said import Body, Speaker
from tests.capture.test_frameworks import LOOK, reply

KINDS: list[type[Speaker]] = [ChatSpeaker, ResponsesSpeaker, MessagesSpeaker, GeminiSpeaker]
TALKS = 8
STREAMING = ("stream", "stream_options")
"""What a replay must leave out of a request, as it reads answers whole."""


@pytest.fixture
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as opened:
        yield opened


def unstreamed(sent: bytes) -> bytes:
    """A request as it was sent; one that asked for a stream without that."""
    body = json.loads(sent)
    if not body.get("stream"):
        return sent
    return json.dumps({key: body[key] for key in body if key not in STREAMING}).encode()


def conversations(store: refold.Store) -> list[str]:
    names = [info.stream for info in store.streams()]
    return [name for name in names if name.startswith("chat-") and "~" not in name]


@pytest.mark.parametrize("speaker", KINDS, ids=lambda one: one.__name__)
def test_a_replay_can_send_the_very_bytes_that_were_sent(
    speaker: type[Speaker], server: ModelServer, store: refold.Store
) -> None:
    """By whichever API, at each decision, as the how-to has it: all but the asking for a stream."""
    with asyncio.Runner() as runner:
        caller = Caller(store, httpx2, runner)
        talks = [Talk(speaker(), caller, seed) for seed in range(TALKS)]
        for talk in talks:
            assert [*talk.run()]
    draw = Draw(1)
    answer = speaker().answer(draw, speaker().agent(draw), streams=False)
    server.script = [Reply(json.dumps(answer).encode())]

    with httpx2.Client(timeout=60) as http:

        def same_again(request: ChatRequest) -> Any:
            stream, _, version = request.at.rpartition("@")
            sent = request_of(store, stream, int(version))
            path = speaker().path(streams=False)
            answered = http.post(server.url + path, content=unstreamed(sent))
            return answered.json()

        done = replay(store, conversations(store), Variant(label="again"), same_again)
    assert (done.failed, done.answered) == (0, done.decisions)
    asked = [request_of(store, *_place(one.at)) for one in _decisions(store)]
    assert len(asked) == done.decisions > TALKS
    assert sorted(one.body for one in server.received) == sorted(map(unstreamed, asked))
    assert any(json.loads(one) == json.loads(unstreamed(one)) for one in asked)


def _decisions(store: refold.Store) -> list[Any]:
    return [one for name in conversations(store) for one in decisions([*store.read(name)])]


def _place(at: str) -> tuple[str, int]:
    stream, _, version = at.rpartition("@")
    return stream, int(version)


TOOL: Body = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look up the free times of a day.",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
    },
}
OF_WHO_ASKS: Body = {"user": "u-1", "store": False, "metadata": {"shop": "7"}}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_an_endpoint_is_asked_what_was_asked(
    server: ModelServer, store: refold.Store, streams: bool
) -> None:
    """A conversation by OpenAI's SDK: the same JSON, but for who asks and how it is answered."""
    server.script = [reply(ChatSpeaker, said, streams=streams) for said in (LOOK, "At nine.")]
    given: Body = {"model": "m-1", "temperature": 0.5, "seed": 7, "tools": [TOOL], **OF_WHO_ASKS}
    given |= {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
    called = {"name": LOOK[1], "arguments": json.dumps(LOOK[2])}
    messages: list[Any] = [
        {"role": "system", "content": "Find a time, s'il te plaît."},
        {"role": "user", "content": [{"type": "text", "text": "When, on Friday?"}]},
    ]
    with openai.OpenAI(
        api_key="k", base_url=f"{server.url}/v1", http_client=capture.client(store)
    ) as client:

        def ask() -> None:
            answer: Any = client.chat.completions.create(messages=messages, **given)
            assert [*answer] if streams else answer.choices

        ask()
        call = {"id": LOOK[0], "type": "function", "function": called}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": LOOK[0], "content": "09:00"})
        ask()
    assert capture.flush()
    sent = [json.loads(one.body) for one in server.received]
    requests = store.read_all(types=["model.request"])
    assert {one.data["url"] for one in requests} == {f"{server.url}/v1/chat/completions"}
    server.script = [reply(ChatSpeaker, "At ten.", streams=False)]
    endpoint = ChatEndpoint(f"{server.url}/v1", api_key="k")
    done = replay(store, conversations(store), Variant(), endpoint, workers=1)
    assert (done.decisions, done.failed) == (2, 0)
    asked = [json.loads(one.body) for one in server.received[2:]]
    left_out = {*OF_WHO_ASKS, *(STREAMING if streams else ())}
    for one, other in zip(sent, asked, strict=True):
        assert one.keys() - other.keys() == left_out
        assert _said({key: one[key] for key in one if key not in left_out}) == _said(other)


def _said(body: Body) -> Body:
    """A request without what its messages do not say: an empty content, the nulls of an answer."""
    messages = [{key: one[key] for key in one if one[key]} for one in body["messages"]]
    return {**body, "messages": messages}
