"""Files of OpenAI chat messages: fine-tuning lines, single documents, logs of single calls."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.conversation.chat_export import Loss, to_messages
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import line, real

SYSTEM = {"role": "system", "content": "Be kind"}
USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def write(tmp_path: Path, text: str, name: str = "talk.jsonl") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def configured(store: refold.Store, stream: str) -> Any:
    [one] = [e.event for e in store.read(stream) if e.type == "agent.configured"]
    return one


def test_a_line_is_a_list_of_messages_or_an_object(store: refold.Store, tmp_path: Path) -> None:
    """Both forms come back as the messages that they held."""
    path = write(tmp_path, json.dumps([SYSTEM, USER]) + "\n" + line(messages=[USER]))
    assert import_files(store, "openai-chat", [path]).imported == 2
    assert to_messages(store.read("chat-talk-1")) == [SYSTEM, USER]
    assert to_messages(store.read("chat-talk-2")) == [USER]


@pytest.mark.parametrize(
    ("document", "streams"),
    [
        ([SYSTEM, USER], ["chat-one"]),
        ({"messages": [USER]}, ["chat-one"]),
        ({"messages": [USER], "id": "x"}, ["chat-x"]),
        ([[USER], [USER]], ["chat-one-1", "chat-one-2"]),
        ([{"messages": [USER], "id": 5}, {"messages": [USER]}], ["chat-5", "chat-one-2"]),
    ],
)
def test_a_json_document_is_one_conversation_or_a_list_of_them(
    store: refold.Store, tmp_path: Path, document: Any, streams: list[str]
) -> None:
    """A .json file is read as a whole, however it is laid out."""
    path = write(tmp_path, json.dumps(document, indent=2), "one.json")
    assert import_files(store, "openai-chat", [path]).failed == 0
    assert [info.stream for info in store.streams()] == streams


@pytest.mark.parametrize("text", ["{", "[", "12", '"a"', "{}", "[]", '{"messages": []}', "[1, 2]"])
def test_a_document_that_is_no_conversation(store: refold.Store, tmp_path: Path, text: str) -> None:
    """It is told, and nothing is stored."""
    report = import_files(store, "openai-chat", [write(tmp_path, text, "one.json")])
    assert (report.imported, report.ok) == (0, False)
    assert store.log_head() == 0


def test_model_tools_and_parameters_stand_beside_the_prompt(
    store: refold.Store, tmp_path: Path
) -> None:
    """What the agent ran with is one agent.configured; each call knows its tool."""
    said = line(
        messages=[SYSTEM, USER, ASKS], tools=[TOOL], model="m-1", temperature=0.5, seed=None
    )
    import_files(store, "openai-chat", [write(tmp_path, said)])
    agent = configured(store, "chat-talk-1")
    assert (agent.prompt.text, agent.model, agent.params) == (
        "Be kind",
        "m-1",
        {"temperature": 0.5},
    )
    assert [tool.name for tool in agent.tools] == ["f"]
    [call] = [e.event for e in store.read("chat-talk-1") if e.type == "tool.call"]
    assert call.schema_hash == agent.tools[0].schema_hash != ""
    assert to_messages(store.read("chat-talk-1")) == [SYSTEM, USER, ASKS]


def test_without_a_prompt_the_configuration_comes_first(
    store: refold.Store, tmp_path: Path
) -> None:
    """A model without a system message is known, and adds no message."""
    import_files(store, "openai-chat", [write(tmp_path, line(messages=[USER], model="m-1"))])
    assert configured(store, "chat-talk-1").model == "m-1"
    assert to_messages(store.read("chat-talk-1")) == [USER]


def test_effects_of_a_tools_file_hold_for_the_tools_of_a_line(
    store: refold.Store, tmp_path: Path
) -> None:
    """The API's shape has no effect: a tools file says what the tools of a line do."""
    tools = write(tmp_path, json.dumps([{**TOOL, "effect": "write"}]), "tools.json")
    path = write(tmp_path, line(messages=[USER, ASKS], tools=[TOOL]) + line(messages=[USER, ASKS]))
    import_files(store, "openai-chat", [path], tools=tools)
    for stream in ("chat-talk-1", "chat-talk-2"):
        assert configured(store, stream).tools[0].effect == "write"
        assert [e.event.effect for e in store.read(stream) if e.type == "tool.call"] == ["write"]


def test_other_fields_are_kept(store: refold.Store, tmp_path: Path) -> None:
    """What no event holds stands with the start of the session, as it was."""
    said = line(messages=[USER], id="a", metadata={"x": [1.5]}, model=7, tools=None, user="u")
    import_files(store, "openai-chat", [write(tmp_path, said)])
    started = next(iter(store.read("chat-a")))
    assert started.metadata["openai_chat"] == {
        "id": "a", "metadata": {"x": [1.5]}, "model": 7, "tools": None, "user": "u",
    }  # fmt: skip


def test_what_is_lost_of_a_tool_is_listed(store: refold.Store, tmp_path: Path) -> None:
    """A field of a tool that has no place is named by file, line and pointer."""
    tool = {"type": "function", "function": {"name": "f", "strict": True}, "cache": 1}
    path = write(tmp_path, "\n" + line(messages=[USER], tools=[tool]))
    report = import_files(store, "openai-chat", [path])
    assert report.loss == [
        Loss(f"{path}:2", "openai-chat", "/tools/0/function/strict"),
        Loss(f"{path}:2", "openai-chat", "/tools/0/cache"),
    ]
    assert (report.loss_count, report.ok) == (2, True)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"messages": [{"role": "critic"}]}, "/messages/0/role"),
        ({"messages": [USER], "tools": [{"type": "function"}]}, "/tools/0/name"),
        ({"messages": [USER], "tools": {}}, "/tools"),
        ({"messages": [USER], "response": {"choices": [1]}}, "/response/choices/0"),
        ({"messages": [USER], "response": {"choices": [{}]}}, "/response/choices/0/message"),
    ],
)
def test_what_cannot_be_represented_is_named_by_its_path(
    store: refold.Store, tmp_path: Path, said: Any, path: str
) -> None:
    """A conversation that cannot be kept as it was is a problem with the place in it."""
    report = import_files(store, "openai-chat", [write(tmp_path, line(**said))])
    assert (report.imported, report.failed) == (0, 1)
    assert path in report.problems[0].message


def test_a_logged_call_ends_with_its_answer(store: refold.Store, tmp_path: Path) -> None:
    """Response, usage, exact cost, latency and time of a single call."""
    answer = {"content": "Hello", "tool_calls": [CALL]}
    usage = {
        "prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4},
    }  # fmt: skip
    choices = [{"message": answer, "finish_reason": "tool_calls"}, {"message": answer}]
    response = {"id": "r", "model": "m-1", "choices": choices, "usage": usage}
    path = tmp_path / "call.json"
    said = {"messages": [USER], "response": response, "latency_sec": 1.5, "timestamp": 1757015025.5}
    path.write_text(json.dumps(said)[:-1] + ', "cost": 0.010000000000000000001}')
    report = import_files(store, "openai-chat", [path])
    assert [loss.pointer for loss in report.loss] == ["/response/choices/1"]
    events = list(store.read("chat-call"))
    assert [e.type for e in events] == [
        "session.started", "agent.configured", "user.utterance", "model.response",
        "agent.utterance", "tool.call",
    ]  # fmt: skip
    told = events[3].event
    assert (told.usage.input_tokens, told.usage.output_tokens, told.usage.cached_tokens) == (
        10,
        2,
        4,
    )
    assert told.cost == Decimal("0.010000000000000000001")
    assert (told.latency_ms, told.finish_reason) == (1500.0, "tool_calls")
    assert {e.event.message_id for e in events[3:]} == {"m1"}
    assert {e.occurred_at_us for e in events} == {1757015025_500_000}
    assert to_messages(events) == [USER, {"role": "assistant", **answer}]
    assert events[0].metadata["openai_chat"]["response"]["usage"] == usage


@pytest.mark.parametrize("odd", [{"cost": "free"}, {"timestamp": "now"}, {"timestamp": 1e300},
                                 {"latency_sec": "x"}, {"response": "text"}, {"response": {}},
                                 {"timestamp": -1e15}, {"kwargs": 1}])  # fmt: skip
def test_odd_values_beside_the_messages_are_kept(
    store: refold.Store, tmp_path: Path, odd: dict[str, Any]
) -> None:
    """What is not understood is kept as it was and stops nothing."""
    said = {"messages": [USER], "response": {"choices": [{"message": {"content": "a"}}]}} | odd
    report = import_files(store, "openai-chat", [write(tmp_path, line(**said))])
    assert (report.imported, report.ok) == (1, True)
    beside = next(iter(store.read("chat-talk-1"))).metadata["openai_chat"]
    assert odd.items() <= beside.items()


def test_recorded_calls_of_a_coding_agent(store: refold.Store) -> None:
    """Twelve real files: ten single calls with their price, two whole conversations."""
    folder = real("openhands")
    paths = sorted(folder.glob("*.json"))
    report = import_files(store, "openai-chat", paths)
    assert (report.imported, report.failed) == (12, 0)
    responses = list(store.read_all(types=["model.response"]))
    assert len(responses) == 10
    for path in paths:
        whole = msgspec.json.decode(path.read_bytes())
        events = list(store.read(f"chat-{path.stem}"))
        if isinstance(whole, list):
            assert to_messages(events) == whole
            continue
        answer = whole["response"]["choices"][0]["message"]
        assert to_messages(events) == [*whole["messages"], answer]
        [told] = [e.event for e in events if e.type == "model.response"]
        assert float(told.cost) == whole["cost"]
        assert told.usage.output_tokens == whole["response"]["usage"]["completion_tokens"]
