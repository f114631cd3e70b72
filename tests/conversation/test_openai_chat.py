"""Chat messages to events and back: exact, and honest about what has no place."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation.chat_export import Loss, to_messages
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelResponse,
    Prompt,
    SessionEnded,
    SessionStarted,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.conversation.openai_chat import from_messages
from refold.core.event import Event
from refold.core.recorded import Recorded
from refold.errors import InvalidEvent

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TAU_BENCH = SHARED_DATA / "tau-bench" / "gpt-4o-airline.json"


def recorded(events: list[Any]) -> list[Recorded]:
    """The events as a log gives them back: through their stored bytes."""
    if not events:
        return []
    with refold.open("memory:") as store:
        store.append("chat-1", events)
        return list(store.read("chat-1"))


def round_trip(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return to_messages(recorded(list(from_messages(messages))))


def exact(value: Any) -> bytes:
    """A form in which 1, 1.0 and true differ, and the order of keys does not."""
    return msgspec.json.encode(value, order="deterministic")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("ab~/0", max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
parts = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts})
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": json_values})
    | json_values,
    max_size=3,
)
contents = texts | st.none() | parts | json_values
names = st.sampled_from(["look_up", "book", ""])
tool_calls = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries(
        {"name": names}, optional={"arguments": texts | st.just('{"a": 1}') | json_values})},
    optional={"id": texts | json_values, "type": st.just("function"), "index": st.integers()},
) | st.fixed_dictionaries(
    {"type": st.just("custom"), "custom": st.fixed_dictionaries({"name": names, "input": texts})},
    optional={"id": texts},
)  # fmt: skip
odd_fields: dict[str, st.SearchStrategy[Any]] = {
    "content": contents,
    "name": texts | json_values,
    "refusal": texts | st.none(),
    "audio": json_values,
    "x": json_values,
}
messages_of_people = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user"])},
    optional={**odd_fields, "tool_calls": json_values},
)
assistants = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        **odd_fields,
        "tool_calls": st.lists(tool_calls, max_size=3) | st.none(),
        "function_call": st.none()
        | st.fixed_dictionaries({"name": names}, optional={"arguments": texts, "x": json_values}),
    },
)
tools = st.fixed_dictionaries(
    {"role": st.sampled_from(["tool", "function"])},
    optional={**odd_fields, "tool_call_id": texts | json_values},
)
conversations = st.lists(messages_of_people | assistants | tools, max_size=8)


@given(conversations)
def test_messages_come_back_as_they_were(messages: list[dict[str, Any]]) -> None:
    """Any list of chat messages, odd ones included, is the same after events and their bytes."""
    assert exact(round_trip(messages)) == exact(messages)


@given(conversations)
def test_nothing_of_imported_messages_is_lost(messages: list[dict[str, Any]]) -> None:
    """Exporting what was imported from messages alone loses nothing."""
    assert to_messages(recorded(list(from_messages(messages)))).loss == []


def tau_bench() -> list[dict[str, Any]]:
    if not TAU_BENCH.exists():
        pytest.skip(f"missing {TAU_BENCH.name} of the shared test data")
    conversations: list[dict[str, Any]] = msgspec.json.decode(TAU_BENCH.read_bytes())
    return conversations


def test_real_conversations_come_back_field_by_field() -> None:
    """200 recorded conversations, 5,308 messages, are the same after import and export."""
    compared = 0
    for conversation in tau_bench():
        given_messages = conversation["traj"]
        got = round_trip(given_messages)
        assert len(got) == len(given_messages)
        for before, after in zip(given_messages, got, strict=True):
            assert before.keys() == after.keys()
            for field in before:
                assert exact(after[field]) == exact(before[field])
            compared += 1
    assert compared == 5308


def test_real_conversations_need_no_repair() -> None:
    """The usual shapes export from the plain events: metadata is for the odd ones alone."""
    odd = [e for c in tau_bench() for e in from_messages(c["traj"]) if e.metadata]
    assert odd == []


def test_each_role_has_its_event() -> None:
    """Prompt, words of both sides, call and result become the events that say so."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1.5}'}}]
    events = recorded(
        list(
            from_messages(
                [
                    {"role": "system", "content": "Be kind"},
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "One moment", "tool_calls": calls},
                    {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "42"},
                ]
            )
        )
    )
    assert [e.type for e in events] == [
        "agent.configured", "user.utterance", "agent.utterance", "tool.call", "tool.result",
    ]  # fmt: skip
    assert events[0].event.prompt.text == "Be kind"
    assert len(events[0].event.prompt.hash) == 64
    assert events[2].event == AgentUtterance(text="One moment", message_id="m2")
    assert events[3].event == ToolCall(
        call_id="c1", name="f", arguments='{"a":1.5}', parsed={"a": 1.5}, message_id="m2"
    )
    assert events[4].event == ToolResult(call_id="c1", result="42", name="f")


def test_arguments_that_are_not_json_stay_the_string_they_are() -> None:
    """Broken arguments are kept verbatim and have no parsed form."""
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}]
    messages: list[Any] = [{"role": "assistant", "content": None, "tool_calls": calls}]
    call = recorded(list(from_messages(messages)))[0].event
    assert (call.arguments, call.parsed) == ('{"a": ', None)
    assert round_trip(messages) == messages


def test_a_legacy_function_call_is_a_tool_call() -> None:
    """function_call becomes a tool.call, and comes back as function_call."""
    legacy = {"name": "f", "arguments": "{}"}
    messages: list[Any] = [
        {"role": "assistant", "content": None, "function_call": legacy},
        {"role": "function", "name": "f", "content": "ok"},
    ]
    assert [e.type for e in recorded(list(from_messages(messages)))] == ["tool.call", "tool.result"]
    assert round_trip(messages) == messages


def test_a_custom_tool_takes_text() -> None:
    """Its call says so and has no parsed form; it exports from the plain events."""
    custom = {"id": "c", "type": "custom", "custom": {"name": "run", "input": "1.0"}}
    messages: list[Any] = [{"role": "assistant", "content": None, "tool_calls": [custom]}]
    (call,) = recorded(list(from_messages(messages)))
    assert (call.event.kind, call.event.arguments, call.event.parsed) == ("custom", "1.0", None)
    assert "openai" not in call.metadata
    assert round_trip(messages) == messages


def test_a_refusal_is_what_the_agent_said() -> None:
    """A refusal is the text of the answer where there is no other, and comes back as refusal."""
    messages = [{"role": "assistant", "content": None, "refusal": "I cannot"}]
    assert recorded(list(from_messages(messages)))[0].event.text == "I cannot"
    assert round_trip(messages) == messages


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([{"role": "user", "content": "a"}, "hello"], "/1"),
        ([{"content": "a"}], "/0/role"),
        ([{"role": "critic", "content": "a"}], "/0/role"),
        ([{"role": "user", "content": float("nan")}], "/0/content"),
        ([{"role": "user", "content": [{"a/b": float("inf")}]}], "/0/content/0/a~1b"),
        ([{"role": "user", "content": "a", "x": Decimal(1)}], "/0/x"),
        ([{"role": "user", "content": "a", "x": (1, 2)}], "/0/x"),
        ([{"role": "user", "content": {1: "a"}}], "/0/content"),
        ([{"role": "user", "content": "\ud800"}], "/0/content"),
        ([{"role": "assistant", "tool_calls": {"id": 1}}], "/0/tool_calls"),
        ([{"role": "assistant", "tool_calls": [1]}], "/0/tool_calls/0"),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "/0/tool_calls/0/function"),
        ([{"role": "assistant", "tool_calls": [{"custom": {}}]}], "/0/tool_calls/0/custom/name"),
        ([{"role": "assistant", "function_call": {}}], "/0/function_call/name"),
    ],
)  # fmt: skip
def test_what_cannot_be_represented_is_refused(messages: list[Any], path: str) -> None:
    """A message that would come back changed is refused with its place, never altered."""
    with pytest.raises(InvalidEvent) as refused:
        from_messages(messages)
    assert refused.value.path == path


def test_a_message_nested_too_deep_is_refused() -> None:
    """Nesting has a bound, and refusing it needs no deep recursion."""
    deep: Any = "leaf"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidEvent) as refused:
        from_messages([{"role": "user", "content": deep}])
    assert refused.value.path.startswith("/0/content/0/0")


@pytest.mark.parametrize("messages", ["text", {"role": "user"}, None, iter([])])
def test_messages_must_be_a_list(messages: Any) -> None:
    """A string or a single message in the place of a list is refused."""
    with pytest.raises(InvalidEvent):
        from_messages(messages)


def live() -> list[Any]:
    """A history as a recorder writes it: parallel calls, a price, no trace of any chat API."""
    return [
        SessionStarted(channel="voice"),
        AgentConfigured(prompt=Prompt(text="Be kind"), model="m-1"),
        UserUtterance(text="Two things", confidence=0.9),
        ModelResponse(model="m-1", cost=Decimal("0.01"), message_id="a1"),
        AgentUtterance(text="Let me look", message_id="a1"),
        ToolCall(call_id="c1", name="f", arguments="{}", effect="read", message_id="a1"),
        ToolCall(call_id="c2", name="g", arguments="{}", message_id="a1"),
        ToolResult(call_id="c1", result={"free": ["9:00"]}, latency_ms=3.0),
        ToolResult(call_id="c2", result="no", is_error=True),
        AgentUtterance(text="At nine", message_id="a2"),
        AgentConfigured(model="m-2"),
        SessionEnded(),
    ]


def test_a_live_recorded_history_gives_valid_chat_messages() -> None:
    """Words and calls of one answer are one message, results are text, the rest is left out."""
    assert to_messages(recorded(live())) == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Two things"},
        {
            "role": "assistant",
            "content": "Let me look",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"free":["9:00"]}'},
        {"role": "tool", "tool_call_id": "c2", "content": "no"},
        {"role": "assistant", "content": "At nine"},
    ]


def test_what_has_no_place_in_chat_messages_is_listed() -> None:
    """Each event left out is a loss by id and type, each field by its pointer."""
    assert to_messages(recorded(live())).loss == [
        Loss("chat-1@0", "session.started"),
        Loss("chat-1@1", "agent.configured", "/model"),
        Loss("chat-1@2", "user.utterance", "/confidence"),
        Loss("chat-1@3", "model.response"),
        Loss("chat-1@5", "tool.call", "/effect"),
        Loss("chat-1@7", "tool.result", "/latency_ms"),
        Loss("chat-1@8", "tool.result", "/is_error"),
        Loss("chat-1@10", "agent.configured"),
        Loss("chat-1@11", "session.ended"),
    ]


def test_calls_of_one_answer_are_one_message_though_a_result_came_between() -> None:
    """A result that is recorded before its answer's last call does not split the answer."""
    messages = to_messages(
        recorded(
            [
                ToolCall(call_id="c1", name="f", message_id="a"),
                ToolResult(call_id="c1", result="1"),
                ToolCall(call_id="c2", name="f", message_id="a"),
                ToolResult(call_id="c2", result="2"),
            ]
        )
    )
    assert [m["role"] for m in messages] == ["assistant", "tool", "tool"]
    assert [call["id"] for call in messages[0]["tool_calls"]] == ["c1", "c2"]


def test_calls_without_a_message_id_belong_to_the_answer_before_them() -> None:
    """Events written by hand, without message ids, are grouped by standing side by side."""
    messages = to_messages(
        recorded(
            [
                AgentUtterance(text="Looking"),
                ToolCall(call_id="c1", name="f"),
                ToolCall(call_id="c2", name="f"),
                ToolResult(call_id="c1", result="1"),
                ToolCall(call_id="c3", name="f"),
            ]
        )
    )
    assert [len(m.get("tool_calls", [])) for m in messages] == [2, 0, 1]


def test_words_recorded_after_their_calls_join_the_same_message() -> None:
    """The order of an answer's words and calls in the log does not split it."""
    messages = to_messages(
        recorded(
            [
                ToolCall(call_id="c1", name="f", message_id="a"),
                AgentUtterance(text="Looking", message_id="a"),
            ]
        )
    )
    assert [(m["content"], len(m["tool_calls"])) for m in messages] == [("Looking", 1)]


def test_a_result_stands_behind_its_call_whatever_was_said_meanwhile() -> None:
    """A model accepts nothing between a call and its results: who speaks then is heard after."""
    calls = [ToolCall(call_id=one, name="f", message_id="a") for one in ("c1", "c2")]
    first, second = (ToolResult(call_id=call.call_id, result="ok") for call in calls)
    silent, still = AgentConfigured(prompt=Prompt(text="Wait.")), UserUtterance(text="Still there?")
    said = [*calls, still, first, silent, second, AgentUtterance(text="Done", message_id="b")]
    messages = to_messages(recorded([UserUtterance(text="Hi"), *said]))
    assert [m["role"] for m in messages] == [
        "user", "assistant", "tool", "tool", "user", "system", "assistant",
    ]  # fmt: skip


def test_a_result_that_was_imported_from_behind_other_messages_goes_back_there() -> None:
    """Messages come back as they were, those that no model accepts too."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages: list[Any] = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "user", "content": "Still there?"},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]
    assert round_trip(messages) == messages


def test_who_of_several_spoke_is_a_loss_unless_the_message_says_it() -> None:
    """A party goes back into the name that it came from, and is made a name of nowhere else."""
    messages = [{"role": "assistant", "name": "coder", "content": "Done."}]
    back = to_messages(recorded(list(from_messages(messages))))
    assert (back, back.loss) == (messages, [])
    live = to_messages(recorded([AgentUtterance(text="Done.", party="coder")]))
    assert live == [{"role": "assistant", "content": "Done."}]
    assert live.loss == [Loss("chat-1@0", "agent.utterance", "/party")]


def test_changing_exported_messages_leaves_the_history_alone() -> None:
    """What is exported belongs to the caller: no list or object in it is the event's own."""
    messages = [{"role": "user", "content": "a", "x": {"y": [1]}}]
    history = recorded(list(from_messages(messages)))
    to_messages(history)[0]["x"]["y"].append(2)
    assert to_messages(history) == messages


def test_events_of_other_makers_are_a_loss_and_no_error() -> None:
    """An event type that nobody registered is listed, whatever its payload."""
    exported = to_messages(recorded([Event("x.y", [1])]))
    assert (exported, exported.loss) == ([], [Loss("chat-1@0", "x.y")])


def test_metadata_of_the_same_name_that_is_no_repair_is_left_aside() -> None:
    """A recorder that says something else under ``openai`` breaks no export."""
    said = Event.of(UserUtterance(text="Hi"), metadata={"openai": "gpt"})
    assert to_messages(recorded([said])) == [{"role": "user", "content": "Hi"}]


def test_bytes_of_the_wire_are_no_loss() -> None:
    """What was said is told beside them; they had been listed by the hundred."""
    with refold.open("memory:") as store:
        wire = [
            refold.Event(f"wire.{what}", {"text": ""}) for what in ("request", "piece", "answer")
        ]
        store.append("chat-1", [UserUtterance("Hi"), *wire])
        exported = to_messages(store.read("chat-1"))
    assert (exported, exported.loss) == ([{"role": "user", "content": "Hi"}], [])
