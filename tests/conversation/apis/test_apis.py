"""All readers together: one talk in the shapes of every API is one history."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.conversation.apis import APIS, api_of, api_of_answer
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.apis.base import Api
from refold.conversation.apis.gemini import GEMINI
from refold.conversation.apis.openai_chat import OPENAI_CHAT
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.core.event import Event
from refold.errors import InvalidEvent
from tests.conversation.apis.frames import texts, words

Body = dict[str, Any]


class Turn(NamedTuple):
    """What one side says, its calls by id, and what the tools gave back."""

    who: str
    text: str
    calls: tuple[tuple[str, str, Body], ...] = ()
    results: tuple[tuple[str, str, str], ...] = ()


def json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# -- one talk in the shape of each API ------------------------------------------------------------


def chat_messages(turn: Turn) -> list[Body]:
    if turn.who == "user":
        made = [{"role": "tool", "tool_call_id": i, "content": r} for i, _, r in turn.results]
        return made + ([{"role": "user", "content": turn.text}] if turn.text else [])
    calls = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": json(a)}}
        for i, n, a in turn.calls
    ]
    message = {"role": "assistant", "content": turn.text or None}
    return [{**message, "tool_calls": calls} if calls else message]


def anthropic_messages(turn: Turn) -> list[Body]:
    said = [{"type": "text", "text": turn.text}] if turn.text else []
    if turn.who == "user":
        results = [
            {"type": "tool_result", "tool_use_id": i, "content": r} for i, _, r in turn.results
        ]
        return [{"role": "user", "content": [*results, *said]}]
    calls = [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in turn.calls]
    return [{"role": "assistant", "content": [*said, *calls]}]


def responses_items(turn: Turn) -> list[Body]:
    if turn.who == "user":
        results = [
            {"type": "function_call_output", "call_id": i, "output": r} for i, _, r in turn.results
        ]
        return results + ([{"role": "user", "content": turn.text}] if turn.text else [])
    said = {"type": "output_text", "text": turn.text, "annotations": []}
    message = {"type": "message", "role": "assistant", "content": [said]}
    calls = [
        {"type": "function_call", "call_id": i, "name": n, "arguments": json(a)}
        for i, n, a in turn.calls
    ]
    return [*([message] if turn.text else []), *calls]


def gemini_contents(turn: Turn) -> list[Body]:
    said = [{"text": turn.text}] if turn.text else []
    if turn.who == "user":
        results = [
            {"functionResponse": {"id": i, "name": n, "response": {"output": r}}}
            for i, n, r in turn.results
        ]
        return [{"role": "user", "parts": [*results, *said]}]
    calls = [{"functionCall": {"id": i, "name": n, "args": a}} for i, n, a in turn.calls]
    return [{"role": "model", "parts": [*said, *calls]}]


SHAPES = {
    OPENAI_CHAT: ("messages", chat_messages),
    ANTHROPIC_MESSAGES: ("messages", anthropic_messages),
    OPENAI_RESPONSES: ("input", responses_items),
    GEMINI: ("contents", gemini_contents),
}


def answer_in(api: Api, turn: Turn) -> Body:
    """A turn of the agent as an answer."""
    (said, *more) = SHAPES[api][1](turn)
    if api is OPENAI_CHAT:
        return {"choices": [{"message": said}]}
    if api is GEMINI:
        return {"candidates": [{"content": said}]}
    if api is OPENAI_RESPONSES:
        return {"object": "response", "output": [said, *more]}
    return {"type": "message", **said}


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    """What the events say, in the words that all APIs share."""
    said: list[tuple[Any, ...]] = []
    for event in events:
        match event.data:
            case UserUtterance(text=text, parts=None):
                said.append(("user", text))
            case AgentUtterance(text=text, parts=None):
                said.append(("agent", text))
            case ToolCall(call_id=call_id, name=name, parsed=parsed):
                said.append(("call", call_id, name, parsed))
            case ToolResult(call_id=call_id, result={"output": result}):
                said.append(("result", call_id, result))
            case ToolResult(call_id=call_id, result=result):
                said.append(("result", call_id, result))
            case ModelResponse(parts=[]):
                pass
            case other:
                said.append(("odd", other))
    return said


@st.composite
def talks(draw: st.DrawFn) -> list[Turn]:
    """A random conversation: words, parallel calls, results in the next turn of the user."""
    turns: list[Turn] = []
    waiting: tuple[tuple[str, str, Body], ...] = ()
    for number in range(draw(st.integers(1, 5))):
        results = tuple((i, name, draw(texts)) for i, name, _ in waiting)
        text = draw(words) if not results else draw(texts)
        turns.append(Turn("user", text, results=results))
        inputs = st.dictionaries(words, st.integers(0, 9) | texts, max_size=2)
        made = draw(st.lists(st.tuples(words, inputs), max_size=3))
        waiting = tuple((f"t{number}-{n}", name, given) for n, (name, given) in enumerate(made))
        turns.append(Turn("agent", draw(texts) if waiting else draw(words), waiting))
    return turns


def expected(turns: list[Turn]) -> list[tuple[Any, ...]]:
    said: list[tuple[Any, ...]] = []
    for turn in turns:
        said += [("result", call_id, result) for call_id, _, result in turn.results]
        said += [(turn.who, turn.text)] if turn.text else []
        said += [("call", call_id, name, given) for call_id, name, given in turn.calls]
    return said


@given(talks())
def test_one_talk_is_one_history_in_the_shape_of_every_api(turns: list[Turn]) -> None:
    """Words, parallel calls and results come out the same, each call paired with its result."""
    for api, (key, shape) in SHAPES.items():
        items = [item for turn in turns for item in shape(turn)]
        asked = api.read_request({key: items})
        assert len(asked.elements) == len(items)
        assert told([event for one in asked.elements for event in one]) == expected(turns)
        assert asked.unread == []


@given(talks())
def test_one_answer_is_one_message_in_the_shape_of_every_api(turns: list[Turn]) -> None:
    """As an answer and as a message of the next request a turn of the agent says the same."""
    for turn in turns[1::2]:
        for api in APIS:
            body = answer_in(api, turn)
            chat = api_of_answer(body).read_answer(body, ModelResponse(message_id="m1"))
            assert told(chat.events) == expected([turn])
            assert isinstance(chat.events[0].data, ModelResponse)
            assert {event.data.message_id for event in chat.events} == {"m1"}


def test_each_api_is_found_by_its_path_and_by_its_answer() -> None:
    """Each by its own, and none by that of another."""
    paths = {
        "/v1/chat/completions": OPENAI_CHAT,
        "/v1/responses": OPENAI_RESPONSES,
        "/v1/messages": ANTHROPIC_MESSAGES,
        "/v1beta/models/g:generateContent": GEMINI,
        "/v1/embeddings": None,
        "/": None,
    }
    assert {path: api_of(path) for path in paths} == paths
    turn = Turn("agent", "Hi")
    assert [api_of_answer(answer_in(api, turn)) for api in APIS] == list(APIS)
    assert api_of_answer("Hi") is OPENAI_CHAT


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_what_an_api_says_of_itself_is_its_own(api: Api) -> None:
    """A name that no other has, who provides it, and where its elements stand."""
    assert [one.name for one in APIS].count(api.name) == 1
    assert api.provider in ("openai", "anthropic", "google")
    assert SHAPES[api][0] in api.lists
    assert "tools" in api.lists


KEYS = (
    "type role content parts text name input arguments call_id id tool_use tool_result message "
    "function_call reasoning assistant functionCall functionResponse response output error thought "
    "usage input_tokens tools function functionDeclarations parameters custom candidates status "
    "incomplete_details tool_calls finishReason local_shell_call function_call_output image"
)
names = st.sampled_from(KEYS.split())
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)


@given(st.sampled_from(APIS), anything, anything, st.lists(anything, max_size=5))
def test_whatever_comes_is_read_or_refused(api: Api, one: Any, other: Any, many: list[Any]) -> None:
    """Any values anywhere in a request or an answer: events that can be stored, or InvalidEvent."""
    prompts = dict.fromkeys(("system", "instructions", "systemInstruction"), other)
    try:
        request = api.read_request({SHAPES[api][0]: many, "tools": one, "model": one, **prompts})
        made = [event for element in request.elements for event in element]
    except InvalidEvent:
        made = []
    answers: list[Any] = [
        {"choices": [{"message": one}], "usage": other},
        {"object": "response", "output": many, "usage": other, "incomplete_details": one},
        {"type": "message", "content": many, "usage": other, "stop_details": one},
        {"candidates": [{"content": {"parts": many}, "finishReason": one}], "usageMetadata": other},
        {"candidates": many},
        one,
    ]
    for body in answers:
        with suppress(InvalidEvent):
            made += api_of_answer(body).read_answer(body, ModelResponse()).events
    for event in made:
        assert msgspec.json.decode(msgspec.json.encode(event.data)) is not None
