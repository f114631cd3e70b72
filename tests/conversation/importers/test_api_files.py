"""Anthropic Messages and the Responses API: requests, messages, items and logged calls."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.importers import import_files
from refold.conversation.state import ConversationState
from tests.conversation.importers.inputs import line

ANTHROPIC = [
    {"role": "user", "content": "Friday?"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "slots", "input": {"day": "Fri"}},
        ],
    },
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "09:00"}],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Nine."}]},
]
REQUEST = {
    "model": "m",
    "system": "You book.",
    "max_tokens": 9,
    "tools": [{"name": "slots", "input_schema": {"type": "object", "properties": {}}}],
    "messages": ANTHROPIC,
}
ANSWER = {
    "id": "msg",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Good."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "output_tokens": 2},
}
ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": "Friday?"}]},
    {"type": "function_call", "call_id": "c", "name": "slots", "arguments": '{"day":"Fri"}'},
    {"type": "function_call_output", "call_id": "c", "output": "09:00"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Nine."}]},
]
CALL = {"model": "m", "input": ITEMS, "instructions": "You book.", "temperature": 0.5}
RESPONSE = {
    "id": "resp",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": ITEMS[3:],
    "usage": {"input_tokens": 7, "output_tokens": 2},
}


def state_of(store: refold.Store) -> ConversationState:
    """The one conversation that there is."""
    (info,) = store.streams()
    return store.fold(info.stream, Conversation).state


def lines(values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


FORMS: dict[str, tuple[str, str]] = {
    "anthropic-request": ("anthropic-messages", json.dumps(REQUEST)),
    "anthropic-pretty": ("anthropic-messages", json.dumps(REQUEST, indent=2)),
    "anthropic-line": ("anthropic-messages", line(**REQUEST)),
    "anthropic-messages": ("anthropic-messages", json.dumps(ANTHROPIC)),
    "anthropic-message-lines": ("anthropic-messages", lines(ANTHROPIC)),
    "anthropic-batch": ("anthropic-messages", line(custom_id="b", params=REQUEST)),
    "anthropic-logged": ("anthropic-messages", line(request=REQUEST, response=ANSWER)),
    "responses-call": ("openai-responses", json.dumps(CALL)),
    "responses-items": ("openai-responses", json.dumps(ITEMS, indent=1)),
    "responses-item-lines": ("openai-responses", lines(ITEMS)),
    "responses-batch": ("openai-responses", line(custom_id="b", method="POST", body=CALL)),
    "responses-both": ("openai-responses", json.dumps({**CALL, **RESPONSE})),
    "responses-logged": (
        "openai-responses",
        line(request=CALL, response={"status_code": 200, "body": RESPONSE}),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_comes_in_whole_in_every_form(
    store: refold.Store, tmp_path: Path, form: str
) -> None:
    """Found out by itself: the call with its result, the words of each side, nothing lost."""
    format_, text = FORMS[form]
    (tmp_path / "talk").write_text(text)
    report = import_files(store, None, [tmp_path / "talk"])
    assert ([one.format for one in report.taken], report.problems) == ([format_], [])
    assert (report.imported, report.loss) == (1, [])
    state = state_of(store)
    (use,) = state.tool_calls
    assert (use.event.name, use.event.parsed) == ("slots", {"day": "Fri"})
    assert use.answer is not None
    assert use.answer.event.result == "09:00"
    assert (state.open_calls, state.unmatched_results) == ({}, [])
    assert [turn.text for turn in state.transcript if turn.role == "user"] == ["Friday?"]
    agents = [turn.text for turn in state.transcript if turn.role == "agent"]
    assert "Nine." in agents
    if "logged" in form or "both" in form:
        assert agents[-1] in ("Good.", "Nine.")
        assert (state.usage.input_tokens, state.usage.output_tokens) == (7, 2)


@pytest.mark.parametrize("value", [REQUEST, CALL])
def test_the_agent_is_configured(store: refold.Store, tmp_path: Path, value: Any) -> None:
    """Its prompt, model, parameters and tools are in force, as a replay would ask with them."""
    (tmp_path / "talk.json").write_text(json.dumps(value))
    import_files(store, None, [tmp_path / "talk.json"])
    agent = state_of(store).agent
    assert agent is not None and agent.prompt is not None
    assert (agent.prompt.text, agent.model) == ("You book.", "m")
    assert agent.params == {"max_tokens": 9} if "system" in value else {"temperature": 0.5}
    if "tools" in value:
        assert agent.tools[0].parameters == {"type": "object", "properties": {}}


def test_each_line_of_requests_is_a_conversation(store: refold.Store, tmp_path: Path) -> None:
    """Named by its id, or by its place in the file."""
    (tmp_path / "calls.jsonl").write_text(line(**REQUEST) + line(**REQUEST, id="x"))
    import_files(store, None, [tmp_path / "calls.jsonl"], agent="booker")
    assert [one.stream for one in store.streams()] == ["claude-calls-1", "claude-x"]
    agent = store.fold("claude-x", Conversation).state.agent
    assert agent is not None and agent.agent == "booker"


def test_names_times_and_other_fields_are_kept(store: refold.Store, tmp_path: Path) -> None:
    """Who spoke is shown; a time is that of its message; what no event says stands beside it."""
    said = {"role": "assistant", "name": "coder", "content": "Done.", "mood": "calm"}
    timed = {"role": "user", "content": [{"type": "input_text", "text": "Go"}], "timestamp": 1.7e9}
    (tmp_path / "t.json").write_text(json.dumps({"model": "m", "input": [timed, said], "run": 7}))
    import_files(store, None, [tmp_path / "t.json"])
    first, *_, last = store.read("response-t")
    assert first.metadata["openai.responses"] == {"run": 7}
    assert last.metadata["openai.responses"] == {"name": "coder", "mood": "calm"}
    assert (last.event.party, last.occurred_at_us) == ("coder", 1_700_000_000_000_000)


@pytest.mark.parametrize(
    ("format_", "value", "says"),
    [
        ("openai-chat", REQUEST, "anthropic-messages"),
        ("openai-chat", CALL, "openai-responses"),
        ("anthropic-messages", {"messages": [{"role": "robot", "content": "x"}]}, "robot"),
        (
            "anthropic-messages",
            {"messages": [{"role": "assistant", "tool_calls": [], "content": ""}]},
            "chat completions",
        ),
        ("openai-responses", {"input": []}, "input"),
        ("anthropic-messages", [], "no conversations"),
    ],
)
def test_what_would_be_misread_is_refused(
    store: refold.Store, tmp_path: Path, format_: str, value: Any, says: str
) -> None:
    """It is told why, and nothing is stored."""
    (tmp_path / "t.json").write_text(json.dumps(value))
    report = import_files(store, format_, [tmp_path / "t.json"])
    assert says in report.problems[0].message
    assert store.log_head() == 0


def test_a_block_that_is_not_known_is_told_and_kept(store: refold.Store, tmp_path: Path) -> None:
    """It is a loss with its place, and stands in the parts of the words."""
    odd = {"type": "hologram", "data": "x"}
    talk = [{"role": "user", "content": [{"type": "text", "text": "See"}, odd]}]
    (tmp_path / "t.json").write_text(json.dumps({"system": "S", "messages": talk}))
    report = import_files(store, None, [tmp_path / "t.json"])
    assert [one.pointer for one in report.loss] == ["/messages/0/content/1"]
    *_, said = store.read("claude-t")
    assert odd in said.event.parts


def test_a_broken_line_among_messages_refuses_the_conversation(
    store: refold.Store, tmp_path: Path
) -> None:
    """Without one of its messages it would be another conversation."""
    (tmp_path / "t.jsonl").write_text(lines(ANTHROPIC[:2]) + "{\n" + lines(ANTHROPIC[2:]))
    report = import_files(store, None, [tmp_path / "t.jsonl"])
    assert [one.line for one in report.problems] == [3]
    assert store.log_head() == 0


def test_a_result_without_a_call_is_told(store: refold.Store, tmp_path: Path) -> None:
    """By the place of the message that holds it."""
    (tmp_path / "t.json").write_text(json.dumps({**REQUEST, "messages": ANTHROPIC[2:]}))
    report = import_files(store, None, [tmp_path / "t.json"])
    assert [one.pointer for one in report.loss] == ["/messages/0"]
    assert state_of(store).cost == dict[str, Decimal]()


def test_the_outer_conversation_is_the_one(store: refold.Store, tmp_path: Path) -> None:
    """A log may hold it beside its last request, of which the rest is taken and kept."""
    ask = {"role": "user", "content": "Hi"}
    talk = [ask, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go"}]
    request = {"model": "m", "messages": [ask]}
    value = {"id": "call-9", "messages": talk, "request": request}
    (tmp_path / "t.json").write_text(json.dumps(value))
    import_files(store, "openai-chat", [tmp_path / "t.json"])
    state = state_of(store)
    assert [turn.text for turn in state.transcript] == ["Hi", "Yes?", "Go"]
    assert state.agent is not None and state.agent.model == "m"
    first, *_ = store.read("chat-call-9")
    assert first.metadata["openai_chat"]["request"] == request


@pytest.mark.parametrize(
    "item",
    [
        {"type": "mcp_call", "id": "c", "name": "look", "arguments": "{}", "output": "09:00"},
        {"type": "custom_tool_call", "call_id": "c", "name": "look", "input": "Fri"},
    ],
)
def test_lines_that_are_items_are_one_conversation(
    store: refold.Store, tmp_path: Path, item: Any
) -> None:
    """Though the first has an output or an input, as a call has."""
    (tmp_path / "t.jsonl").write_text(lines([item, *ITEMS]))
    report = import_files(store, "openai-responses", [tmp_path / "t.jsonl"])
    assert (report.imported, report.failed) == (1, 0)
    assert [turn.text for turn in state_of(store).transcript] == ["Friday?", "Nine."]
