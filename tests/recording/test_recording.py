"""The recorder of an agent's own loop: what it writes, and how a session shows its end."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from google import genai

import refold
from refold import recording
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    Conversation,
    ModelRequest,
    ModelResponse,
    Party,
    PlaybackInterrupted,
    Prompt,
    SessionEnded,
    Tool,
    ToolCall,
    ToolDecided,
    Usage,
    UserUtterance,
    to_messages,
)
from refold.conversation.state import ConversationState
from refold.errors import Conflict, InvalidEvent, NotFound, StoreClosed, UsageError
from refold.recording.session import AsyncSession, Session

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
OPENHANDS = SHARED_DATA / "openhands"
START_US = 1_772_359_200_000_000
ARGUMENTS = '{ "day":"mon",  "day_part": 1.0 }'

CLINIC = AgentConfigured(
    agent="clinic",
    model="m",
    prompt=Prompt(text="Be kind."),
    tools=[
        Tool(name="slots", parameters={"type": "object"}, effect="read"),
        Tool(name="book", parameters={"type": "object"}, effect="irreversible"),
    ],
)


def ticking() -> Callable[[], int]:
    return count(START_US, 1_000_000).__next__


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    url = "memory:" if request.param == "memory" else str(tmp_path / "log.db")
    with refold.open(url, clock=ticking()) as opened:
        yield opened


def types_of(store: refold.Store, stream: str = "call-1") -> list[str]:
    return [recorded.type for recorded in store.read(stream)]


def state_of(store: refold.Store, stream: str = "call-1") -> ConversationState:
    return store.fold(stream, Conversation).state


def ending_of(store: refold.Store, stream: str = "call-1") -> tuple[str | None, str | None]:
    state = state_of(store, stream)
    return state.end_reason, state.error


def slots_call(call_id: str = "c1", **fields: Any) -> ToolCall:
    return ToolCall(call_id=call_id, name="slots", **fields)


# -- what is written ------------------------------------------------------------------------------


def test_a_session_is_recorded_from_start_to_end(store: refold.Store) -> None:
    """Start and setup, words, answer, tool and end are there in order, and fold to the talk."""
    with recording.record(
        store,
        "call-1",
        channel="voice",
        parties=[Party(role="customer", name="Ann")],
        initial_state={"step": 1},
        agent=CLINIC,
    ) as session:
        session.user_said("Is nine free?", confidence=0.9)
        session.model_answered(tool_calls=[slots_call()], cost=Decimal("0.01"))
        session.tool_returned("c1", ["09:00"], latency_ms=12)
        session.model_answered("Yes.", usage=Usage(input_tokens=5), cost=Decimal("0.02"))
    assert types_of(store) == [
        "session.started",
        "agent.configured",
        "user.utterance",
        "model.response",
        "tool.call",
        "tool.result",
        "model.response",
        "agent.utterance",
        "session.ended",
    ]
    state = state_of(store)
    assert (state.channel, state.status, state.end_reason) == ("voice", "ended", "completed")
    assert state.state == {"step": 1}
    assert [turn.text for turn in state.transcript] == ["Is nine free?", "Yes."]
    assert state.cost == {"USD": Decimal("0.03")}
    assert state.open_calls == {}


def test_an_answer_is_one_append(store: refold.Store) -> None:
    """Response, words and calls of one answer are stored together and share a message id."""
    with recording.record(store, "call-1", agent=CLINIC) as session:
        appended = session.model_answered(
            "One moment.",
            tool_calls=[slots_call("c1"), slots_call("c2")],
            finish_reason="tool_calls",
            model="m",
            latency_ms=800,
        )
        assert session.version == appended.version
        session.model_answered("Nine.")
    assert appended.event_count == 4
    events = [store.event(event_id) for event_id in appended.ids]
    assert [e.type for e in events] == [
        "model.response",
        "agent.utterance",
        "tool.call",
        "tool.call",
    ]
    assert {e.recorded_at_us for e in events} == {events[0].recorded_at_us}
    (message_id,) = {e.event.message_id for e in events}
    answers = {e.event.message_id for e in store.read("call-1") if e.type == "agent.utterance"}
    assert len(answers) == 2
    assert message_id in answers
    assert events[1].event.finish_reason == "tool_calls"


def test_a_tool_call_knows_its_tool_and_keeps_its_arguments(store: refold.Store) -> None:
    """Effect and schema hash are those of the configured tool; arguments stay the same text."""
    with recording.record(store, "call-1", agent=CLINIC) as session:
        session.model_answered(
            tool_calls=[
                slots_call(arguments=ARGUMENTS),
                ToolCall(call_id="c2", name="book", arguments="no JSON"),
                ToolCall(call_id="c3", name="stranger"),
                slots_call("c4", effect="write", schema_hash="mine", parsed={"x": 1}),
            ]
        )
    slots, book, stranger, own = (use.event for use in state_of(store).tool_calls)
    assert slots.arguments == ARGUMENTS
    assert slots.parsed == {"day": "mon", "day_part": 1.0}
    assert (slots.effect, slots.schema_hash) == ("read", CLINIC.tools[0].schema_hash)
    assert (book.effect, book.parsed, book.arguments) == ("irreversible", None, "no JSON")
    assert (stranger.effect, stranger.schema_hash) == ("unknown", "")
    assert (own.effect, own.schema_hash, own.parsed) == ("write", "mine", {"x": 1})


def test_effects_are_those_of_the_configuration_in_force(store: refold.Store) -> None:
    """After another configuration without the tool, its effect is unknown again."""
    with recording.record(store, "call-1", agent=CLINIC) as session:
        assert session.agent == CLINIC
        session.record(AgentConfigured(model="n"))
        session.model_answered(tool_calls=[slots_call()])
    assert state_of(store).tool_calls[0].event.effect == "unknown"


def test_arguments_nested_too_deep_to_store_parsed_are_kept_as_text(store: refold.Store) -> None:
    """Whatever a model writes as arguments can be recorded; only what it says may be missing."""
    deep = "[" * 5_000 + "]" * 5_000
    with recording.record(store, "call-1", agent=CLINIC) as session:
        session.model_answered(tool_calls=[slots_call(arguments=deep)])
    event = state_of(store).tool_calls[0].event
    assert (event.arguments, event.parsed) == (deep, None)


@pytest.mark.parametrize(
    ("text", "calls", "utterances"),
    [
        (None, 0, []),
        (None, 1, []),
        ("", 1, []),
        ("", 0, [""]),
        ("Hi", 0, ["Hi"]),
        ("Hi", 1, ["Hi"]),
    ],
)
def test_words_are_recorded_where_there_are_any(
    store: refold.Store, text: str | None, calls: int, utterances: list[str]
) -> None:
    """None is no words; empty words count only when the answer has nothing else."""
    with recording.record(store, "call-1") as session:
        session.model_answered(text, tool_calls=[slots_call()] * calls)
    assert [turn.text for turn in state_of(store).transcript] == utterances


def test_every_event_says_where_it_comes_from(store: refold.Store) -> None:
    """Metadata: correlation, the event that led to it, the actor, the origin, and the caller's."""
    metadata = {"tenant": "t1", "subject": "p1", "traceparent": "00-1"}
    with recording.record(store, "call-1", agent=CLINIC, metadata=metadata) as session:
        session.user_said("Hi", party="Ann")  # 2
        session.record(ModelRequest(api="chat"))  # 3
        session.model_answered("Wait.", tool_calls=[slots_call()])  # 4, 5, 6
        session.record(ToolDecided(call_id="c1", approver="Bo", decision="approved"))  # 7
        session.tool_returned("c1", [])  # 8
        session.model_answered("None left.")  # 9, 10
        session.record(PlaybackInterrupted(played_text="None"))  # 11
        session.user_said("Oh")  # 12
        session.record(refold.Event("x.y", {}, metadata={"actor": "me", "causation": "z"}))  # 13
    recorded = list(store.read("call-1"))
    causes = [r.metadata.get("causation") for r in recorded]
    first = ["call-1@0", "call-1@1", "call-1@2", "call-1@3", "call-1@4", "call-1@4"]
    then = ["call-1@6", "call-1@6", "call-1@8", "call-1@9", "call-1@10", "call-1@10", "z"]
    assert causes == [None, *first, *then, "call-1@13"]
    assert [r.metadata["actor"] for r in recorded] == [
        *("system", "system", "Ann", "clinic", "clinic", "clinic", "clinic"),
        *("Bo", "slots", "clinic", "clinic", "user", "user", "me", "system"),
    ]
    for event in recorded:
        assert event.metadata.items() >= {**metadata, "correlation": "call-1"}.items()
        assert event.metadata["origin"] == "recorded"


def test_a_repeated_call_id_is_the_cause_of_its_own_result(store: refold.Store) -> None:
    """With one id used twice, each result follows from the call that it answers."""
    with recording.record(store, "call-1") as session:
        session.model_answered(tool_calls=[slots_call(), slots_call()])
        session.tool_returned("c1", 1)
        session.tool_returned("c1", 2)
    causes = [r.metadata["causation"] for r in store.read("call-1") if r.type == "tool.result"]
    assert causes == ["call-1@2", "call-1@3"]


def test_words_of_no_answer_follow_from_what_was_said(store: refold.Store) -> None:
    """A filler that the agent says by itself is not put down to the model's last response."""
    with recording.record(store, "call-1") as session:
        session.model_answered("Hello")
        session.user_said("Is nine free?")
        session.record(AgentUtterance(text="One moment."))
    assert store.event("call-1@4").metadata["causation"] == "call-1@3"


def test_events_happened_when_the_caller_says(store: refold.Store) -> None:
    """With a time given the event has it; without one it is when the log recorded it."""
    with recording.record(store, "call-1", occurred_at="2026-01-01T00:00:00Z") as session:
        session.user_said("Hi", occurred_at="2026-01-01T00:00:02Z")
        session.model_answered("Hello", occurred_at="2026-01-01T00:00:03Z")
        session.ended(occurred_at="2026-01-01T00:00:05Z")
    assert state_of(store).duration_ms == 5_000
    with recording.record(store, "call-2") as session:
        session.user_said("Hi")
    hi = store.event("call-2@1")
    assert hi.occurred_at == hi.recorded_at


@pytest.mark.parametrize("cost", [0.0012, 1, "0.1", True])
def test_a_cost_that_is_not_exact_is_refused(store: refold.Store, cost: Any) -> None:
    """Money is a Decimal: anything else is refused before something is stored."""
    with recording.record(store, "call-1") as session:
        with pytest.raises(InvalidEvent) as caught:
            session.model_answered("Hi", cost=cost)
        assert caught.value.path == "/cost"
    assert types_of(store) == ["session.started", "session.ended"]


def test_untyped_events_of_the_vocabulary_count_as_what_they_say(store: refold.Store) -> None:
    """A tool call recorded as plain data waits for its result like any other."""
    with recording.record(store, "call-1") as session:
        session.record(refold.Event("tool.call", {"call_id": "c1", "name": "slots"}))
        session.tool_returned("c1", 1)
        with pytest.raises(InvalidEvent) as caught:
            session.record(refold.Event("tool.call", {"name": 1}))
        assert caught.value.type == "tool.call"
    assert store.event("call-1@2").metadata["causation"] == "call-1@1"


def test_the_recorder_leaves_what_it_is_given_alone(store: refold.Store) -> None:
    """Calls and metadata of the caller are the same after recording."""
    metadata, given = {"tenant": "t"}, slots_call()
    with recording.record(store, "call-1", agent=CLINIC, metadata=metadata) as session:
        session.model_answered(tool_calls=[given])
    assert metadata == {"tenant": "t"}
    assert given == slots_call()


# -- chat completions -----------------------------------------------------------------------------


def completion(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "r1",
        "model": "m-2026",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 8},
        },
    }


def test_a_completion_is_recorded_as_it_came(store: refold.Store) -> None:
    """Usage, model and finish reason are the response's; the message exports field by field."""
    message = {
        "role": "assistant",
        "content": "One moment.",
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "index": 0,
                "function": {"name": "slots", "arguments": ARGUMENTS},
            }
        ],
    }
    with recording.record(store, "call-1", agent=CLINIC) as session:
        appended = session.model_responded(
            completion(message), cost=Decimal("0.5"), latency_ms=7, first_token_ms=3
        )
    assert appended.event_count == 3
    response = store.event(appended.ids[0]).event
    assert isinstance(response, ModelResponse)
    assert (response.response_id, response.model, response.finish_reason) == (
        "r1",
        "m-2026",
        "tool_calls",
    )
    assert response.usage == Usage(input_tokens=9, output_tokens=4, cached_tokens=8)
    assert (response.cost, response.latency_ms, response.first_token_ms) == (Decimal("0.5"), 7, 3)
    assert store.event(appended.ids[1]).event.finish_reason == "tool_calls"
    called = state_of(store).tool_calls[0].event
    assert (called.arguments, called.effect) == (ARGUMENTS, "read")
    assert called.message_id == response.message_id
    assert to_messages(store.read("call-1"))[-1] == message


@pytest.mark.parametrize(
    ("response", "path"),
    [
        ({"error": {"message": "no"}}, "/choices"),
        ({"choices": []}, "/choices"),
        ({"choices": [{"message": {}}, {"message": {}}]}, "/choices"),
        ({"choices": [{"delta": {}}]}, "/choices/0/message"),
        ({"choices": ["x"]}, "/choices/0"),
        (completion({"role": "user", "content": "x"}), "/choices/0/message"),
        (
            completion({"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}),
            "/choices/0/message/tool_calls/0/function/name",
        ),
    ],
)
def test_what_is_no_completion_is_refused_where_it_is_wrong(
    store: refold.Store, response: dict[str, Any], path: str
) -> None:
    """An answer that cannot be recorded whole is refused with the place; nothing is stored."""
    with recording.record(store, "call-1") as session:
        with pytest.raises(InvalidEvent) as caught:
            session.model_responded(response)
        assert caught.value.path == path
    assert types_of(store) == ["session.started", "session.ended"]


class Completion:
    """A completion as an SDK holds it: fields that the service sent, and defaults beside them."""

    def __init__(self, message: dict[str, Any]) -> None:
        self._message = message

    def model_dump(self, *, exclude_unset: bool = False, **_: Any) -> dict[str, Any]:
        unset = {"refusal": None, "annotations": None, "audio": None, "function_call": None}
        return completion(self._message if exclude_unset else {**unset, **self._message})


def test_of_an_sdks_object_what_was_set_is_recorded(store: refold.Store) -> None:
    """Defaults that no service sent are no part of the message."""
    message = {"role": "assistant", "content": "Nine is free."}
    with recording.record(store, "call-1") as session:
        session.model_responded(Completion(message))
    assert to_messages(store.read("call-1")) == [message]
    said = next(r for r in store.read("call-1") if r.type == "agent.utterance")
    assert "openai" not in said.metadata


def test_what_is_not_understood_of_a_completion_is_named(store: refold.Store) -> None:
    """It is recorded all the same and exports as it was; the response says where it stands."""
    message = {"role": "assistant", "content": [{"type": "text", "value": "Hi"}]}
    said = {**completion(message), "usage": {"prompt_tokens": "9", "completion_tokens": 4}}
    with recording.record(store, "call-1") as session:
        session.model_responded(said)
    response = next(r for r in store.read("call-1") if r.type == "model.response")
    assert response.event.usage is None
    assert response.metadata["unread"] == ["/usage/prompt_tokens", "/choices/0/message/content/0"]
    assert to_messages(store.read("call-1")) == [message]


def test_an_answer_that_broke_off_is_words_and_a_failure(store: refold.Store) -> None:
    """An error in the choice, after some of the words, is recorded behind them."""
    said = completion({"role": "assistant", "content": "Nine is"})
    said["choices"][0]["error"] = {"code": 502, "message": "upstream"}
    with recording.record(store, "call-1") as session:
        session.model_responded(said)
    assert types_of(store)[1:-1] == ["model.response", "agent.utterance", "model.failed"]
    assert state_of(store).model_failures[0].event.status == 502


def test_a_legacy_function_is_answered_under_its_name(store: refold.Store) -> None:
    """The older calls have no id; theirs is made of the name."""
    message = {"role": "assistant", "content": None, "function_call": {"name": "slots"}}
    with recording.record(store, "call-1", agent=CLINIC) as session:
        session.model_responded(completion(message))
        session.tool_returned("function:slots", ["09:00"])
    state = state_of(store)
    assert (state.open_calls, state.unmatched_results) == ({}, [])
    assert state.tool_calls[0].event.effect == "read"


SAID: dict[str, Any] = {
    "text": "One moment.",
    "arguments": '{"day":"mon"}',
    "usage": Usage(9, 4, 8, None, 2),
}
MESSAGE: dict[str, Any] = {
    "id": "r1",
    "type": "message",
    "role": "assistant",
    "model": "m-2026",
    "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "One moment."},
        {"type": "tool_use", "id": "c1", "name": "slots", "input": {"day": "mon"}},
    ],
    "usage": {
        "input_tokens": 1,
        "cache_read_input_tokens": 8,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 2},
    },
}
RESPONSE: dict[str, Any] = {
    "id": "r1",
    "object": "response",
    "status": "completed",
    "model": "m-2026",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "b3A="},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "One moment.", "annotations": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "c1",
            "name": "slots",
            "arguments": '{"day":"mon"}',
        },
    ],
    "usage": {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 13,
    },
}
GENERATED: dict[str, Any] = {
    "responseId": "r1",
    "modelVersion": "m-2026",
    "candidates": [
        {
            "finishReason": "STOP",
            "content": {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": "One moment."},
                    {
                        "functionCall": {"id": "c1", "name": "slots", "args": {"day": "mon"}},
                        "thoughtSignature": "c2ln",
                    },
                ],
            },
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 9,
        "cachedContentTokenCount": 8,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 2,
    },
}


@pytest.mark.parametrize(
    "answered",
    [
        MESSAGE,
        anthropic.types.Message.model_validate(MESSAGE),
        RESPONSE,
        openai.types.responses.Response.construct(**RESPONSE),
        GENERATED,
        genai.types.GenerateContentResponse.model_validate(GENERATED),
    ],
    ids=lambda answered: type(answered).__name__,
)
def test_an_answer_of_any_api_is_recorded_as_it_came(store: refold.Store, answered: Any) -> None:
    """Words, calls, counts and thoughts with their signatures, of the JSON and of the SDKs."""
    with recording.record(store, "call-1", agent=CLINIC) as session:
        appended = session.model_responded(answered, latency_ms=7)
    response, said, call = (store.event(event_id).event for event_id in appended.ids)
    assert (response.response_id, response.model, response.latency_ms) == ("r1", "m-2026", 7)
    assert response.usage == SAID["usage"]
    assert len(response.parts) == 3
    assert {"c2ln", "b3A="} & {str(v) for part in response.parts for v in part.values()}
    assert (said.text, said.parts) == (SAID["text"], None)
    assert said.finish_reason == response.finish_reason
    assert (call.name, call.arguments, call.effect) == ("slots", SAID["arguments"], "read")
    assert {response.message_id} == {said.message_id, call.message_id}


@pytest.mark.parametrize(
    ("answered", "path"),
    [
        ({**MESSAGE, "content": [{"type": "tool_use", "input": {}}]}, "/content/0/name"),
        ({**MESSAGE, "content": "x"}, ""),
        ({**RESPONSE, "status": "queued", "output": []}, ""),
        ({**RESPONSE, "output": [{"type": "function_call"}]}, "/output/0/name"),
        ({**GENERATED, "candidates": [*GENERATED["candidates"]] * 2}, "/candidates"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "/choices"),
    ],
)
def test_what_is_no_answer_of_any_api_is_refused(
    store: refold.Store, answered: dict[str, Any], path: str
) -> None:
    """A broken call, no content, several candidates: with the place; nothing is stored."""
    with recording.record(store, "call-1") as session:
        with pytest.raises(InvalidEvent) as caught:
            session.model_responded(answered)
        assert (caught.value.path or "") == path
    assert types_of(store) == ["session.started", "session.ended"]


def test_real_completions_come_back_as_they_were(store: refold.Store) -> None:
    """The recorded answers of two real models export to exactly the messages they were."""
    paths = sorted(OPENHANDS.glob("*llm-logs__*.json"))
    if not paths:
        pytest.skip(f"{OPENHANDS}/*llm-logs__*.json are missing")
    responses = [msgspec.json.decode(path.read_bytes())["response"] for path in paths]
    with recording.record(store, "call-1") as session:
        for response in responses:
            session.model_responded(response)
    messages = [response["choices"][0]["message"] for response in responses]
    assert to_messages(store.read("call-1")) == messages
    totals = state_of(store).usage
    assert totals.output_tokens == sum(r["usage"]["completion_tokens"] for r in responses)


# -- how it ends ----------------------------------------------------------------------------------


class Unspeakable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (ValueError("no slots"), "error", "ValueError: no slots"),
        (TimeoutError(), "error", "TimeoutError"),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "cancelled", "CancelledError"),
        (Unspeakable(), "error", "Unspeakable: (its text could not be had)"),
        (ValueError("half \ud83d"), "error", "ValueError: half ?"),
    ],
)
def test_an_exception_ends_the_session_and_goes_on(
    store: refold.Store, error: BaseException, reason: str, text: str
) -> None:
    """The end names the exception, whatever its text; the same exception leaves the block."""
    with pytest.raises(type(error)) as caught, recording.record(store, "call-1") as session:
        session.user_said("Hi")
        raise error
    assert caught.value is error
    assert ending_of(store) == (reason, text)


def test_a_long_error_is_cut(store: refold.Store) -> None:
    """An exception that quotes a whole page does not put the page into the log."""
    with pytest.raises(ValueError), recording.record(store, "call-1"):
        raise ValueError("x" * 100_000)
    assert len(ending_of(store)[1] or "") == 2_000


def test_failing_to_record_the_end_does_not_hide_the_first_error(store: refold.Store) -> None:
    """When the store is gone too, the agent's exception goes on and says so in a note."""
    with pytest.raises(ValueError) as caught, recording.record(store, "call-1"):
        store.close()
        raise ValueError("first")
    assert any("call-1" in note for note in caught.value.__notes__)


def test_failing_to_record_a_good_end_is_an_error(store: refold.Store) -> None:
    """Without an exception of its own the block does not end as if all were recorded."""
    with pytest.raises(StoreClosed), recording.record(store, "call-1"):
        store.close()


def test_the_caller_may_say_how_it_ended(store: refold.Store) -> None:
    """A reason given is the end: leaving the block, even by an exception, adds none."""
    with recording.record(store, "call-1") as session:
        session.ended("transferred")
    assert ending_of(store) == ("transferred", None)
    with pytest.raises(ValueError), recording.record(store, "call-2") as session:
        session.record(SessionEnded(reason="hung up"))
        raise ValueError
    assert ending_of(store, "call-2") == ("hung up", None)
    assert types_of(store, "call-2") == ["session.started", "session.ended"]


def test_nothing_is_recorded_after_the_end_or_outside_the_block(store: refold.Store) -> None:
    """A recorder is for one block: before, behind and after the end it refuses."""
    session = recording.record(store, "call-1")
    with pytest.raises(UsageError):
        session.user_said("too early")
    with session:
        session.ended()
        with pytest.raises(UsageError):
            session.user_said("after the end")
    with pytest.raises(UsageError):
        session.user_said("too late")
    with pytest.raises(UsageError), session:
        pass
    assert types_of(store) == ["session.started", "session.ended"]


# -- one writer -----------------------------------------------------------------------------------


def test_a_stream_that_exists_is_not_begun_again(store: refold.Store) -> None:
    """Two sessions of one name conflict at once, and the first goes on undisturbed."""
    with recording.record(store, "call-1") as session:
        with pytest.raises(Conflict), recording.record(store, "call-1"):
            pytest.fail("the block of a session that exists was entered")
        session.user_said("Hi")
    assert types_of(store) == ["session.started", "user.utterance", "session.ended"]


def test_two_recorders_of_one_stream_conflict(store: refold.Store) -> None:
    """Who comes second is told, writes nothing, and does not end the other's session."""
    with recording.record(store, "call-1") as first:
        with pytest.raises(Conflict) as caught, recording.resume(store, "call-1") as second:
            first.user_said("Hi")
            second.user_said("Hello")
        assert caught.value.expected == 0
        assert any("call-1" in note for note in caught.value.__notes__)
        first.model_answered("Yes?")
    state = state_of(store)
    assert [turn.text for turn in state.transcript] == ["Hi", "Yes?"]
    assert state.end_reason == "completed"


def test_an_event_that_cannot_be_stored_leaves_the_session_going(store: refold.Store) -> None:
    """A refused event is the caller's to mend: the next one is recorded at the right version."""
    with recording.record(store, "call-1") as session:
        with pytest.raises(InvalidEvent):
            session.tool_returned("c1", object())
        session.user_said("Hi")
    assert types_of(store) == ["session.started", "user.utterance", "session.ended"]


def test_tools_may_return_on_threads(store: refold.Store) -> None:
    """Results that come in together take turns: all are stored, none conflicts."""
    calls = [slots_call(f"c{n}") for n in range(20)]
    with recording.record(store, "call-1") as session, ThreadPoolExecutor(8) as threads:
        session.model_answered(tool_calls=calls)
        list(threads.map(lambda call: session.tool_returned(call.call_id, call.call_id), calls))
    state = state_of(store)
    assert state.open_calls == {}
    assert all(u.answer and u.answer.event.result == u.event.call_id for u in state.tool_calls)


# -- going on later -------------------------------------------------------------------------------


def test_a_suspended_session_is_resumed_where_it_was(store: refold.Store) -> None:
    """A session may span several blocks: calls, tools and message ids go on as in one."""
    with recording.record(store, "call-1", agent=CLINIC) as session:
        session.user_said("Hi")
        session.model_answered("Wait.", tool_calls=[slots_call()])
        session.suspend()
    assert state_of(store).status == "open"
    with recording.resume(store, "call-1", metadata={"tenant": "t"}) as session:
        assert session.agent == CLINIC
        session.tool_returned("c1", [])
        session.model_answered("None.", tool_calls=[slots_call("c2")])
    result, ended = store.event("call-1@6"), store.event("call-1@10")
    assert result.metadata["causation"] == "call-1@5"
    assert (result.metadata["actor"], result.metadata["tenant"]) == ("slots", "t")
    assert store.event("call-1@9").event.effect == "read"
    assert ended.type == "session.ended"
    ids = [e.event.message_id for e in store.read("call-1") if e.type == "model.response"]
    assert len(set(ids)) == 2


def test_a_suspended_session_still_shows_an_exception(store: refold.Store) -> None:
    """Suspending is for a clean end of the block: an exception after it ends the session."""
    with pytest.raises(ValueError), recording.record(store, "call-1") as session:
        session.suspend()
        raise ValueError("late")
    assert ending_of(store) == ("error", "ValueError: late")


def test_only_an_open_session_can_be_resumed(store: refold.Store) -> None:
    """One that has ended and one that never was are refused, each as what it is."""
    with recording.record(store, "call-1"):
        pass
    with pytest.raises(UsageError), recording.resume(store, "call-1"):
        pytest.fail("the block of an ended session was entered")
    with pytest.raises(NotFound), recording.resume(store, "call-2"):
        pytest.fail("the block of a session that never was was entered")
    assert types_of(store) == ["session.started", "session.ended"]


def test_a_branch_can_be_gone_on_with(store: refold.Store) -> None:
    """A saved branch of an open session is a session: its new events follow its own history."""
    with recording.record(store, "call-1", agent=CLINIC) as session:
        session.user_said("Hi")
        session.model_answered("Hello")
    store.branch("call-1", at=2).save("call-1~b")
    with recording.resume(store, "call-1~b") as session:
        session.model_answered("Good morning")
    state = state_of(store, "call-1~b")
    assert [turn.text for turn in state.transcript] == ["Hi", "Good morning"]
    assert state_of(store).end_reason == "completed"


# -- asyncio --------------------------------------------------------------------------------------


def test_both_recorders_write_the_same() -> None:
    """The same calls leave the same bytes, metadata included, with and without asyncio."""
    calls: list[Callable[[Any], Any]] = [
        lambda s: s.user_said("Hi", party="Ann", words=[]),
        lambda s: s.model_answered("Wait.", tool_calls=[slots_call()], cost=Decimal("0.1")),
        lambda s: s.tool_returned("c1", [1], is_error=True, latency_ms=3),
        lambda s: s.model_responded(completion({"role": "assistant", "content": "Yes"})),
        lambda s: s.record(UserUtterance(text="Bye"), AgentUtterance(text="Bye")),
        lambda s: s.ended("transferred"),
    ]

    def in_threads() -> list[Any]:
        with refold.open("memory:", clock=ticking()) as store:
            with recording.record(store, "call-1", agent=CLINIC, metadata={"a": 1}) as session:
                for call in calls:
                    call(session)
            return [stored(recorded) for recorded in store.read("call-1")]

    async def in_a_loop() -> list[Any]:
        async with refold.open_async("memory:", clock=ticking()) as store:
            async with recording.record_async(
                store, "call-1", agent=CLINIC, metadata={"a": 1}
            ) as session:
                for call in calls:
                    await call(session)
            return [stored(recorded) async for recorded in store.read("call-1")]

    written = in_threads()
    assert len(written) == 12
    assert asyncio.run(in_a_loop()) == written


def stored(recorded: refold.Recorded) -> tuple[Any, ...]:
    return recorded.id, recorded.type, recorded.raw, recorded.metadata, recorded.occurred_at_us


def test_both_are_called_the_same() -> None:
    """The functions for asyncio take what the others take, and the sessions have the same names."""
    for name in ("record", "resume"):
        plain = inspect.signature(getattr(recording, name)).parameters
        awaited = inspect.signature(getattr(recording, f"{name}_async")).parameters
        assert [*map(str, plain.values())][1:] == [*map(str, awaited.values())][1:]

    def public(cls: type) -> set[str]:
        return {name for name in dir(cls) if not name.startswith("_")}

    assert public(Session) == public(AsyncSession)


Agent = Callable[[AsyncSession], Awaitable[None]]


async def run_agent(store: refold.AsyncStore, agent: Agent) -> None:
    async with recording.record_async(store, "call-1") as session:
        await agent(session)


async def ending(store: refold.AsyncStore) -> tuple[str | None, str | None]:
    state = (await store.fold("call-1", Conversation)).state
    return state.end_reason, state.error


def test_a_cancelled_task_leaves_a_cancelled_session(tmp_path: Path) -> None:
    """A task that is cancelled while its agent waits ends the session as cancelled."""

    async def main() -> None:
        async with refold.open_async(tmp_path / "log.db") as store:
            waiting = asyncio.Event()

            async def agent(session: AsyncSession) -> None:
                await session.user_said("Hi")
                waiting.set()
                await asyncio.Event().wait()

            task = asyncio.create_task(run_agent(store, agent))
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await ending(store) == ("cancelled", "CancelledError")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("held_up", "types"),
    [
        (0, ["session.started", "session.ended"]),
        (1, ["session.started", "user.utterance", "session.ended"]),
    ],
)
def test_an_append_that_was_under_way_stands_before_the_end(held_up: int, types: list[str]) -> None:
    """A task cancelled in the middle of an append, the first included, stores it and then the end.

    Otherwise the version would be unknown and the end would conflict, or never be written.
    """
    entered, go_on = threading.Event(), threading.Event()
    ticks = count(START_US)

    def clock() -> int:
        if (tick := next(ticks)) == START_US + held_up:
            entered.set()
            assert go_on.wait(timeout=30)
        return tick

    async def main() -> None:
        async with refold.open_async("memory:", clock=clock) as store:

            async def agent(session: AsyncSession) -> None:
                await session.user_said("Hi")

            task = asyncio.create_task(run_agent(store, agent))
            await asyncio.to_thread(entered.wait, 30)
            task.cancel()
            # The cancellation reaches the task before the append is let go.
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert not hasattr(caught.value, "__notes__")
            assert [recorded.type async for recorded in store.read("call-1")] == types
            assert await ending(store) == ("cancelled", "CancelledError")

    asyncio.run(main())


def test_a_start_that_conflicts_while_it_is_cancelled_ends_nothing() -> None:
    """Cancelled on the way into the block of a stream that exists: the other session goes on."""
    entered, go_on = threading.Event(), threading.Event()
    ticks = count(START_US)

    def clock() -> int:
        if (tick := next(ticks)) == START_US + 1:
            entered.set()
            assert go_on.wait(timeout=30)
        return tick

    async def main() -> list[str]:
        async with refold.open_async("memory:", clock=clock) as store:
            async with recording.record_async(store, "call-1") as session:

                async def agent(_: AsyncSession) -> None:
                    pytest.fail("the block of a session that exists was entered")

                task = asyncio.create_task(run_agent(store, agent))
                await asyncio.to_thread(entered.wait, 30)
                task.cancel()
                await asyncio.sleep(0)
                go_on.set()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                assert not hasattr(caught.value, "__notes__")
                await session.user_said("Hi")
            return [recorded.type async for recorded in store.read("call-1")]

    assert asyncio.run(main()) == ["session.started", "user.utterance", "session.ended"]


def test_a_call_cancelled_before_it_began_records_nothing() -> None:
    """A call whose task never ran leaves no event and no warning behind."""

    async def main() -> list[str]:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1") as session:
                task = asyncio.create_task(session.user_said("never"))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            return [recorded.type async for recorded in store.read("call-1")]

    assert asyncio.run(main()) == ["session.started", "session.ended"]


def test_tools_may_return_together() -> None:
    """Results awaited together take turns, in the order in which they were given."""

    async def main() -> list[Any]:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1") as session:
                await session.model_answered(tool_calls=[slots_call(f"c{n}") for n in range(20)])
                await asyncio.gather(*(session.tool_returned(f"c{n}", n) for n in range(20)))
            uses = (await store.fold("call-1", Conversation)).state.tool_calls
            return [use.answer and use.answer.event.result for use in uses]

    assert asyncio.run(main()) == list(range(20))


def test_an_async_session_ends_suspends_and_conflicts_alike() -> None:
    """Exceptions, suspension and a second recorder do to an async session what they do to any."""

    async def main() -> None:
        async with refold.open_async("memory:") as store:
            async with recording.record_async(store, "call-1", agent=CLINIC) as session:
                session.suspend()
            with pytest.raises(ValueError):
                async with recording.resume_async(store, "call-1") as session:
                    assert session.agent == CLINIC
                    with pytest.raises(Conflict):
                        async with recording.record_async(store, "call-1"):
                            pytest.fail("the block of a session that exists was entered")
                    raise ValueError("boom")
            assert await ending(store) == ("error", "ValueError: boom")
            with pytest.raises(UsageError):
                async with recording.resume_async(store, "call-1"):
                    pytest.fail("the block of an ended session was entered")

    asyncio.run(main())


@pytest.mark.parametrize("is_inside", [True, False])
def test_a_timeout_inside_is_an_error_and_around_is_a_cancellation(is_inside: bool) -> None:
    """A timeout within the block is an exception like any; one around it cancels the session."""

    async def main() -> tuple[str | None, str | None]:
        async with refold.open_async("memory:") as store:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as around:

                    async def agent(_: AsyncSession) -> None:
                        async with asyncio.timeout(None) as inside:
                            expiring = inside if is_inside else around
                            expiring.reschedule(asyncio.get_running_loop().time())
                            await asyncio.Event().wait()

                    await run_agent(store, agent)
            return await ending(store)

    reason, _ = asyncio.run(main())
    assert reason == ("error" if is_inside else "cancelled")


def test_a_name_that_is_taken_is_told_with_what_to_do(store: refold.Store) -> None:
    """The conflict of a new recording on an old stream: another name, or resume."""
    store.append("call-1", [refold.Event("note.taken", {})])
    with pytest.raises(refold.Conflict) as caught, recording.record(store, "call-1"):
        pytest.fail("the block was entered")
    assert (caught.value.stream, caught.value.actual) == ("call-1", 0)
    assert "resume" in caught.value.message
    assert "decide again" not in caught.value.message
