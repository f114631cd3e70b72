"""OTLP JSON: the GenAI conventions of today and of the year before, and what was written before."""

import json
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given as any_of
from hypothesis import settings
from hypothesis import strategies as st

import refold
from refold.conversation.events import Usage
from tests.conversation.importers.traces import (
    START_US,
    happened,
    imported,
    of_type,
    otlp,
    said,
    span,
)

USER = {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}
CALLS = {
    "role": "assistant",
    "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "X"}}],
    "finish_reason": "tool_call",
}
RESULT = {
    "role": "tool",
    "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny"}],
}
SAYS = {
    "role": "assistant",
    "parts": [{"type": "text", "content": "Sunny."}],
    "finish_reason": "stop",
}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 4,
    "gen_ai.usage.cache_read.input_tokens": 20,
    "gen_ai.response.id": "r1",
    "gen_ai.response.model": "gpt-5-mini",
}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "weather",
    "gen_ai.tool.call.id": "c1",
}
TALK = [
    ("prompt", "Be kind"),
    ("user", "Weather?"),
    ("call", "c1", "weather", {"city": "X"}),
    ("result", "c1", "sunny"),
    ("agent", "Sunny."),
]


def of_today(asked: list[Any], answered: list[Any]) -> dict[str, Any]:
    return CHAT | {
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be kind"}]),
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps(answered),
    }


def test_messages_as_attributes_are_one_conversation(store: refold.Store, tmp_path: Path) -> None:
    """Each call has the whole conversation so far: what is new in it is added, once."""
    agent = span("a", 0, 5, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Ada"})
    spans = [
        agent,
        span("m1", 0, 1, of_today([USER], [CALLS]), parentSpanId="a"),
        span("f", 1, 1.5, TOOL, parentSpanId="a"),
        span("m2", 2, 4, of_today([USER, CALLS, RESULT], [SAYS]), parentSpanId="a"),
    ]
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(*spans))
    assert (report.imported, report.loss) == (1, [])
    assert said(store, "otlp-t1") == TALK
    [setup] = of_type(store, "otlp-t1", "agent.configured")
    assert (setup.agent, setup.provider, setup.model) == ("Ada", "openai", "gpt-5")
    assert setup.params == {"temperature": 0.5}
    responses = of_type(store, "otlp-t1", "model.response")
    assert [one.latency_ms for one in responses] == [1000.0, 2000.0]
    assert responses[0].usage == Usage(input_tokens=30, output_tokens=4, cached_tokens=20)
    assert (responses[0].response_id, responses[0].finish_reason) == ("r1", "tool_call")
    [result] = [one for one in store.read("otlp-t1") if one.type == "tool.result"]
    assert result.event.latency_ms == 500.0
    assert result.occurred_at_us == START_US + 1_500_000


def test_messages_as_attributes_may_be_structured(store: refold.Store, tmp_path: Path) -> None:
    """Where an exporter writes them as values and not as text of JSON."""
    given = CHAT | {"gen_ai.input.messages": [USER], "gen_ai.output.messages": [SAYS]}
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("m", 0, 1, given)))
    assert said(store, "otlp-t1") == [("user", "Weather?"), ("agent", "Sunny.")]


def as_events() -> list[Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": "X"})}
    call = {"id": "c1", "type": "function", "function": function}
    return [
        happened("gen_ai.system.message", {"gen_ai.system": "openai", "content": "Be kind"}),
        happened("gen_ai.user.message", {"gen_ai.system": "openai", "content": "Weather?"}),
        happened("gen_ai.assistant.message", {"tool_calls": json.dumps([call])}),
        happened("gen_ai.tool.message", {"id": "c1", "content": "sunny"}),
        happened(
            "gen_ai.choice",
            {"index": 0, "finish_reason": "stop", "message": json.dumps({"content": "Sunny."})},
        ),
    ]


def test_messages_as_events_of_a_span(store: refold.Store, tmp_path: Path) -> None:
    """The conventions of the year before: an event a message."""
    made = span("m", 0, 1, CHAT, events=as_events())
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(made))
    assert said(store, "otlp-t1") == TALK


def test_messages_as_logs_beside_the_spans(store: refold.Store, tmp_path: Path) -> None:
    """So they come from instrumentations whose events are logs; another line may hold them."""
    records = [
        {"spanId": "m", "eventName": one["name"], "attributes": one["attributes"]}
        for one in as_events()
    ]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("m", 0, 1, CHAT)), logs)
    assert said(store, "otlp-t1") == TALK


def test_numbered_attributes(store: refold.Store, tmp_path: Path) -> None:
    """As OpenLLMetry and OpenInference write them, a key for each field of each message."""
    numbered = {
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4o",
        "llm.request.type": "chat",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "Weather?",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "gen_ai.completion.0.tool_calls.0.id": "c1",
        "gen_ai.completion.0.tool_calls.0.name": "weather",
        "gen_ai.completion.0.tool_calls.0.arguments": '{"city": "X"}',
        "gen_ai.usage.prompt_tokens": 7,
    }
    older = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Weather?",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "weather",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city": "X"}',
        "llm.token_count.prompt": 7,
    }
    for number, given in enumerate([numbered, older]):
        made = span("m", 0, 1, given, traceId=f"t{number}")
        imported(store, tmp_path / "t.jsonl", "otlp", otlp(made))
        told = said(store, f"otlp-t{number}")
        assert told == [("user", "Weather?"), ("call", "c1", "weather", {"city": "X"})]
        [response] = of_type(store, f"otlp-t{number}", "model.response")
        assert response.usage == Usage(input_tokens=7)


def test_an_ai_sdk_call(store: refold.Store, tmp_path: Path) -> None:
    """The AI SDK's span of a call of the provider, inside the one of its own function."""
    prompt = [{"role": "user", "content": [{"type": "text", "text": "Weather?"}]}]
    call = {"toolCallId": "c1", "toolName": "weather", "input": '{"city": "X"}'}
    inner = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.prompt.messages": json.dumps(prompt),
        "ai.response.toolCalls": json.dumps([call]),
        "gen_ai.usage.input_tokens": 7,
    }
    ran = {
        "ai.operationId": "ai.toolCall",
        "ai.toolCall.name": "weather",
        "ai.toolCall.id": "c1",
        "ai.toolCall.result": '"sunny"',
    }
    outer = {"ai.operationId": "ai.generateText", "ai.prompt": '{"prompt": "Weather?"}'}
    spans = [
        span("o", 0, 3, outer),
        span("m", 0, 1, inner, parentSpanId="o"),
        span("f", 1, 2, ran, parentSpanId="o"),
    ]
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(*spans))
    assert said(store, "otlp-t1")[:2] == TALK[1:3]
    assert [one.pointer for one in report.loss] == ["/resourceSpans/0/scopeSpans/0/spans/0"]


def test_a_sub_agent_has_a_conversation_of_its_own(store: refold.Store, tmp_path: Path) -> None:
    """A call whose messages go on with none that is known begins another stream."""
    other = {"role": "user", "parts": [{"type": "text", "content": "Summarise"}]}
    spans = [
        span("m1", 0, 1, of_today([USER], [CALLS])),
        span("m2", 1, 2, of_today([other], [SAYS])),
        span("m3", 2, 3, of_today([USER, CALLS, RESULT], [SAYS])),
    ]
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(*spans))
    assert said(store, "otlp-t1") == TALK
    assert said(store, "otlp-t1.2") == [
        ("prompt", "Be kind"),
        ("user", "Summarise"),
        ("agent", "Sunny."),
    ]


def test_the_traces_of_a_conversation_are_one_stream(store: refold.Store, tmp_path: Path) -> None:
    """A turn is a trace where each request is; the conversation's id says what belongs together."""
    named: dict[str, Any] = {"gen_ai.conversation.id": "chat 7"}
    first = span("m1", 0, 1, named | of_today([USER], [CALLS]))
    then = span("m2", 2, 3, named | of_today([USER, CALLS, RESULT], [SAYS]), traceId="t2")
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(then), otlp(first))
    assert [one.stream for one in store.streams()] == ["otlp-chat_7"]
    assert said(store, "otlp-chat_7") == TALK


def test_what_is_not_recorded_is_told_and_no_silence(store: refold.Store, tmp_path: Path) -> None:
    """Content is off by default in most instrumentations: the figures are there all the same."""
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("m", 0, 1, CHAT)))
    assert said(store, "otlp-t1") == []
    [response] = of_type(store, "otlp-t1", "model.response")
    assert (response.usage.input_tokens, response.model) == (30, "gpt-5")
    assert [one.what for one in report.loss] == [
        "what the model was asked is not recorded",
        "the answer is not recorded",
    ]


def test_a_call_that_failed(store: refold.Store, tmp_path: Path) -> None:
    """A status that is an error is a failed call, with what the span says of it."""
    given = CHAT | {"gen_ai.input.messages": json.dumps([USER]), "error.type": "RateLimit"}
    made = span("m", 0, 1, given, status={"code": 2, "message": "429"})
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(made))
    assert [one.error for one in of_type(store, "otlp-t1", "model.failed")] == ["429"]
    assert not of_type(store, "otlp-t1", "model.response")


def test_a_tool_that_no_recorded_call_asked_for(store: refold.Store, tmp_path: Path) -> None:
    """It ran: its call and its result are told as its span has them."""
    ran = TOOL | {"gen_ai.tool.call.arguments": '{"city": "X"}', "gen_ai.tool.call.result": "sun"}
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("f", 0, 1, ran)))
    assert said(store, "otlp-t1") == [
        ("call", "c1", "weather", {"city": "X"}),
        ("result", "c1", "sun"),
    ]


@pytest.mark.parametrize("document", [{"spans": []}, [], "text", {"resourceSpans": 1}])
def test_what_is_no_trace_of_an_agent(store: refold.Store, tmp_path: Path, document: Any) -> None:
    """A document that is none is a problem, and so is a file without a call."""
    report = imported(store, tmp_path / "t.jsonl", "otlp", document)
    assert (report.imported, report.failed) == (0, 1)


def test_a_part_of_an_unknown_kind_is_kept_as_it_was(store: refold.Store, tmp_path: Path) -> None:
    """Its mark stands with the words; a part without a type is told as lost."""
    odd = {"role": "user", "parts": [{"type": "text", "content": "See"}, {"type": "blob", "x": 1}]}
    worse = {"role": "user", "parts": [{"x": 1}]}
    given = CHAT | {
        "gen_ai.input.messages": json.dumps([odd, worse]),
        "gen_ai.output.messages": json.dumps([SAYS]),
    }
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(span("m", 0, 1, given)))
    heard, _ = of_type(store, "otlp-t1", "user.utterance")
    assert heard.parts[1] == {"type": "blob", "x": 1}
    assert [one.what for one in report.loss] == [
        "a content part without words (/messages/1/content/0)"
    ]


def test_an_odd_trace_costs_itself_alone(store: refold.Store, tmp_path: Path) -> None:
    """A span without a time, or with a number that is none; the other traces come in."""
    given = CHAT | {"gen_ai.input.messages": [USER], "gen_ai.output.messages": [SAYS]}
    timeless = {"traceId": "t2", "spanId": "x", "attributes": []}
    odd = {**span("m", 0, 1, given, traceId="t3"), "startTimeUnixNano": [1]}
    good = span("m", 0, 1, given)
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(timeless, odd, good))
    assert (report.imported, report.failed) == (1, 2)


def scene() -> tuple[list[Any], list[Any]]:
    """Spans and logs of two turns of one conversation, each a trace, and of another trace."""
    named: dict[str, Any] = {"gen_ai.conversation.id": "c", "gen_ai.agent.name": "Ada"}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Ada"}
    last = [USER, CALLS, RESULT, SAYS, USER]
    spans = [
        span("a", 0, 5, agent),
        span("m1", 0, 1, named | of_today([USER], [CALLS]), parentSpanId="a"),
        span("f", 1, 1.5, TOOL, parentSpanId="a"),
        span("m2", 2, 4, of_today([USER, CALLS, RESULT], [SAYS]), parentSpanId="a"),
        span("m3", 6, 7, named | of_today(last, [CALLS]), traceId="t2"),
        span("l", 0, 1, CHAT, traceId="t3"),
    ]
    logs = [
        {
            "spanId": "l",
            "eventName": one["name"],
            "attributes": one["attributes"],
            "timeUnixNano": n,
        }
        for n, one in enumerate(as_events())
    ]
    return spans, logs


@st.composite
def documents(draw: st.DrawFn) -> list[Any]:
    """The scene cut into documents anyhow, in any order, parts of it several times."""
    spans, logs = scene()
    records = [(one, True) for one in spans] + [(one, False) for one in logs]
    records += draw(st.lists(st.sampled_from(records), max_size=6))
    shuffled = draw(st.permutations(records))
    cuts = sorted(draw(st.sets(st.integers(1, len(shuffled) - 1), max_size=5)))
    made = []
    for first, end in pairwise([0, *cuts, len(shuffled)]):
        document = otlp(*(one for one, is_span in shuffled[first:end] if is_span))
        held = [one for one, is_span in shuffled[first:end] if not is_span]
        made.append({**document, "resourceLogs": [{"scopeLogs": [{"logRecords": held}]}]})
    return made


def told(store: refold.Store) -> list[Any]:
    """Everything that a store says but when it was told."""
    return sorted(
        (one.stream, one.version, one.stored_kind, one.raw, one.occurred_at_us, str(one.metadata))
        for one in store.read_all()
    )


@settings(max_examples=25, deadline=None)
@any_of(documents())
def test_order_cuts_and_repetitions_are_all_the_same(made: list[Any]) -> None:
    """Exporters send what they have when they have it, and again where they are not sure."""
    spans, logs = scene()
    whole = {**otlp(*spans), "resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}
    histories = []
    for given_documents in ([whole], made):
        with TemporaryDirectory() as folder, refold.open("memory:") as store:
            report = imported(store, Path(folder) / "t.jsonl", "otlp", *given_documents)
            assert (report.problems, report.imported) == ([], 2)
            histories.append(told(store))
    assert histories[0] == histories[1]


def test_of_a_span_that_comes_again_otherwise_the_one_that_ended_last_holds(
    store: refold.Store, tmp_path: Path
) -> None:
    """Some exporters send a span when it begins too."""
    begun = span("m", 0, 0, CHAT | {"gen_ai.input.messages": [USER]})
    ended = span("m", 0, 1, of_today([USER], [SAYS]))
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(ended, begun))
    assert report.loss == []
    assert [one[0] for one in said(store, "otlp-t1")] == ["prompt", "user", "agent"]


def test_the_turns_of_a_conversation_grow_it(store: refold.Store, tmp_path: Path) -> None:
    """The first turn alone, then both: as if they had come together."""
    spans, _ = scene()
    imported(store, tmp_path / "t.jsonl", "otlp", otlp(*spans[:4]))
    report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(*spans[:5]))
    assert (report.grown, report.problems, report.loss) == (1, [], [])
    with refold.open("memory:") as once:
        imported(once, tmp_path / "t.jsonl", "otlp", otlp(*spans[:5]))
        assert told(once) == told(store)


def test_a_turn_that_came_late_is_told_beside_with_what_follows(
    store: refold.Store, tmp_path: Path
) -> None:
    """What was told stays; the whole stands beside it, and goes on there."""
    spans, _ = scene()
    third = [USER, CALLS, RESULT, SAYS, USER, CALLS, RESULT]
    named: dict[str, Any] = {"gen_ai.conversation.id": "c", "gen_ai.agent.name": "Ada"}
    more = span("m4", 8, 9, named | of_today(third, [SAYS]), traceId="t4")
    for count in ([spans[4]], spans[:5], [*spans[:5], more]):
        report = imported(store, tmp_path / "t.jsonl", "otlp", otlp(*count))
        assert report.problems == []
    assert [one[0] for one in said(store, "otlp-c-t1")] == [
        "prompt", "user", "call", "result", "agent", "user", "call", "result", "agent",
    ]  # fmt: skip
