"""Conversations by the other APIs, in the ways in which each goes on, are found to be one."""

import json
from typing import Any

import pytest

import refold
from refold.capture.exact import check_exact
from refold.capture.recorder import CallRecorder
from refold.conversation import Conversation
from refold.conversation.apis import APIS
from tests.capture.talk import call_of, ends

Turn = tuple[dict[str, Any], dict[str, Any] | list[Any]]

# -- Responses ------------------------------------------------------------------------------------

CALL = {"type": "function_call", "id": "f", "call_id": "c1", "name": "look", "arguments": '{"a":1}'}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "eA=="}
FOUND = {"type": "function_call_output", "call_id": "c1", "output": "found"}


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def message(text: str) -> dict[str, Any]:
    parts = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "m", "role": "assistant", "content": parts}


def response(number: int, *output: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    head = {"id": f"resp_{number}", "object": "response", "status": "completed", "model": "m"}
    return {**head, "output": [*output], "usage": usage}


BEFORE = [said("user", "Hi"), THOUGHT, CALL, FOUND]
WHOLE: list[Turn] = [
    ({"model": "m", "instructions": "Help", "input": "Hi"}, response(1, THOUGHT, CALL)),
    ({"model": "m", "instructions": "Help", "input": BEFORE}, response(2, message("There."))),
    (
        {"model": "m", "input": [*BEFORE, said("assistant", "There."), said("user", "Thanks")]},
        response(3, message("Bye.")),
    ),
]
BY_RESPONSE: list[Turn] = [
    ({"model": "m", "input": "Hi"}, response(1, CALL)),
    (
        {"model": "m", "previous_response_id": "resp_1", "input": [FOUND]},
        response(2, message("There.")),
    ),
    (
        {"model": "m", "previous_response_id": "resp_2", "input": "Thanks"},
        response(3, message("Bye.")),
    ),
]
BY_CONVERSATION: list[Turn] = [
    ({**body, "conversation": "conv_1", "previous_response_id": None}, answer)
    for body, answer in BY_RESPONSE
]

# -- Gemini ---------------------------------------------------------------------------------------

ASKED = {"role": "user", "parts": [{"text": "Hi"}]}
CALLS: dict[str, Any] = {
    "role": "model",
    "parts": [{"functionCall": {"name": "look", "args": {"a": 1}}}],
}
GIVES = {"name": "look", "response": {"result": "found"}}
RETURNS = {"role": "user", "parts": [{"functionResponse": GIVES}]}
THERE = {"role": "model", "parts": [{"text": "There."}]}
THANKS = {"role": "user", "parts": [{"text": "Thanks"}]}


def content(*parts: dict[str, Any]) -> dict[str, Any]:
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 4}
    one = {"content": {"role": "model", "parts": [*parts]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [one], "usageMetadata": counts, "modelVersion": "g-1"}


CONTENTS: list[Turn] = [
    ({"contents": [ASKED]}, content(*CALLS["parts"])),
    ({"contents": [ASKED, CALLS, RETURNS]}, content({"text": "There."})),
    (
        {"contents": [ASKED, CALLS, RETURNS, THERE, THANKS]},
        [content({"text": "By"}), content({"text": "e."})],
    ),
]

RESPONSES = ("openai.responses", "https://models.example/v1/responses")
GEMINI = ("gemini.generate_content", "https://models.example/v1beta/models/g-1:generateContent")


@pytest.mark.parametrize("restarts", [False, True], ids=["one process", "a process each"])
@pytest.mark.parametrize(
    ("api", "turns"),
    [
        (RESPONSES, WHOLE),
        (RESPONSES, BY_RESPONSE),
        (RESPONSES, BY_CONVERSATION),
        (GEMINI, CONTENTS),
    ],
    ids=["all of it again", "from a response", "in a conversation", "contents"],
)
def test_a_conversation_is_one(api: tuple[str, str], turns: list[Turn], restarts: bool) -> None:
    """With each word, call and result once, and the bytes exact."""
    store = refold.open("memory:")
    recorder = CallRecorder(store)
    for body, answer in turns:
        recorder = CallRecorder(store) if restarts else recorder
        call = call_of(json.dumps(body).encode())
        call.api, call.url = next(one for one in APIS if one.name == api[0]), api[1]
        recorder.begin(call)
        ends(recorder, call, [json.dumps(answer).encode()])
    (info,) = store.streams()
    state = store.fold(info.stream, Conversation).state
    assert [one.text for one in state.transcript] == ["Hi", "There.", "Thanks", "Bye."]
    assert [one.event.name for one in state.tool_calls] == ["look"]
    assert (state.open_calls, state.unmatched_results, state.model_failures) == ({}, [], [])
    assert [check.good for check in check_exact(store)] == [True]


def test_a_call_from_a_response_that_failed_is_asked_again_in_its_place() -> None:
    """Its words stand once, and no branch is made; after an answer the same again is a branch."""
    store = refold.open("memory:")
    recorder = CallRecorder(store)

    def ask(turn: Turn, status: int = 200) -> None:
        call = call_of(json.dumps(turn[0]).encode())
        call.api, call.url = APIS[1], RESPONSES[1]
        recorder.begin(call)
        ends(recorder, call, [json.dumps(turn[1]).encode()], status=status)

    first, second, third = BY_RESPONSE
    ask(first)
    ask((second[0], {"error": {"message": "Slow down"}}), status=429)
    ask((second[0], {"error": {"message": "Slow down"}}), status=429)
    ask(second)
    ask(third)
    (info,) = store.streams()
    state = store.fold(info.stream, Conversation).state
    assert [one.text for one in state.transcript] == ["Hi", "There.", "Thanks", "Bye."]
    assert len(state.model_failures) == 2
    assert state.unmatched_results == []
    ask(third)
    assert [one.stream.partition("~")[0] for one in store.streams()].count(info.stream) == 2
