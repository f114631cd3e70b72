"""Anthropic's Messages: requests, answers whole and streamed, beside the SDK's own reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given
from hypothesis import strategies as st

from refold.conversation.apis import api_of
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
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
    sha256_of,
)
from refold.errors import InvalidEvent
from tests.conversation.apis.frames import (
    chunked,
    cuts,
    frame,
    pieces,
    set_in,
    texts,
    wire,
    words,
)
from tests.conversation.apis.reading import (
    SLOTS,
    any_json,
    asker_of,
    assert_read_or_refused,
    reader_of,
    responses_of,
)

Body = dict[str, Any]
read = reader_of(ANTHROPIC_MESSAGES)
asked = asker_of(ANTHROPIC_MESSAGES, "messages")
response = responses_of("msg_1", "claude", "end_turn")
CLAUDE_CODE = Path(__file__).resolve().parents[4] / "shared" / "data" / "formats" / "claude-code"


def text(said: str, **more: Any) -> Body:
    return {"type": "text", "text": said, **more}


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}
CALL = {"type": "tool_use", "id": "t1", "name": "slots", "input": {"day": "Fri", "n": 1.0}}
SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}


def user(*content: Any) -> Body:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> Body:
    return {"role": "assistant", "content": list(content)}


def answer(*content: Any, **more: Any) -> Body:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude"}
    return {**head, "content": list(content), "stop_reason": "end_turn", **more}


# -- paths and requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_it"),
    [
        ("/v1/messages", True),
        ("/anthropic/v1/messages?beta=true", True),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict", True),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/c@1:rawPredict", True),
        ("/v1/messages/count_tokens", False),
        ("/v1/messages/batches", False),
        ("/v1/threads/t1/messages", False),
        ("/v1/projects/p/locations/l/publishers/meta/models/l:rawPredict", False),
    ],
)
def test_a_call_is_known_by_its_path(path: str, is_it: bool) -> None:
    """Messages behind any prefix and on Vertex; no counting, no batches, no other's messages."""
    assert (api_of(path) is ANTHROPIC_MESSAGES) == is_it


def test_a_request_gives_the_agent_and_pairs_results_in_turns_of_the_user() -> None:
    """The prompt beside the messages, tools with their schemas, results before the user's words."""
    request = ANTHROPIC_MESSAGES.read_request(
        {
            "model": "claude",
            "max_tokens": 9,
            "stream": True,
            "system": [text("You book.", cache_control={"type": "ephemeral"}), text(" Be kind.")],
            "tools": [
                {"name": "slots", "description": "Free times.", "input_schema": {"type": "object"}},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
                {"type": "computer_toolset_20260801"},
            ],
            "messages": [
                {"role": "user", "content": "Friday?"},
                assistant(text("I look."), CALL, {**CALL, "id": "t2"}),
                user(
                    {"type": "tool_result", "tool_use_id": "t1", "content": [text("09:00")]},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
                    text("And Monday?"),
                ),
            ],
        }
    )
    hashed = SLOTS.schema_hash
    arguments = '{"day":"Fri","n":1.0}'
    call = ToolCall("t1", "slots", arguments, {"day": "Fri", "n": 1.0}, hashed, message_id="m1")
    assert request.agent == AgentConfigured(
        Prompt("You book. Be kind."),
        "claude",
        "anthropic",
        {"max_tokens": 9},
        [SLOTS, Tool("web_search", schema_hash=sha256_of({}))],
    )
    assert [[event.data for event in one] for one in request.elements] == [
        [UserUtterance("Friday?")],
        [
            AgentUtterance("I look.", message_id="m1"),
            call,
            msgspec.structs.replace(call, call_id="t2"),
        ],
        [
            ToolResult("t1", "09:00"),
            ToolResult("t2", "no", is_error=True),
            UserUtterance("And Monday?"),
        ],
    ]
    assert [(one.what, one.pointer) for one in request.unread] == [
        ("tool", "/tools/1/max_uses"),
        ("tool", "/tools/2/name"),
    ]


def test_a_request_on_vertex_names_its_model_in_its_path() -> None:
    """There the body names none."""
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict"
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 5, "messages": []}
    agent = ANTHROPIC_MESSAGES.read_request(body, path).agent
    assert (agent.model, agent.params) == ("claude@1", {"max_tokens": 5})


@pytest.mark.parametrize(
    ("message", "events"),
    [
        (user(), [UserUtterance("")]),
        (user(IMAGE, text("What?")), [UserUtterance("What?", [IMAGE, text("What?")])]),
        ({"role": "user", "content": ""}, [UserUtterance("")]),
        (assistant(), [AgentUtterance("", message_id="m0")]),
        (assistant(text("A"), text("B")), [AgentUtterance("AB", message_id="m0")]),
        # What a model thought is no words of it, and silent on its own.
        (
            assistant(THOUGHT, REDACTED, text("A")),
            [
                ModelResponse(parts=[THOUGHT, REDACTED, text("A")], message_id="m0"),
                AgentUtterance("A", message_id="m0"),
            ],
        ),
        (assistant(THOUGHT), [ModelResponse(parts=[THOUGHT], message_id="m0")]),
        (assistant(SEARCH, FOUND), [ModelResponse(parts=[SEARCH, FOUND], message_id="m0")]),
        # Later prompts configure the agent anew; here they come first.
        ({"role": "system", "content": "Be brief."}, []),
    ],
)
def test_each_kind_of_message_has_its_events(message: Body, events: list[Any]) -> None:
    """Words, images, thoughts, what the provider's tools did."""
    assert asked(message) == [events]


def test_messages_of_the_agent_in_a_row_are_one() -> None:
    """As the API takes them: they share a message id, and a turn of the user ends it."""
    events = asked(
        assistant(text("A")), assistant(text("B")), user(text("x")), assistant(text("C"))
    )
    assert [one[0].message_id for one in events if hasattr(one[0], "message_id")] == [
        "m0",
        "m0",
        "m3",
    ]


def test_a_prompt_after_others_have_spoken_is_an_event() -> None:
    """It is in force from there on, with model, tools and parameters as they are."""
    said = asked(user(text("x")), {"role": "system", "content": "Be brief."}, model="c", system="S")
    assert said[1] == [AgentConfigured(Prompt("Be brief."), "c", "anthropic")]


def test_what_is_odd_in_a_request_voids_itself_alone() -> None:
    """A block of an unknown type, a call without a name, a result of no call: each is told."""
    request = ANTHROPIC_MESSAGES.read_request(
        {
            "messages": [
                user(text("a"), {"type": "hologram"}, 7, {"type": "text"}),
                assistant({"type": "tool_use", "id": "t"}, text("b")),
                user({"type": "tool_result", "tool_use_id": "t9", "content": "x"}),
            ]
        }
    )
    assert [(one.what, one.pointer) for one in request.unread] == [
        ("words", "/messages/0/content/1"),
        ("words", "/messages/0/content/2"),
        ("words", "/messages/0/content/3/text"),
        ("call", "/messages/1/content/0/name"),
        ("result", "/messages/2"),
    ]
    first, second, third = ([event.data for event in one] for one in request.elements)
    odd = {"type": "unread words"}
    assert first == [UserUtterance("a", [text("a"), {"type": "hologram"}, odd, odd])]
    assert second[-1].text == "b"
    assert {"type": "unread call"} in second[-1].parts
    assert third == [ToolResult("t9", "x")]


@pytest.mark.parametrize("body", [{}, [], None, {"messages": "x"}, {"messages": ["x"]},
                                  {"messages": [{"role": "tool", "content": "x"}]}])  # fmt: skip
def test_what_is_no_request_is_refused(body: Any) -> None:
    """No messages, a message that is none, a role that Anthropic has not."""
    with pytest.raises(InvalidEvent):
        ANTHROPIC_MESSAGES.read_request(body)


# -- answers --------------------------------------------------------------------------------------


def test_an_answer_of_words_and_calls_needs_no_parts() -> None:
    """The events say all of it; calls get what their tool says."""
    events, unread = read(answer(text("I look."), {**CALL, "caller": {"type": "direct"}}), [SLOTS])
    arguments = '{"day":"Fri","n":1.0}'
    parsed = {"day": "Fri", "n": 1.0}
    assert unread == []
    assert events == [
        response(),
        AgentUtterance("I look.", message_id="m1"),
        ToolCall("t1", "slots", arguments, parsed, SLOTS.schema_hash, message_id="m1"),
    ]


CITED = text("It is.", citations=[{"type": "char_location", "cited_text": "x"}])
BY_PROGRAM = {**CALL, "caller": {"type": "code_execution_20260120", "tool_id": "s1"}}


@pytest.mark.parametrize(
    ("content", "said", "calls"),
    [
        ([THOUGHT, text("A"), CALL], "A", 1),
        ([REDACTED, CALL], None, 1),
        ([text("Look: "), SEARCH, FOUND, text("It "), CITED], "Look: \nIt It is.", 0),
        ([BY_PROGRAM], None, 1),
        ([CALL, text("Wait.")], "Wait.", 1),
        ([SEARCH], "", 0),
        ([{"type": "mcp_tool_use", "id": "x"}, {"type": "mcp_tool_result"}], "", 0),
    ],
)
def test_what_words_and_calls_do_not_say_is_kept_as_it_came(
    content: list[Body], said: str | None, calls: int
) -> None:
    """Thoughts with signatures, redacted ones, citations, server tools, order: all blocks."""
    events, unread = read(answer(*content))
    assert unread == []
    assert events[0] == response(parts=content)
    assert [event.text for event in events if isinstance(event, AgentUtterance)] == (
        [] if said is None else [said]
    )
    assert sum(isinstance(event, ToolCall) for event in events) == calls


def test_a_refusal_ends_with_what_is_said_of_it() -> None:
    """The reason to stop, and the details beside it, which are no words of the model."""
    details = {"type": "refusal", "category": "cyber", "explanation": "No."}
    events, _ = read(answer(stop_reason="refusal", stop_details=details))
    assert events == [
        response(finish_reason="refusal", parts=[details]),
        AgentUtterance("", message_id="m1"),
    ]


def test_what_is_odd_in_an_answer_leaves_a_mark() -> None:
    """It is told, and does not pass for silence or for the words beside it."""
    events, unread = read(
        answer({"type": "tool_use", "input": {}}, {"type": "hologram"}, text("A"))
    )
    assert unread == [("call", "/content/0/name"), ("words", "/content/1")]
    shown = [{"type": "unread call"}, {"type": "hologram"}, text("A")]
    assert events[1] == AgentUtterance("A", shown, message_id="m1")


@pytest.mark.parametrize(
    ("usage", "read_as", "odd"),
    [
        (None, None, []),
        ({}, None, []),
        ({"input_tokens": 5, "output_tokens": 7}, Usage(5, 7), []),
        (
            {
                "input_tokens": 5,
                "cache_read_input_tokens": 90,
                "cache_creation_input_tokens": 10,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 4},
                "service_tier": "standard",
            },
            Usage(105, 7, 90, 10, 4),
            [],
        ),
        ({"input_tokens": 5, "cache_creation_input_tokens": 0}, Usage(5, 0, 0, 0), []),
        ({"input_tokens": "5", "output_tokens": 7}, None, ["/usage/input_tokens"]),
    ],
)
def test_cached_tokens_are_part_of_the_input(usage: Any, read_as: Any, odd: list[str]) -> None:
    """Anthropic counts them apart; what nobody counted is not known."""
    events, unread = read(answer(text("A"), usage=usage))
    assert (events[0].usage, [pointer for _, pointer in unread]) == (read_as, odd)


def test_an_error_in_place_of_an_answer_is_a_failure() -> None:
    """With its own words; a body with neither is refused."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert read(body) == ([ModelFailed("Overloaded")], [])
    nothing: list[Any] = [{}, [], None, {"content": "x"}]
    for odd in nothing:
        with pytest.raises(InvalidEvent):
            ANTHROPIC_MESSAGES.read_answer(odd, ModelResponse())


# -- streams --------------------------------------------------------------------------------------


def event(kind: str, **data: Any) -> Frame:
    return frame({"type": kind, **data}, kind)


def start(**usage: Any) -> Frame:
    body = answer(stop_reason=None, usage={"input_tokens": 5, "output_tokens": 1, **usage})
    return event("message_start", message=body)


def block(index: int, begins: Body, *deltas: Body) -> list[Frame]:
    return [
        event("content_block_start", index=index, content_block=begins),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def end(reason: str = "end_turn", usage: Body | None = None) -> list[Frame]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        event("message_delta", delta=delta, usage={"output_tokens": 7, **(usage or {})}),
        event("message_stop"),
    ]


def texts_of(said: list[str]) -> list[Body]:
    return [{"type": "text_delta", "text": one} for one in said]


def inputs_of(said: list[str]) -> list[Body]:
    return [{"type": "input_json_delta", "partial_json": one} for one in said]


STREAM = [
    start(cache_read_input_tokens=90),
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "h"},
        {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    event("ping"),
    *block(1, text(""), *texts_of(["I ", "lo", "ok."])),
    *block(2, {**CALL, "input": {}}, *inputs_of(["", '{"day":', ' "Fri", "n"', ": 1.0}"])),
    *end("tool_use"),
]
WHOLE = answer(
    THOUGHT,
    text("I look."),
    CALL,
    stop_reason="tool_use",
    usage={"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 90},
)


def test_a_streamed_answer_is_the_body_that_would_have_come_whole() -> None:
    """Thoughts with signature, words, input of calls, the last counts."""
    made = ANTHROPIC_MESSAGES.assemble(STREAM)
    assert (made.is_whole, made.error) == (True, None)
    assert set_in(made.body) == WHOLE


def test_citations_compaction_and_a_fallback_come_with_their_deltas() -> None:
    """Each delta goes into its block; another model that goes on is the one that answered."""
    citation = {"type": "char_location", "cited_text": "x"}
    made = ANTHROPIC_MESSAGES.assemble(
        [
            start(),
            *block(0, text("", citations=None), {"type": "citations_delta", "citation": citation}),
            *block(
                1,
                {"type": "compaction", "content": None},
                {"type": "compaction_delta", "content": "S"},
            ),
            *block(2, {"type": "fallback", "to": {"model": "other"}}),
            event("message_delta", delta={"container": {"id": "c"}}, context_management={"a": 1}),
        ]
    )
    assert not made.is_whole
    assert made.body["content"][:2] == [
        text("", citations=[citation]),
        {"type": "compaction", "content": "S"},
    ]
    assert (made.body["model"], made.body["container"]) == ("other", {"id": "c"})
    assert made.body["context_management"] == {"a": 1}


def test_a_stream_cut_anywhere_gives_what_had_come() -> None:
    """At every byte; the input of a call that was cut is the text that came, and no arguments."""
    raw = wire(STREAM)
    arguments = set()
    for cut in range(len(raw)):
        made = ANTHROPIC_MESSAGES.assemble(frames_of([raw[:cut]]))
        assert not made.is_whole or cut > raw.index(b"event: message_stop")
        if not made.body:
            continue
        events = [e.data for e in ANTHROPIC_MESSAGES.read_answer(made.body, ModelResponse()).events]
        said = [e.text for e in events if isinstance(e, AgentUtterance)]
        assert all("I look.".startswith(one) for one in said)
        arguments |= {(e.arguments, e.parsed is None) for e in events if isinstance(e, ToolCall)}
    assert arguments == {
        ("{}", False),
        ('{"day":', True),
        ('{"day": "Fri", "n"', True),
        ('{"day":"Fri","n":1.0}', False),
    }


def test_an_error_in_a_stream_stands_beside_what_had_come() -> None:
    """Overloaded in the middle: what came is kept, and the rest is no answer."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    made = ANTHROPIC_MESSAGES.assemble([*STREAM[:8], event("error", error=error)])
    assert (made.is_whole, made.error) == (False, error)
    chat = ANTHROPIC_MESSAGES.read_answer({**made.body, "error": made.error}, ModelResponse())
    kinds = [type(e.data) for e in chat.events]
    assert kinds == [ModelResponse, AgentUtterance, ModelFailed]


# -- beside the SDK -------------------------------------------------------------------------------

json_inputs = st.dictionaries(
    words, st.integers(0, 9) | st.booleans() | texts | st.none(), max_size=3
)


@st.composite
def streams(draw: st.DrawFn) -> list[Frame]:
    """The events of a random message."""
    frames = [start(**draw(st.sampled_from([{}, {"cache_read_input_tokens": 3}])))]
    for index in range(draw(st.integers(0, 4))):
        said = pieces(draw(texts), draw(cuts))
        match draw(st.sampled_from(["text", "thinking", "redacted", "call", "server"])):
            case "text":
                frames += block(index, text(""), *texts_of(said))
            case "thinking":
                thoughts = [{"type": "thinking_delta", "thinking": one} for one in said]
                signed = {"type": "signature_delta", "signature": draw(words)}
                frames += block(
                    index, {**THOUGHT, "thinking": "", "signature": ""}, *thoughts, signed
                )
            case "redacted":
                frames += block(index, REDACTED)
            case kind:
                raw = msgspec.json.encode(draw(json_inputs)).decode()
                begins = CALL if kind == "call" else SEARCH
                frames += block(index, {**begins, "input": {}}, *inputs_of(pieces(raw, draw(cuts))))
    more: Body = draw(st.sampled_from([{}, {"cache_read_input_tokens": 4, "input_tokens": 9}]))
    return [*frames, *end(usage=more)]


@given(streams(), cuts)
def test_the_body_is_what_the_sdk_puts_together(frames: list[Frame], cut_at: list[int]) -> None:
    """Of any message in any chunks: the same as Anthropic's own accumulator makes of it."""
    made = ANTHROPIC_MESSAGES.assemble(frames_of(chunked(wire(frames), cut_at)))
    snapshot = None
    buffers: dict[int, bytes] = {}
    for one in frames:
        data: Any = msgspec.json.decode(one.data)
        snapshot = accumulate_event(event=data, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    assert made.is_whole
    theirs = msgspec.json.decode(snapshot.model_dump_json(exclude_unset=True))
    assert set_in(made.body) == set_in(theirs)


KEYS = ["type", "index", "delta", "message", "content_block", "content", "usage", "text", "error",
        "partial_json", "citation", "id", "name", "input", "stop_reason", "to"]  # fmt: skip
KINDS = ["message_start", "content_block_start", "content_block_delta", "message_delta", "error",
         "message_stop", "text", "tool_use", "fallback", "text_delta"]  # fmt: skip
anything = any_json(KEYS, st.sampled_from(KINDS))


@given(st.lists(st.tuples(st.sampled_from(KINDS), anything), max_size=6))
def test_no_frames_raise(said: list[tuple[str, Any]]) -> None:
    """Whatever JSON comes: it is put together, and read or refused by name."""
    bodies = [one if isinstance(one, dict) else {"delta": one, "message": one} for _, one in said]
    kinds = [kind for kind, _ in said]
    frames = [frame({"type": k, **body}, k) for k, body in zip(kinds, bodies, strict=True)]
    assert_read_or_refused(ANTHROPIC_MESSAGES, frames)


# -- real messages --------------------------------------------------------------------------------


def test_real_messages_are_read_without_loss() -> None:
    """Every message of the sessions of a coding agent: calls pair with results, none is odd."""
    files = sorted(CLAUDE_CODE.glob("*.jsonl"))
    if not files:
        pytest.skip("missing formats/claude-code of the shared test data")
    count = 0
    for path in files:
        lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        found = [one.get("message") for one in lines if isinstance(one, dict)]
        messages = [one for one in found if isinstance(one, dict)]
        request = ANTHROPIC_MESSAGES.read_request({"messages": messages})
        count += len(messages)
        assert [one for one in request.unread if one.what != "result"] == []
        for message in messages:
            if message["role"] == "assistant":
                events, unread = read(message)
                assert unread == []
                assert events[0].usage is None or events[0].usage.output_tokens > 0
    assert count > 30
