"""Gemini's generateContent: requests, answers whole and streamed, beside the SDK's own reading."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
import pytest
from google import genai
from google.genai.types import GenerateContentResponse, HttpOptions
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.conversation.apis import api_of
from refold.conversation.apis.gemini import GEMINI
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
from tests.conversation.apis.frames import chunked, cuts, frame, pieces, wire, words
from tests.conversation.apis.reading import (
    any_json,
    asker_of,
    assert_read_or_refused,
    reader_of,
    responses_of,
)

Body = dict[str, Any]
read = reader_of(GEMINI)
asked = asker_of(GEMINI, "contents")
response = responses_of("r1", "gemini", "STOP")
SLOTS = Tool("slots", "Free times.", {"type": "OBJECT"})
THOUGHT = {"text": "hm", "thought": True}
CALL = {"functionCall": {"id": "t1", "name": "slots", "args": {"day": "Fri", "n": 1.0}}}
SIGNED = {**CALL, "thoughtSignature": "c2ln"}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
CODE = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}
ARGUMENTS = '{"day":"Fri","n":1.0}'


def typed(*parts: Body) -> list[Body]:
    """The parts as they are kept: each with its type."""
    kinds = ("text", "functionCall", "inlineData", "executableCode", "codeExecutionResult")
    types = ["thought" if p.get("thought") else next(k for k in kinds if k in p) for p in parts]
    return [{"type": kind, **part} for kind, part in zip(types, parts, strict=True)]


def user(*parts: Body) -> Body:
    return {"role": "user", "parts": list(parts)}


def model(*parts: Body) -> Body:
    return {"role": "model", "parts": list(parts)}


def answer(*parts: Body, **more: Any) -> Body:
    candidate = {"content": model(*parts), "finishReason": "STOP", **more}
    return {"candidates": [candidate], "modelVersion": "gemini", "responseId": "r1"}


# -- paths and requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_it"),
    [
        ("/v1beta/models/gemini-3:generateContent", True),
        ("/v1beta/models/gemini-3:streamGenerateContent?alt=sse", True),
        ("/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent", True),
        ("/v1beta/models/gemini-3:countTokens", False),
        ("/v1beta/models/gemini-3:embedContent", False),
        ("/v1beta/models/gemini-3:batchGenerateContent", False),
        ("/v1beta/models/gemini-3", False),
    ],
)
def test_a_call_is_known_by_its_path(path: str, is_it: bool) -> None:
    """What generates content, of any host; no counting, embedding or batch."""
    assert (api_of(path) is GEMINI) == is_it


REQUEST = {
    "systemInstruction": {"parts": [{"text": "You book."}]},
    "generationConfig": {"temperature": 0.2},
    "tools": [
        {"functionDeclarations": [
            {"name": "slots", "description": "Free times.", "parameters": {"type": "OBJECT"}}]},
        {"googleSearch": {}},
    ],
    "contents": [
        user({"text": "Friday?"}),
        model({"text": "I look."}, CALL, {"functionCall": {"name": "slots", "args": {}}}),
        user({"functionResponse": {"id": "t1", "name": "slots", "response": {"output": "09:00"}}},
             {"functionResponse": {"name": "slots", "response": {"error": "no"}}}),
    ],
}  # fmt: skip
SNAKE = {
    "system_instruction": REQUEST["systemInstruction"],
    "generationConfig": {"temperature": 0.2},
    "tools": [
        {"function_declarations": [
            {"name": "slots", "description": "Free times.",
             "parameters_json_schema": {"type": "OBJECT"}}]},
        {"google_search": {}},
    ],
    "contents": [
        user({"text": "Friday?"}),
        model({"text": "I look."}, {"function_call": CALL["functionCall"]},
              {"function_call": {"name": "slots", "args": {}}}),
        user({"function_response": {"id": "t1", "name": "slots", "response": {"output": "09:00"}}},
             {"function_response": {"name": "slots", "response": {"error": "no"}}}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("body", [REQUEST, SNAKE])
def test_a_request_gives_the_agent_and_each_content(body: Body) -> None:
    """The model of the path, the prompt beside; calls without an id pair by name."""
    request = GEMINI.read_request(body, "/v1beta/models/gemini-3:generateContent")
    hashed = SLOTS.schema_hash
    params = {"generationConfig": {"temperature": 0.2}}
    assert request.agent == AgentConfigured(
        Prompt("You book."), "gemini-3", "google", params, [SLOTS]
    )
    parsed = {"day": "Fri", "n": 1.0}
    assert [[event.data for event in one] for one in request.elements] == [
        [UserUtterance("Friday?")],
        [
            AgentUtterance("I look.", message_id="m1"),
            ToolCall("t1", "slots", ARGUMENTS, parsed, hashed, message_id="m1"),
            ToolCall("function:slots", "slots", "{}", {}, hashed, message_id="m1"),
        ],
        [
            ToolResult("t1", {"output": "09:00"}, name="slots"),
            ToolResult("function:slots", {"error": "no"}, is_error=True, name="slots"),
        ],
    ]
    assert [(one.what, one.pointer) for one in request.unread] == [("tool", "/tools/1")]


@pytest.mark.parametrize(
    ("content", "events"),
    [
        ({"parts": [{"text": "Hi"}]}, [UserUtterance("Hi")]),
        (user(IMAGE, {"text": "?"}), [UserUtterance("?", typed(IMAGE, {"text": "?"}))]),
        (model(THOUGHT), [ModelResponse(parts=typed(THOUGHT), message_id="m0")]),
        (
            model(SIGNED),
            [
                ModelResponse(parts=typed(SIGNED), message_id="m0"),
                ToolCall("t1", "slots", ARGUMENTS, {"day": "Fri", "n": 1.0}, message_id="m0"),
            ],
        ),
        (
            {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
            [ToolResult("function:f", {}, name="f")],
        ),
    ],
)
def test_each_kind_of_content_has_its_events(content: Body, events: list[Any]) -> None:
    """Without a role it is the user's; signatures are kept where they stand."""
    assert asked(content) == [events]


@pytest.mark.parametrize("body", [{}, [], None, {"contents": "x"}, {"contents": ["x"]},
                                  {"contents": [{"role": "critic", "parts": []}]}])  # fmt: skip
def test_what_is_no_request_is_refused(body: Any) -> None:
    """No contents, one that is none, a role that is not known."""
    with pytest.raises(InvalidEvent):
        GEMINI.read_request(body)


# -- answers --------------------------------------------------------------------------------------


def test_an_answer_of_words_and_calls_needs_no_parts() -> None:
    """The events say all of it; thoughts are part of the output, what tools fed in of the input."""
    usage = {
        "promptTokenCount": 9,
        "toolUsePromptTokenCount": 2,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 21,
    }
    body = {**answer({"text": "I look."}, CALL), "usageMetadata": usage}
    events, unread = read(body, [SLOTS])
    assert unread == []
    assert events == [
        response(usage=Usage(11, 10, 4, None, 3)),
        AgentUtterance("I look.", message_id="m1"),
        ToolCall("t1", "slots", ARGUMENTS, {"day": "Fri", "n": 1.0}, SLOTS.schema_hash,
                 message_id="m1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "texts_said", "calls"),
    [
        ([THOUGHT, {"text": "A"}, SIGNED], ["A"], 1),
        ([SIGNED], [], 1),
        ([{"text": "A"}, {"text": "", "thoughtSignature": "c2ln"}], ["A"], 0),
        ([{"text": "Sum: "}, CODE, RAN, {"text": "2"}], ["Sum: \n2"], 0),
        ([THOUGHT], [""], 0),
    ],
)
def test_what_words_and_calls_do_not_say_is_kept_as_it_came(
    parts: list[Body], texts_said: list[str], calls: int
) -> None:
    """Thoughts, signatures at a call or behind words, code that the provider ran."""
    events, unread = read(answer(*parts))
    assert unread == []
    assert events[0] == response(parts=typed(*parts))
    assert [event.text for event in events if isinstance(event, AgentUtterance)] == texts_said
    assert sum(isinstance(event, ToolCall) for event in events) == calls


def test_citations_and_grounding_are_the_last_of_the_parts() -> None:
    """They stand beside the content."""
    cited = {"citationSources": [{"uri": "u"}]}
    events, _ = read(answer({"text": "A"}, citationMetadata=cited, groundingMetadata={"x": 1}))
    assert events[0].parts[1:] == [
        {"type": "citationMetadata", **cited},
        {"type": "groundingMetadata", "x": 1},
    ]


def test_a_picture_is_part_of_the_words() -> None:
    """It stands once, where what is shown stands."""
    events, _ = read(answer({"text": "Here."}, IMAGE))
    shown = typed({"text": "Here."}, IMAGE)
    assert events == [response(), AgentUtterance("Here.", shown, message_id="m1")]


def test_further_candidates_are_told() -> None:
    """The first is read."""
    body = answer({"text": "A"})
    body["candidates"].append({"content": model({"text": "B"})})
    events, unread = read(body)
    assert (events[1].text, unread) == ("A", [("choice", "/candidates/1")])


def test_what_gives_no_answer_is_a_failure() -> None:
    """A blocked prompt, an error; a body with neither is refused."""
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 3},
    }
    assert read(blocked)[0] == [ModelFailed("the prompt was blocked: SAFETY")]
    error = {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}
    assert read({"error": error})[0] == [ModelFailed("Slow down.", status=429)]
    assert read(answer(finishReason="SAFETY"))[0][0].finish_reason == "SAFETY"
    nothing: list[Any] = [{}, [], None, {"candidates": []}]
    for odd in nothing:
        with pytest.raises(InvalidEvent):
            GEMINI.read_answer(odd, ModelResponse())


def test_what_is_odd_in_an_answer_leaves_a_mark() -> None:
    """A call without a name or whose arguments come in pieces, a part of no known kind."""
    parts = [
        {"functionCall": {"args": {}}},
        {"functionCall": {"name": "f", "willContinue": True, "partialArgs": []}},
        {"hologram": 1},
        {"text": 5},
        7,
    ]
    events, unread = read({"candidates": [{"content": {"parts": parts}}]})
    place = "/candidates/0/content/parts"
    assert unread == [
        ("call", f"{place}/0/functionCall/name"),
        ("call", f"{place}/1"),
        ("words", f"{place}/2"),
        ("words", f"{place}/3/text"),
        ("words", f"{place}/4"),
    ]
    assert events[1].parts[:3] == [
        {"type": "unread call"},
        {"type": "unread call"},
        {"type": "odd", "hologram": 1},
    ]


# -- streams --------------------------------------------------------------------------------------


def chunk(*parts: Body, **more: Any) -> Frame:
    body = {"candidates": [{"content": model(*parts), "index": 0, **more}]}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 7}
    return frame({**body, "modelVersion": "gemini", "responseId": "r1", "usageMetadata": usage})


STREAM = [
    chunk({"text": "h", "thought": True}),
    chunk({"text": "m", "thought": True}),
    chunk({"text": "I "}),
    chunk({"text": "look."}),
    chunk(SIGNED),
    chunk({"text": "", "thoughtSignature": "eA=="}, finishReason="STOP"),
]
PARTS: list[Body] = [THOUGHT, {"text": "I look."}, SIGNED, {"text": "", "thoughtSignature": "eA=="}]


def test_a_streamed_answer_is_the_body_that_would_have_come_whole() -> None:
    """Text goes on where it is plain; a part with a signature stays the part it is."""
    made = GEMINI.assemble(STREAM)
    whole = answer(*PARTS, index=0)
    whole["usageMetadata"] = {"promptTokenCount": 9, "candidatesTokenCount": 7}
    assert (made.is_whole, made.error) == (True, None)
    assert made.body == whole


def test_a_stream_cut_anywhere_gives_what_had_come() -> None:
    """At every byte: a beginning of the whole, which it is not called."""
    raw = wire(STREAM)
    seen = set()
    for cut in range(len(raw) - 1):
        made = GEMINI.assemble(frames_of([raw[:cut]]))
        assert not made.is_whole or cut > len(raw) - len(wire(STREAM[-1:]))
        if made.body:
            events, unread = read(made.body)
            assert unread == []
            seen |= {e.text for e in events if isinstance(e, AgentUtterance)}
    assert seen == {"", "I ", "I look."}


def test_candidates_come_apart_and_citations_gather() -> None:
    """Each by its index; whole when each has said why it ended."""
    sources = [{"citationMetadata": {"citationSources": [{"uri": uri}]}} for uri in "ab"]
    frames = [
        frame({"candidates": [{"index": 1, "content": model({"text": "B"}), "finishReason": "STOP"},
                              {"content": model({"text": "A"}), **sources[0]}]}),
        frame({"candidates": [{"content": model({"text": "a"}), **sources[1]}]}),
    ]  # fmt: skip
    made = GEMINI.assemble(frames)
    assert not made.is_whole
    one, other = sorted(made.body["candidates"], key=lambda c: c.get("index", 0))
    assert one["content"] == model({"text": "Aa"})
    assert one["citationMetadata"] == {"citationSources": [{"uri": "a"}, {"uri": "b"}]}
    assert other["content"] == model({"text": "B"})


def test_an_error_in_a_stream_stands_beside_what_had_come() -> None:
    """What came is kept; a prompt that is blocked ends the stream at once."""
    error = {"code": 503, "message": "Overloaded"}
    made = GEMINI.assemble([*STREAM[:3], frame({"error": error})])
    assert (made.is_whole, made.error) == (False, error)
    events, _ = read({**made.body, "error": made.error})
    assert [type(e) for e in events] == [ModelResponse, AgentUtterance, ModelFailed]
    blocked = GEMINI.assemble([frame({"promptFeedback": {"blockReason": "SAFETY"}})])
    assert blocked.is_whole
    assert read(blocked.body)[0] == [ModelFailed("the prompt was blocked: SAFETY")]


# -- beside the SDK -------------------------------------------------------------------------------

parts_of = st.one_of(
    st.builds(lambda text: {"text": text}, words),
    st.builds(lambda text: {"text": text, "thought": True}, words),
    st.builds(lambda name: {"functionCall": {"name": name, "args": {"n": 1}}}, words),
    st.just(SIGNED), st.just(IMAGE), st.just(CODE), st.just(RAN),
    st.just({"text": "", "thoughtSignature": "eA=="}),
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[Frame]:
    """The chunks of a random answer."""
    said = []
    for part in draw(st.lists(parts_of, max_size=5)):
        if "thoughtSignature" in part or "text" not in part:
            said.append([part])
        else:
            said += [[{**part, "text": one}] for one in pieces(part["text"], draw(cuts))]
    return [*(chunk(*parts) for parts in said), chunk(finishReason="STOP")]


def through_sdk(raw: bytes) -> list[GenerateContentResponse]:
    """The chunks as Google's client gives them."""
    headers = {"content-type": "text/event-stream"}
    answered = httpx2.Response(200, content=raw, headers=headers)
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: answered)) as http:
        options = HttpOptions(httpx_client=http, base_url="http://127.0.0.1")
        client = genai.Client(api_key="k", http_options=options)
        return list(client.models.generate_content_stream(model="g", contents="x"))


@settings(max_examples=15)  # Its client is slow to make.
@given(streams(), cuts)
def test_the_body_says_what_the_chunks_of_the_sdk_say(
    frames: list[Frame], cut_at: list[int]
) -> None:
    """Of any answer in any chunks: the same words, thoughts, calls and reason to end."""
    raw = wire(frames)
    made = GEMINI.assemble(frames_of(chunked(raw, cut_at)))
    ours = GenerateContentResponse.model_validate(made.body)
    theirs = [part for one in through_sdk(raw) for part in one.parts or []]
    mine = ours.parts or []
    assert made.is_whole
    for is_thought in (None, True):
        said = [
            "".join(p.text or "" for p in some if p.thought == is_thought)
            for some in (mine, theirs)
        ]
        assert said[0] == said[1]
    others = [[p for p in some if p.text is None or p.thought_signature] for some in (mine, theirs)]
    assert others[0] == others[1]


def test_the_object_of_the_sdk_is_read_as_its_json() -> None:
    """Dumped as JSON under the API's names, with signatures and images as they came."""
    body = answer(THOUGHT, {"text": "A"}, SIGNED, IMAGE)
    theirs = GenerateContentResponse.model_validate(body)
    dumped = theirs.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert read(dumped) == read(body)


KEYS = ["candidates", "content", "parts", "text", "functionCall", "args", "name", "index",
        "finishReason", "promptFeedback", "blockReason", "error", "usageMetadata",
        "thought"]  # fmt: skip
anything = any_json(KEYS)


@given(st.lists(anything | anything.map(lambda one: {"candidates": [one]}), max_size=5))
def test_no_frames_raise(said: list[Any]) -> None:
    """Whatever JSON comes: it is put together, and read or refused by name."""
    assert_read_or_refused(GEMINI, [Frame("", msgspec.json.encode(one).decode()) for one in said])
