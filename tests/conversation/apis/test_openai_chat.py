"""Chat completions as calls: requests, and answers put together from their chunks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from refold.conversation.apis import api_of
from refold.conversation.apis.joining import join
from refold.conversation.apis.openai_chat import OPENAI_CHAT
from refold.conversation.apis.sse import Frame, frames_of
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelFailed,
    ModelResponse,
    Prompt,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.errors import InvalidEvent
from tests.conversation.apis.frames import chunked, cuts, frame, pieces, set_in, texts, wire, words
from tests.conversation.apis.reading import any_json, assert_read_or_refused

Body = dict[str, Any]
DONE = frame("[DONE]")
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def chunk(*choices: Body, **more: Any) -> Frame:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    return frame({**head, "choices": list(choices), **more})


def delta(index: int = 0, finish: str | None = None, **said: Any) -> Body:
    return {"index": index, "delta": said, "finish_reason": finish}


def piece(index: int, **function: str) -> Body:
    return {"index": index, "function": function}


# -- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_chat"),
    [
        ("/v1/chat/completions", True),
        ("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", True),
        ("/api/v1/chat/completions/", True),
        ("/v1/chat/completions/chatcmpl-1", False),
        ("/v1/completions", False),
        ("/v1/embeddings", False),
        ("/v1/models", False),
        ("", False),
    ],
)
def test_a_call_is_known_by_its_path(path: str, is_chat: bool) -> None:
    """Chat completions behind any prefix; nothing else that the same host serves."""
    assert (api_of(path) is OPENAI_CHAT) == is_chat


# -- requests -------------------------------------------------------------------------------------

FUNCTION = {"name": "book", "description": "Books.", "parameters": {"type": "object"}}
CALL = {"id": "t1", "type": "function", "function": {"name": "book", "arguments": '{"a": 1.0}'}}


def test_a_request_gives_the_agent_and_each_message() -> None:
    """Prompts that come first are the agent's; each message is the events that it is."""
    asked = OPENAI_CHAT.read_request(
        {
            "model": "gpt",
            "temperature": 0.2,
            "stream": True,
            "metadata": {"turn": "7"},
            "tools": [{"type": "function", "function": FUNCTION}, {"type": "web_search"}],
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "developer", "content": "It is noon."},
                {"role": "user", "content": "Book it.", "name": "ann"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "t1", "content": "done"},
                {"role": "system", "content": "Be brief."},
            ],
        }
    )
    tool = Tool("book", "Books.", {"type": "object"})
    agent = AgentConfigured(
        Prompt("Be kind.\n\nIt is noon."), "gpt", "openai", {"temperature": 0.2}, [tool]
    )
    call = ToolCall("t1", "book", '{"a": 1.0}', {"a": 1.0}, tool.schema_hash, message_id="m3")
    assert asked.agent == agent
    assert [[event.data for event in one] for one in asked.elements] == [
        [],
        [],
        [UserUtterance("Book it.", party="ann")],
        [call],
        [ToolResult("t1", "done")],
        [AgentConfigured(Prompt("Be brief."), "gpt", "openai", {"temperature": 0.2}, [tool])],
    ]
    assert [(one.what, one.pointer) for one in asked.unread] == [("tool", "/tools/1/name")]


def test_what_is_odd_in_a_request_is_told_with_its_place() -> None:
    """A broken call, a parameter that cannot be kept: each voids itself alone."""
    asked = OPENAI_CHAT.read_request(
        {
            "messages": [{"role": "assistant", "content": "Hi", "tool_calls": [{"id": 1}]}],
            "top_p": float("nan"),
            "seed": 1,
        },
        "/openai/deployments/four/chat/completions",
    )
    assert asked.agent == AgentConfigured(model="four", provider="openai", params={"seed": 1})
    assert [one.pointer for one in asked.unread] == ["/top_p", "/messages/0/tool_calls/0/function"]


@pytest.mark.parametrize(
    "body", [{}, [], None, {"messages": "x"}, {"messages": [{"role": "odd", "content": "x"}]}]
)
def test_what_is_no_request_is_refused(body: Any) -> None:
    """No messages, or one of an unknown role: it would be misread."""
    with pytest.raises(InvalidEvent):
        OPENAI_CHAT.read_request(body)


# -- streamed answers -----------------------------------------------------------------------------

STREAM = [
    chunk(delta(role="assistant", content="", refusal=None)),
    chunk(delta(content="On")),
    chunk(delta(content="e mo")),
    chunk(delta(content="ment.")),
    chunk(
        delta(tool_calls=[{"id": "t1", "type": "function", **piece(0, name="book", arguments="")}])
    ),
    chunk(delta(tool_calls=[piece(0, arguments='{"a"')])),
    chunk(
        delta(tool_calls=[{"id": "t2", "type": "function", **piece(1, name="look", arguments="")}])
    ),
    chunk(delta(tool_calls=[piece(0, arguments=": 1}"), piece(1, arguments="{}")])),
    chunk(delta(finish="tool_calls")),
    chunk(usage=USAGE),
    DONE,
]


def test_a_streamed_answer_is_the_body_that_would_have_come_whole() -> None:
    """Words and parallel calls from their pieces, usage from the last chunk."""
    made = OPENAI_CHAT.assemble(STREAM)
    calls = [
        {"id": "t1", "type": "function", "function": {"name": "book", "arguments": '{"a": 1}'}},
        {"id": "t2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
    ]
    message = {"role": "assistant", "content": "One moment.", "refusal": None, "tool_calls": calls}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    assert made.is_whole
    assert made.error is None
    assert made.body == {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [choice],
        "usage": USAGE,
    }
    chat = OPENAI_CHAT.read_answer(made.body, ModelResponse(message_id="m1"))
    assert [event.data for event in chat.events] == [
        ModelResponse(
            "c1", "m", usage=Usage(9, 7, 4, None, 3), finish_reason="tool_calls", message_id="m1"
        ),
        AgentUtterance("One moment.", message_id="m1"),
        ToolCall("t1", "book", '{"a": 1}', {"a": 1}, message_id="m1"),
        ToolCall("t2", "look", "{}", {}, message_id="m1"),
    ]


def test_a_stream_cut_anywhere_gives_what_had_come() -> None:
    """At every byte: words and arguments are a beginning of the whole, which it is not called."""
    raw = wire(STREAM)
    end = raw.index(b'"finish_reason":"tool_calls"')
    for cut in range(len(raw)):
        made = OPENAI_CHAT.assemble(frames_of([raw[:cut]]))
        assert made.is_whole <= (cut > end)
        if made.body:
            message = made.body["choices"][0]["message"]
            assert "One moment.".startswith(message["content"])
            for call, text in zip(message.get("tool_calls", []), ('{"a": 1}', "{}"), strict=False):
                assert text.startswith(call["function"]["arguments"])
            assert OPENAI_CHAT.read_answer(made.body, ModelResponse()).events


def test_an_error_in_a_stream_stands_beside_what_had_come() -> None:
    """As an event, as a field of a chunk, as bare text: what came before it is kept."""
    said = [chunk(delta(content="On"))]
    for odd, error in [
        (
            frame({"error": {"message": "overloaded", "code": 529}}),
            {"message": "overloaded", "code": 529},
        ),
        (frame({"error": "overloaded"}), {"message": "overloaded"}),
        (frame({"message": "no"}, "error"), {"message": "no"}),
        (frame("no", "error"), {"message": "no"}),
    ]:
        made = OPENAI_CHAT.assemble([*said, odd, DONE])
        assert (made.is_whole, made.error) == (False, error)
        chat = OPENAI_CHAT.read_answer({**made.body, "error": made.error}, ModelResponse())
        assert [type(event.data) for event in chat.events] == [
            ModelResponse,
            AgentUtterance,
            ModelFailed,
        ]
        assert OPENAI_CHAT.assemble([odd]).error == error


DETAIL = {"type": "reasoning.text", "index": 0, "format": "f"}


def call_piece(arguments: str, name: str | None = "f", **more: Any) -> Body:
    return {**more, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        # A refusal, audio and what some servers stream beside the words.
        ([{"refusal": "I "}, {"refusal": "cannot."}], {"refusal": "I cannot."}),
        (
            [
                {"audio": {"id": "a", "transcript": "Go"}},
                {"audio": {"transcript": "od", "data": "AA"}},
                {"audio": {"data": "BB", "expires_at": 7}},
            ],
            {"audio": {"id": "a", "transcript": "Good", "data": "AABB", "expires_at": 7}},
        ),
        (
            [{"reasoning_content": "hm"}, {"reasoning_content": "m", "content": "A"}],
            {"reasoning_content": "hmm", "content": "A"},
        ),
        (
            [
                {"reasoning_details": [{**DETAIL, "text": "a"}]},
                {"reasoning_details": [{**DETAIL, "text": "b"}, {"index": 0, "signature": "s"}]},
            ],
            {"reasoning_details": [{**DETAIL, "text": "ab", "signature": "s"}]},
        ),
        (
            [{"annotations": [{"type": "url_citation"}]}, {"annotations": [{"type": "x"}]}],
            {"annotations": [{"type": "url_citation"}, {"type": "x"}]},
        ),
        (
            [
                {"function_call": {"name": "f", "arguments": ""}},
                {"function_call": {"arguments": "1"}},
            ],
            {"function_call": {"name": "f", "arguments": "1"}},
        ),
        # Content in parts after content as text.
        (
            [{"content": ""}, {"content": [{"type": "thinking"}]}, {"content": "A"}],
            {"content": [{"type": "thinking"}, {"type": "text", "text": "A"}]},
        ),
        (
            [{"content": "A"}, {"content": [{"type": "thinking"}]}, {"content": ""}],
            {"content": [{"type": "text", "text": "A"}, {"type": "thinking"}]},
        ),
        # Calls without an index, and names said again.
        (
            [
                {"tool_calls": [call_piece("{", id="a")]},
                {"tool_calls": [call_piece("}", id="a")]},
                {"tool_calls": [call_piece("1", id="b")]},
                {"tool_calls": [call_piece("2", None)]},
            ],
            {"tool_calls": [call_piece("{}", id="a"), call_piece("12", id="b")]},
        ),
        # A custom tool, two pieces of one call in a chunk.
        (
            [
                {
                    "tool_calls": [
                        {"index": 0, "id": "a", "type": "custom", "custom": {"input": "x"}},
                        {"index": 0, "custom": {"input": "y"}},
                    ]
                }
            ],
            {"tool_calls": [{"id": "a", "type": "custom", "custom": {"input": "xy"}}]},
        ),
    ],
)
def test_pieces_of_every_kind_are_joined(deltas: list[Body], message: Body) -> None:
    """Texts grow, lists grow, indexed pieces find their place, what is said at once stays once."""
    made = OPENAI_CHAT.assemble(
        [*(chunk(delta(**one)) for one in deltas), chunk(delta(finish="stop"))]
    )
    assert made.is_whole
    assert made.body["choices"][0]["message"] == {"role": "assistant", "content": None, **message}


def test_several_choices_come_apart() -> None:
    """Each choice by its index, the first being read and the others told."""
    said = [delta(1, content="B"), delta(0, content="A"), delta(1, "stop", content="b")]
    made = OPENAI_CHAT.assemble(chunk(one) for one in [*said, delta(0, "length")])
    assert made.is_whole
    ends = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in made.body["choices"]]
    assert ends == [(0, "A", "length"), (1, "Bb", "stop")]
    assert [one.what for one in OPENAI_CHAT.read_answer(made.body, ModelResponse()).unread] == [
        "choice"
    ]


# -- beside the SDK -------------------------------------------------------------------------------

calls_of = st.lists(st.tuples(words, st.just("{}") | texts), max_size=3)


@st.composite
def streams(draw: st.DrawFn) -> list[Frame]:
    """The chunks of a random answer of up to two choices."""
    frames = []
    for index in range(draw(st.integers(1, 2))):
        frames.append(chunk(delta(index, role="assistant", content="")))
        frames += [chunk(delta(index, content=one)) for one in pieces(draw(texts), draw(cuts))]
        frames += [chunk(delta(index, refusal=one)) for one in pieces(draw(texts), draw(cuts))]
        for n, (name, arguments) in enumerate(draw(calls_of)):
            start = {"id": f"t{n}", "type": "function", **piece(n, name=name, arguments="")}
            frames.append(chunk(delta(index, tool_calls=[start])))
            for text in pieces(arguments, draw(cuts)):
                frames.append(chunk(delta(index, tool_calls=[piece(n, arguments=text)])))
        frames.append(chunk(delta(index, draw(st.sampled_from(["stop", "tool_calls"])))))
    return [*frames, *draw(st.sampled_from([[], [chunk(usage=USAGE)]])), DONE]


@given(streams(), cuts)
def test_the_body_is_what_the_sdk_puts_together(frames: list[Frame], cut_at: list[int]) -> None:
    """Of any answer in any chunks: the same as OpenAI's own accumulator makes of it."""
    made = OPENAI_CHAT.assemble(frames_of(chunked(wire(frames), cut_at)))
    state = ChatCompletionStreamState()
    for one in frames[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(one.data))
    theirs = state.current_completion_snapshot.model_dump(exclude_unset=True)
    assert made.is_whole
    assert set_in(made.body) == without_sdk(theirs)


def without_sdk(theirs: Body) -> Body:
    """The SDK's object without what it adds itself, and without nulls."""
    for choice in theirs["choices"]:
        choice["message"].pop("parsed", None)
        for call in choice["message"].get("tool_calls") or ():
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    cleaned: Body = set_in(theirs)
    return cleaned


KEYS = [
    "index",
    "id",
    "delta",
    "content",
    "tool_calls",
    "function",
    "name",
    "error",
    "arguments",
    "choices",
    "finish_reason",
    "type",
    "usage",
    "message",
]
odd = any_json(KEYS, st.booleans())


@given(st.lists(odd.map(lambda value: {"choices": [value]}) | odd, max_size=5))
def test_no_frames_raise(said: list[Any]) -> None:
    """Whatever JSON comes: it is put together, and read or refused by name."""
    frames = (Frame("", msgspec.json.encode(one).decode()) for one in said)
    assert_read_or_refused(OPENAI_CHAT, frames)


def test_a_list_that_comes_in_pieces_is_not_copied_for_each() -> None:
    """As of log probabilities: one piece a token, and an answer has tens of thousands."""
    whole: dict[str, Any] = {"content": [{"token": "a"}]}
    held = whole["content"]
    join(whole, {"content": [{"token": "b"}, {"token": "c"}]})
    assert whole["content"] is held
    assert [one["token"] for one in held] == ["a", "b", "c"]
