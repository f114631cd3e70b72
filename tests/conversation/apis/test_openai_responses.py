"""OpenAI's Responses: requests, answers whole and streamed, beside the SDK's own reading."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.conversation.apis import api_of
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
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
from tests.conversation.apis.reading import (
    SLOTS,
    any_json,
    asker_of,
    assert_read_or_refused,
    reader_of,
    responses_of,
)

Body = dict[str, Any]
read = reader_of(OPENAI_RESPONSES)
asked = asker_of(OPENAI_RESPONSES, "input")
response = responses_of("resp_1", "gpt", "completed")
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "b3BhcXVl"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "t1", "name": "slots", "arguments": "{}"}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "x"}}
SHELL = {"type": "local_shell_call", "call_id": "t2", "action": {"command": ["ls"]}, "id": "x"}
PICTURE = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AA=="}
COMPACTED = {"type": "compaction", "encrypted_content": "x"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}


def said(text: str, **more: Any) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], **more}


def message(*content: Body, **more: Any) -> Body:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(content), **more}


def answer(*output: Body, **more: Any) -> Body:
    head = {"id": "resp_1", "object": "response", "status": "completed", "model": "gpt"}
    return {**head, "output": list(output), "error": None, "incomplete_details": None, **more}


# -- paths and requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_it"),
    [
        ("/v1/responses", True),
        ("/openai/responses?api-version=preview", True),
        ("/backend-api/codex/responses", True),
        ("/v1/responses/resp_1", False),
        ("/v1/responses/compact", False),
        ("/v1/responses/input_tokens", False),
    ],
)
def test_a_call_is_known_by_its_path(path: str, is_it: bool) -> None:
    """Responses behind any prefix, and nothing that is done with one that is there."""
    assert (api_of(path) is OPENAI_RESPONSES) == is_it


def test_a_request_gives_the_agent_and_each_item() -> None:
    """Instructions and what comes first are the prompt; calls in a row are one message."""
    request = OPENAI_RESPONSES.read_request(
        {
            "model": "gpt",
            "instructions": "Be kind.",
            "reasoning": {"effort": "low"},
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "tools": [
                {"type": "function", "name": "slots", "description": "Free times.",
                 "parameters": {"type": "object"}},
                {"type": "custom", "name": "sql"},
                {"type": "web_search"},
            ],
            "input": [
                {"role": "developer", "content": "It is noon."},
                {"role": "user", "content": [{"type": "input_text", "text": "Friday?"}]},
                THOUGHT,
                message(said("I look.")),
                CALL,
                {"type": "custom_tool_call", "call_id": "t2", "name": "sql", "input": "select 1"},
                {"type": "function_call_output", "call_id": "t1", "output": "09:00"},
                {"type": "custom_tool_call_output", "call_id": "t2",
                 "output": [{"type": "input_text", "text": "1"}]},
                {"type": "item_reference", "id": "msg_0"},
                {"role": "assistant", "content": "Nine."},
            ],
        }
    )  # fmt: skip
    sql = Tool("sql", kind="custom", schema_hash=request.agent.tools[1].schema_hash)
    prompt = Prompt("Be kind.\n\nIt is noon.")
    params = {"reasoning": {"effort": "low"}}
    assert request.agent == AgentConfigured(prompt, "gpt", "openai", params, [SLOTS, sql])
    assert [[event.data for event in one] for one in request.elements] == [
        [],
        [UserUtterance("Friday?")],
        [ModelResponse(parts=[THOUGHT], message_id="m2")],
        [AgentUtterance("I look.", message_id="m2")],
        [ToolCall("t1", "slots", "{}", {}, SLOTS.schema_hash, message_id="m2")],
        [ToolCall("t2", "sql", "select 1", kind="custom", message_id="m2",
                  schema_hash=sql.schema_hash)],
        [ToolResult("t1", "09:00")],
        [ToolResult("t2", "1")],
        [],
        [AgentUtterance("Nine.", message_id="m9")],
    ]  # fmt: skip
    assert [(one.what, one.pointer) for one in request.unread] == [("tool", "/tools/2/name")]


def test_input_may_be_text_alone() -> None:
    """Then it is what the user says."""
    request = OPENAI_RESPONSES.read_request({"model": "gpt", "input": "Hi"})
    assert [[event.data for event in one] for one in request.elements] == [[UserUtterance("Hi")]]


@pytest.mark.parametrize("key", ["previous_response_id", "conversation"])
def test_a_request_that_goes_on_need_not_hold_the_calls(key: str) -> None:
    """A result of a call that another request had is not odd; without that it is told."""
    result = {"type": "function_call_output", "call_id": "t1", "output": "x"}
    goes_on = OPENAI_RESPONSES.read_request({"input": [result], key: "resp_0"})
    alone = OPENAI_RESPONSES.read_request({"input": [result]})
    assert goes_on.unread == []
    assert [(one.what, one.pointer) for one in alone.unread] == [("result", "/input/0")]


@pytest.mark.parametrize(
    ("item", "events"),
    [
        (
            {"role": "user", "content": [IMAGE, {"type": "input_text", "text": "What?"}]},
            [UserUtterance("What?", [IMAGE, {"type": "input_text", "text": "What?"}])],
        ),
        (SEARCH, [ModelResponse(parts=[SEARCH], message_id="m0")]),
        (PICTURE, [AgentUtterance("", [PICTURE], message_id="m0")]),
        (COMPACTED, [ModelResponse(parts=[COMPACTED], message_id="m0")]),
        (message({"type": "refusal", "refusal": "No."}),
         [ModelResponse(parts=[{"type": "refusal", "refusal": "No."}], message_id="m0"),
          AgentUtterance("No.", message_id="m0")]),
        (SHELL, [ModelResponse(parts=[SHELL], message_id="m0"),
                 ToolCall("t2", "local_shell", '{"action":{"command":["ls"]}}',
                          {"action": {"command": ["ls"]}}, message_id="m0")]),
        ({"role": "system", "content": "Be brief."}, []),
    ],
)  # fmt: skip
def test_each_kind_of_item_has_its_events(item: Body, events: list[Any]) -> None:
    """Images, built-in tools of the provider and of the caller, refusals, compacted parts."""
    assert asked(item) == [events]


def test_what_is_odd_in_a_request_voids_itself_alone() -> None:
    """An item of an unknown type, a call without a name, content that is none: each is told."""
    request = OPENAI_RESPONSES.read_request(
        {
            "input": [
                {"type": "hologram"},
                {"type": "function_call", "call_id": "t"},
                {"role": "user", "content": [{"type": "input_text"}, "words"]},
            ]
        }
    )
    assert [(one.what, one.pointer) for one in request.unread] == [
        ("words", "/input/0"),
        ("call", "/input/1/name"),
        ("words", "/input/2/content/0/text"),
    ]
    assert request.elements[2][0].data.text == "words"


@pytest.mark.parametrize("body", [{}, [], None, {"input": 5}, {"input": ["x"]},
                                  {"input": [{"role": "critic", "content": "x"}]}])  # fmt: skip
def test_what_is_no_request_is_refused(body: Any) -> None:
    """No input, an item that is none, a role that is not known."""
    with pytest.raises(InvalidEvent):
        OPENAI_RESPONSES.read_request(body)


# -- answers --------------------------------------------------------------------------------------


def test_an_answer_of_words_and_calls_needs_no_parts() -> None:
    """The events say all of it; arguments stay the text they are."""
    call = {**CALL, "status": "completed", "arguments": '{ "n": 1.0}'}
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    events, unread = read(answer(message(said("I look.")), call, usage=usage), [SLOTS])
    assert unread == []
    assert events == [
        response(usage=Usage(9, 7, 4, 2, 3)),
        AgentUtterance("I look.", message_id="m1"),
        ToolCall("t1", "slots", '{ "n": 1.0}', {"n": 1.0}, SLOTS.schema_hash, message_id="m1"),
    ]


CITED = message(said("It is.", annotations=[{"type": "url_citation", "url": "u"}]))
NO = message({"type": "refusal", "refusal": "No."})
MCP = {"type": "mcp_call", "id": "m", "name": "f", "arguments": "{}", "output": "x"}
COMMENT = message(said("Now."), phase="commentary")


@pytest.mark.parametrize(
    ("output", "texts_said", "calls"),
    [
        ([THOUGHT, message(said("A")), CALL], ["A"], 1),
        ([THOUGHT, CALL], [], 1),
        ([SEARCH, CITED], ["It is."], 0),
        ([NO], ["No."], 0),
        ([MCP], [""], 0),
        ([COMMENT], ["Now."], 0),
        ([CALL, message(said("Wait."))], ["Wait."], 1),
        ([SHELL], [], 1),
    ],
)
def test_what_words_and_calls_do_not_say_is_kept_as_it_came(
    output: list[Body], texts_said: list[str], calls: int
) -> None:
    """Encrypted reasoning, citations, refusals, the provider's tools, order: all items."""
    events, unread = read(answer(*output))
    assert unread == []
    assert events[0] == response(parts=output)
    assert [event.text for event in events if isinstance(event, AgentUtterance)] == texts_said
    assert sum(isinstance(event, ToolCall) for event in events) == calls


def test_a_picture_is_part_of_the_words() -> None:
    """It stands once, where what is shown stands."""
    events, _ = read(answer(message(said("Here.")), PICTURE))
    shown = [message(said("Here.")), PICTURE]
    assert events == [response(), AgentUtterance("Here.", shown, message_id="m1")]


def test_an_answer_that_was_cut_short_says_why() -> None:
    """The reason is that of the details."""
    body = answer(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    events, _ = read(body)
    assert events[0].finish_reason == "max_output_tokens"


def test_a_failed_response_is_a_failure_behind_what_came() -> None:
    """With its own words; what is made in the background is no answer yet."""
    error = {"code": "server_error", "message": "It broke."}
    events, _ = read(answer(message(said("I")), status="failed", error=error))
    assert [type(event) for event in events] == [ModelResponse, AgentUtterance, ModelFailed]
    assert read({"error": error})[0] == [ModelFailed("It broke.")]
    nothing: list[Any] = [{}, [], None, answer(status="queued"), answer(status="in_progress")]
    for odd in nothing:
        with pytest.raises(InvalidEvent):
            OPENAI_RESPONSES.read_answer(odd, ModelResponse())


def test_what_is_odd_in_an_answer_leaves_a_mark() -> None:
    """It is told, and does not pass for silence or for the words beside it."""
    output = [{"type": "function_call", "call_id": "t"}, {"type": "hologram"}, message(said("A"))]
    events, unread = read(answer(*output))
    assert unread == [("call", "/output/0/name"), ("words", "/output/1")]
    assert events[1].text == "A"
    assert events[1].parts[:2] == [{"type": "unread call"}, {"type": "hologram"}]


# -- streams --------------------------------------------------------------------------------------


def event(kind: str, **data: Any) -> Frame:
    return frame({"type": f"response.{kind}", **data}, f"response.{kind}")


def delta(kind: str, index: int, text: str, **more: Any) -> Frame:
    return event(f"{kind}.delta", output_index=index, item_id="i", delta=text, **more)


def of_message(index: int, texts_said: list[str], kind: str = "output_text") -> list[Frame]:
    key = "text" if kind == "output_text" else "refusal"
    begins = said("") if key == "text" else {"type": "refusal", "refusal": ""}
    whole = {**begins, key: "".join(texts_said)}
    more = {"content_index": 0, "logprobs": []}
    return [
        event("output_item.added", output_index=index, item=message(status="in_progress")),
        event("content_part.added", output_index=index, content_index=0, part=begins),
        *(delta(kind, index, one, **more) for one in texts_said),
        event(f"{kind}.done", output_index=index, **more, **{key: whole[key]}),
        event("content_part.done", output_index=index, content_index=0, part=whole),
        event("output_item.done", output_index=index, item=message(whole, status="completed")),
    ]


def of_call(index: int, texts_said: list[str], item: Body, kind: str, key: str) -> list[Frame]:
    whole = {**item, key: "".join(texts_said), "status": "completed"}
    return [
        event(
            "output_item.added", output_index=index, item={**item, key: "", "status": "in_progress"}
        ),
        *(delta(kind, index, one) for one in texts_said),
        event(f"{kind}.done", output_index=index, **{key: whole[key]}),
        event("output_item.done", output_index=index, item=whole),
    ]


def of_reasoning(index: int, texts_said: list[str]) -> list[Frame]:
    part = {"type": "summary_text", "text": ""}
    more = {"output_index": index, "summary_index": 0}
    whole = {**part, "text": "".join(texts_said)}
    return [
        event("output_item.added", output_index=index, item={**THOUGHT, "encrypted_content": ""}),
        event("reasoning_summary_part.added", part=part, **more),
        *(delta("reasoning_summary_text", index, one, summary_index=0) for one in texts_said),
        event("reasoning_summary_part.done", part=whole, **more),
        event("output_item.done", output_index=index, item={**THOUGHT, "summary": [whole]}),
    ]


NOTE = {"type": "url_citation"}
AT = {"output_index": 0, "content_index": 0}
CREATED = event("created", response=answer(status="in_progress", usage=None))
CUSTOM = {"type": "custom_tool_call", "id": "ct", "call_id": "t2", "name": "sql", "input": ""}
ITEMS = [
    *of_reasoning(0, ["h", "m"]),
    *of_message(1, ["I ", "lo", "ok."]),
    *of_call(2, ["{", '"n"', ": 1.0}"], CALL, "function_call_arguments", "arguments"),
    *of_call(3, ["sel", "ect"], CUSTOM, "custom_tool_call_input", "input"),
]
OUTPUT = [
    {**THOUGHT, "summary": [{"type": "summary_text", "text": "hm"}]},
    message(said("I look."), status="completed"),
    {**CALL, "arguments": '{"n": 1.0}', "status": "completed"},
    {**CUSTOM, "input": "select", "status": "completed"},
]
WHOLE = answer(*OUTPUT, usage={"input_tokens": 9, "output_tokens": 7})


@pytest.mark.parametrize("final", [WHOLE, {**WHOLE, "output": []}, {**WHOLE, "output": None}])
def test_a_streamed_answer_is_the_body_that_would_have_come_whole(final: Body) -> None:
    """As its end has it; some servers leave the items out there."""
    made = OPENAI_RESPONSES.assemble([CREATED, *ITEMS, event("completed", response=final)])
    assert (made.is_whole, made.error) == (True, None)
    assert made.body == WHOLE


def test_a_stream_cut_anywhere_gives_what_had_come() -> None:
    """At every byte: words, arguments and reasoning are a beginning of the whole."""
    raw = wire([CREATED, *ITEMS])
    for cut in range(0, len(raw), 3):
        made = OPENAI_RESPONSES.assemble(frames_of([raw[:cut]]))
        assert not made.is_whole
        if not made.body.get("output"):
            continue
        events, unread = read(made.body)
        assert unread == []
        assert events[0].finish_reason == "in_progress"
        for one in events:
            match one:
                case AgentUtterance():
                    assert "I look.".startswith(one.text)
                case ToolCall():
                    assert (
                        OUTPUT[2 + (one.name == "sql")]
                        .get("arguments", "select")
                        .startswith(one.arguments)
                    )
    assert OPENAI_RESPONSES.assemble([CREATED, *ITEMS]).body["output"] == OUTPUT


@pytest.mark.parametrize(
    ("frames", "item"),
    [
        (
            [event("output_text.annotation.added", **AT, annotation=NOTE)],
            message(said("", annotations=[NOTE])),
        ),
        (
            [delta("refusal", 0, "N", content_index=1), delta("refusal", 0, "o", content_index=1)],
            message(said(""), {"type": "refusal", "refusal": "No"}),
        ),
        ([delta("reasoning_text", 0, "hm", content_index=1)],
         message(said(""), {"type": "reasoning_text", "text": "hm"})),
        ([delta("code_interpreter_call_code", 0, "1+")], {**message(said("")), "code": "1+"}),
        ([delta("mcp_call_arguments", 0, "{")], {**message(said("")), "arguments": "{"}),
        # What is not known is passed over.
        ([delta("hologram", 0, "x"), event("image_generation_call.partial_image", output_index=0)],
         message(said(""))),
    ],
)  # fmt: skip
def test_pieces_of_every_kind_are_joined(frames: list[Frame], item: Body) -> None:
    """Annotations, refusals, open reasoning, code, arguments of the provider's tools."""
    begins = event("output_item.added", output_index=0, item=message(said("")))
    assert OPENAI_RESPONSES.assemble([begins, *frames]).body["output"] == [item]


def test_an_error_in_a_stream_stands_beside_what_had_come() -> None:
    """As an event of its own; a response that failed is whole, and says so itself."""
    odd = frame({"type": "error", "code": "server_error", "message": "It broke.", "param": None})
    made = OPENAI_RESPONSES.assemble([CREATED, *of_message(0, ["I"])[:3], odd])
    assert not made.is_whole
    assert made.error is not None
    events, _ = read({**made.body, "error": made.error})
    assert [type(one) for one in events] == [ModelResponse, AgentUtterance, ModelFailed]
    assert events[2].error == "It broke."
    failed = answer(status="failed", error={"code": "x", "message": "It broke."})
    made = OPENAI_RESPONSES.assemble([CREATED, event("failed", response=failed)])
    assert (made.is_whole, made.error) == (True, None)
    assert read(made.body)[0][-1] == ModelFailed("It broke.")


# -- beside the SDK -------------------------------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Frame], list[Body]]:
    """The events of a random response up to its end, and the items that they make."""
    frames: list[Frame] = []
    for index in range(draw(st.integers(0, 4))):
        texts_said = pieces(draw(texts), draw(cuts))
        own: Body = {"id": f"i{index}", "call_id": f"t{index}"}
        match draw(st.sampled_from(["message", "refusal", "call", "custom", "reasoning"])):
            case "message":
                frames += of_message(index, texts_said)
            case "refusal":
                frames += of_message(index, texts_said, "refusal")
            case "call":
                call = {**CALL, **own, "name": draw(words)}
                frames += of_call(index, texts_said, call, "function_call_arguments", "arguments")
            case "custom":
                frames += of_call(
                    index, texts_said, {**CUSTOM, **own}, "custom_tool_call_input", "input"
                )
            case _:
                frames += of_reasoning(index, texts_said)
        frames = [_own(one, index) for one in frames]
    data = [msgspec.json.decode(one.data) for one in frames]
    done = [one["item"] for one in data if one["type"] == "response.output_item.done"]
    return frames, done


def _own(one: Frame, index: int) -> Frame:
    """A frame whose item has an id of its own."""
    for name in ("msg_1", "rs_1"):
        one = one._replace(data=one.data.replace(f'"{name}"', f'"{name}_{index}"'))
    return one


@settings(max_examples=30)  # Its client is slow to make.
@given(streams(), st.booleans(), cuts)
def test_the_body_is_what_the_sdk_puts_together(
    made_of: tuple[list[Frame], list[Body]], has_items: bool, cut_at: list[int]
) -> None:
    """Of any response in any chunks, whether its end repeats the items or not."""
    frames, done = made_of
    final = answer(*done) if has_items else {**answer(), "output": None}
    numbered = [
        one._replace(
            data=msgspec.json.encode(
                {"sequence_number": n, **msgspec.json.decode(one.data)}
            ).decode()
        )
        for n, one in enumerate([CREATED, *frames, event("completed", response=final)])
    ]
    raw = wire(numbered)
    made = OPENAI_RESPONSES.assemble(frames_of(chunked(raw, cut_at)))
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=raw, headers=SSE))
    with (
        httpx2.Client(transport=transport) as http,
        openai.OpenAI(api_key="k", http_client=http, base_url="http://127.0.0.1") as client,
        client.responses.stream(model="gpt", input="x") as stream,
    ):
        theirs = stream.get_final_response().model_dump(mode="json", exclude_unset=True)
    assert made.is_whole
    assert set_in(made.body) == without_parsed(theirs)


SSE = {"content-type": "text/event-stream"}


def without_parsed(value: Any) -> Any:
    """The SDK's object without what it parses itself, and without nulls."""
    if isinstance(value, dict):
        odd = ("parsed", "parsed_arguments")
        return {k: without_parsed(v) for k, v in value.items() if v is not None and k not in odd}
    return [without_parsed(one) for one in value] if isinstance(value, list) else value


KEYS = ["type", "output_index", "content_index", "summary_index", "delta", "item", "part",
        "content", "response", "output", "summary", "text", "error", "annotation", "annotations",
        "status", "name", "arguments", "call_id", "incomplete_details", "usage"]  # fmt: skip
KINDS = ["created", "completed", "output_item.added", "content_part.added", "output_text.delta",
         "output_text.annotation.added", "function_call_arguments.delta",
         "reasoning_summary_part.added", "reasoning_summary_text.delta"]  # fmt: skip
anything = any_json(KEYS, st.sampled_from(["message", "function_call", "reasoning"]))


@given(st.lists(st.tuples(st.sampled_from(KINDS), anything), max_size=6))
def test_no_frames_raise(given_frames: list[tuple[str, Any]]) -> None:
    """Whatever JSON comes: it is put together, and read or refused by name."""
    frames = [event(kind, **{"output_index": 0, "item": one, "response": one, "part": one,
                             "delta": one, "annotation": one, "content_index": 1})
              for kind, one in given_frames]  # fmt: skip
    assert_read_or_refused(OPENAI_RESPONSES, frames)


def test_who_spoke_is_kept() -> None:
    """Of several people and agents each by its name, in a request and in an answer."""
    (user,), (agent,) = asked(
        {"role": "user", "name": "bob", "content": "Hi"},
        {"role": "assistant", "name": "coder", "content": "Ho"},
    )
    assert [user.party, agent.party] == ["bob", "coder"]
    (_, answer), _ = read({"output": [message(said("Ho"), name="coder")]})
    assert (answer.text, answer.party) == ("Ho", "coder")
