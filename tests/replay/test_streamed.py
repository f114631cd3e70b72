"""Answers in pieces: each API's stream is the answer that it is whole, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

import refold
from refold.conversation.apis.saying import has_token
from refold.conversation.apis.sse import Frame, frames_of
from refold.conversation.events import Usage
from refold.http import HttpClient
from refold.replay import ChatEndpoint, ModelFailure, Variant, replay
from refold.replay.candidate import ApiName
from tests.capture.model_server import ModelServer, Reply, serving
from tests.replay.stories import record
from tests.replay.test_apis_asked import ANSWERS, CALL, REQUEST, same_answer

APIS: list[ApiName] = ["chat", "responses", "anthropic", "gemini"]
Body = dict[str, Any]
USAGE = Usage(20, 5)


def chat_frames() -> list[Body]:
    begun: Body = {"index": 0, "id": "c2", "type": "function"}
    begun["function"] = {"name": "lookup", "arguments": CALL["arguments"][:5]}
    rest = {"index": 0, "function": {"arguments": CALL["arguments"][5:]}}
    pieces: list[Body] = [
        {"role": "assistant", "content": ""},
        {"content": "Gate "},
        {"content": "4."},
        {"tool_calls": [begun]},
        {"tool_calls": [rest]},
    ]
    choices: list[Body] = [{"index": 0, "delta": piece, "finish_reason": None} for piece in pieces]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    head = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    usage = ANSWERS["openai.chat"]["usage"]
    return [
        *({**head, "choices": [one]} for one in choices),
        {**head, "choices": [], "usage": usage},
    ]


def responses_frames() -> list[Body]:
    whole = ANSWERS["openai.responses"]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    message, call = whole["output"]
    part = {"item_id": "i", "output_index": 0, "content_index": 0}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**message, "content": []},
        },
        {"type": "response.output_text.delta", **part, "delta": "Gate "},
        {"type": "response.output_text.delta", **part, "delta": "4."},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**call, "arguments": ""},
        },
        {
            "type": "response.function_call_arguments.delta",
            "output_index": 1,
            "delta": CALL["arguments"],
        },
        {"type": "response.output_item.done", "output_index": 1, "item": call},
        {"type": "response.completed", "response": whole},
    ]


def messages_frames() -> list[Body]:
    whole = ANSWERS["anthropic.messages"]
    begun = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {**whole["usage"], "output_tokens": 1},
    }
    block = {"type": "content_block_delta", "index": 0}
    given = {"type": "content_block_delta", "index": 1}
    ended = {"stop_reason": "tool_use", "stop_sequence": None}
    return [
        {"type": "message_start", "message": begun},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {**block, "delta": {"type": "text_delta", "text": "Gate "}},
        {**block, "delta": {"type": "text_delta", "text": "4."}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {**whole["content"][1], "input": {}},
        },
        {**given, "delta": {"type": "input_json_delta", "partial_json": '{"id":'}},
        {**given, "delta": {"type": "input_json_delta", "partial_json": ' "B1"}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]


def gemini_frames() -> list[Body]:
    whole = ANSWERS["gemini.generate_content"]
    _, call = whole["candidates"][0]["content"]["parts"]

    def chunk(part: Body, **more: Any) -> Body:
        return {"candidates": [{"content": {"role": "model", "parts": [part]}, **more}]}

    return [
        {**chunk({"text": "Gate "}), "modelVersion": "m-1"},
        chunk({"text": "4."}),
        {**chunk(call, finishReason="STOP"), "usageMetadata": whole["usageMetadata"]},
    ]


FRAMES = {
    "chat": chat_frames(),
    "responses": responses_frames(),
    "anthropic": messages_frames(),
    "gemini": gemini_frames(),
}


def lines(api: ApiName, frames: list[Body]) -> bytes:
    """The frames as that API sends them: most name the type of each beside it."""
    named = api in ("responses", "anthropic")
    parts = [
        (f"event: {frame['type']}\n" if named else "") + f"data: {json.dumps(frame)}\n\n"
        for frame in frames
    ]
    return "".join([*parts, *["data: [DONE]\n\n"] * (api == "chat")]).encode()


def streamed(api: ApiName, **how: Any) -> Reply:
    return Reply(lines(api, FRAMES[api]), "text/event-stream", **how)


@contextmanager
def asking(api: ApiName, *script: Reply) -> Iterator[tuple[ChatEndpoint, ModelServer]]:
    """An endpoint that asks for streams, and the server that answers so."""
    with serving() as server:
        server.script = [*script]
        base = f"{server.url}{'/v1beta' if api == 'gemini' else '/v1'}"
        endpoint = ChatEndpoint(base, api=api, stream=True, api_key="k", model="m")
        yield endpoint, server
        endpoint.close()


@pytest.mark.parametrize("api", APIS)
def test_a_streamed_answer_is_the_one_that_the_api_gives_whole(api: ApiName) -> None:
    """It is asked for in the API's own way, and the time to its first piece is part of all."""
    with asking(api, streamed(api)) as (endpoint, server):
        action = endpoint(REQUEST)
        (asked,) = server.received
    same_answer(action)
    assert action.latency_ms is not None and action.first_token_ms is not None
    assert 0 < action.first_token_ms <= action.latency_ms
    if api == "gemini":
        assert asked.path.endswith(":streamGenerateContent?alt=sse")
    else:
        assert json.loads(asked.body)["stream"] is True


@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_is_cut_is_no_answer(api: ApiName) -> None:
    """Wherever it is cut, by a broken connection or in good order: it is told, never half of it."""
    whole, outcomes = lines(api, FRAMES[api]), set[str]()
    cuts = [*range(1, len(whole), 61), len(whole)]
    ended = [Reply(whole[:cut], "text/event-stream", size=4_096) for cut in cuts]
    broken = [streamed(api, cut=cut, size=4_096) for cut in cuts]
    with asking(api, *ended, *broken) as (endpoint, _):
        for _ in range(2 * len(cuts)):
            try:
                action = endpoint(REQUEST)
            except ModelFailure as failure:
                assert (failure.kind, failure.is_free) == ("busy", False), failure
                assert "broke" in failure.message
                outcomes.add("cut")
                continue
            # Chat completions tell the tokens when all has been said.
            same_answer(action if action.usage else replace(action, usage=USAGE))
            outcomes.add("whole")
    assert outcomes == {"whole", "cut"}


@pytest.mark.parametrize("api", APIS)
def test_what_was_cut_is_asked_again(api: ApiName) -> None:
    """The answer says that one try was lost, and may have been charged."""
    cut = streamed(api, cut=len(lines(api, FRAMES[api])) // 2)
    with refold.open("memory:") as store, asking(api, cut, streamed(api)) as (endpoint, server):
        record(store, "call-1")
        said = replay(store, ["call-1"], Variant(label="s"), endpoint, workers=1)
        assert (said.answered, said.failed, said.requests) == (2, 0, 3)
        assert len(server.received) == 3
        kept = [e.data for e in store.read_all(categories=["call~"], types=["model.response"])]
    assert [one.get("attempts", 1) for one in kept] == [2, 1]
    assert kept[0]["lost_unknown"] == 1
    assert all(0 < one["first_token_ms"] <= one["latency_ms"] for one in kept)


@pytest.mark.parametrize(
    ("api", "error", "status"),
    [
        ("anthropic", {"type": "overloaded_error", "message": "Overloaded"}, 529),
        ("anthropic", {"type": "api_error", "message": "Internal"}, 500),
        ("chat", {"type": "server_error", "message": "no", "code": None}, 500),
        ("responses", {"type": "rate_limit_exceeded", "message": "slow down"}, 429),
        ("gemini", {"code": 503, "message": "no", "status": "UNAVAILABLE"}, 503),
    ],
)
def test_an_error_in_the_midst_of_a_stream_is_that_failure(
    api: ApiName, error: Body, status: int
) -> None:
    """With the status that it would have had at the beginning, so that it is asked again."""
    frames = [*FRAMES[api][:2], {"type": "error", "error": error}]
    with (
        asking(api, Reply(lines(api, frames), "text/event-stream")) as (endpoint, _),
        pytest.raises(ModelFailure) as failed,
    ):
        endpoint(REQUEST)
    assert (failed.value.kind, failed.value.status) == ("busy", status)


def test_an_answer_in_one_piece_has_no_first() -> None:
    """A server may answer whole where a stream was asked for; then nothing is known of a piece."""
    with asking("chat", Reply(json.dumps(ANSWERS["openai.chat"]).encode())) as (endpoint, _):
        action = endpoint(REQUEST)
    same_answer(action)
    assert action.first_token_ms is None


FIRST = [("chat", 1), ("responses", 3), ("anthropic", 3), ("gemini", 0)]


@pytest.mark.parametrize(("api", "first"), FIRST)
def test_the_first_piece_is_one_that_says_something(api: ApiName, first: int) -> None:
    """Not one that only begins, names who speaks, or keeps the connection."""
    frames = frames_of([lines(api, FRAMES[api])])
    assert [has_token(frame) for frame in frames[: first + 1]] == [False] * first + [True]


@pytest.mark.parametrize(
    "silent",
    [
        {"choices": [{"delta": {"role": "assistant", "content": "", "refusal": None}}]},
        {"choices": [{"delta": {"role": "assistant", "content": None, "tool_calls": None}}]},
        {"choices": [{"delta": {"role": "assistant", "content": ""}, "logprobs": None}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "prompt_filter_results": [{"content_filter_results": {"x": "safe"}}]},
        {"choices": [], "usage": {"prompt_tokens": 3}},
        {"type": "message_start", "message": {"model": "m", "content": [{"text": "no piece"}]}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_start", "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "E"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "response.created", "response": {"instructions": "Be kind.", "output": []}},
        {"type": "response.queued", "response": {"tools": [{"name": "look"}]}},
        {"type": "response.output_item.added", "item": {"type": "message", "content": []}},
        {"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}},
        {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
        {"type": "response.output_text.delta", "delta": ""},
        {"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}}]},
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3}},
        {"type": "ping"},
        {"type": "keepalive"},
    ],
)
def test_a_piece_without_a_word_says_nothing(silent: Body) -> None:
    """However much it says about the answer."""
    assert not has_token(Frame("", json.dumps(silent)))


@pytest.mark.parametrize(
    "piece",
    [
        {"choices": [{"delta": {"role": "assistant", "content": "G"}}]},
        {"choices": [{"delta": {"refusal": "I"}}]},
        {"choices": [{"delta": {"reasoning_content": "First"}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "look"}}]}}]},
        {"choices": [{}, {"delta": {"audio": {"transcript": "Gate"}}}]},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "look"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "F"}},
        {"type": "content_block_delta", "delta": {"partial_json": "{"}},
        {"type": "response.output_text.delta", "delta": " "},
        {"type": "response.refusal.delta", "delta": "I"},
        {"type": "response.reasoning_summary_text.delta", "delta": "F"},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": "look"}},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "look"}}]}}]},
        {"candidates": [{"content": {"parts": [{"inlineData": {"data": "iVBO"}}]}}]},
    ],
)
def test_a_word_a_thought_or_a_call_says_something(piece: Body) -> None:
    """A tool's name is the first of a call."""
    assert has_token(Frame("", json.dumps(piece)))


@pytest.mark.parametrize("text", ["", "[DONE]", "[]", "null", "{", "1", '{"delta": 1}'])
def test_what_is_no_piece_says_nothing(text: str) -> None:
    """Be it no JSON, or of no shape that is known."""
    assert not has_token(Frame("", text))


def test_the_time_to_the_first_piece_is_that_of_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that each piece moves: what comes before it counts, what comes after does not."""
    came: list[bytes] = []
    clock = SimpleNamespace(monotonic=lambda: float(len(came)))
    monkeypatch.setattr("refold.http.time", clock)

    def begins(piece: bytes) -> bool:
        came.append(piece)
        return b"4." in piece

    body = b"Gate " * 30 + b"4." + b"." * 300
    with serving() as server:
        server.script = [Reply(body, size=10, pause_s=0.001)]
        client = HttpClient(timeout_s=10)
        reply = client.wait(client.send("GET", server.url, begins=begins))
        client.close()
    assert reply.content == body
    assert reply.first_s == len(came) == reply.took_s
