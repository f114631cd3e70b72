"""Decisions are found in a history as the messages of a chat would show them."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

import refold
from refold.conversation.chat_export import to_messages
from refold.conversation.events import (
    AgentUtterance,
    ModelResponse,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.conversation.voice import SpeechStopped
from refold.replay import Call, decisions
from refold.replay.decision import Decision
from tests.replay.stories import record


def found_in(*events: object) -> list[Decision]:
    """The decisions of a history of these events."""
    with refold.open("memory:") as store:
        store.append("call-1", list(events))
        return decisions(store.read("call-1"))


def say(text: str, message_id: str | None = None) -> AgentUtterance:
    return AgentUtterance(text=text, message_id=message_id)


def call(name: str, message_id: str | None = None) -> ToolCall:
    return ToolCall(call_id=f"id-{name}", name=name, message_id=message_id)


RESULT = ToolResult(call_id="id-a", result="ok")
USER = UserUtterance(text="Hi")


def test_a_decision_says_where_it_stands_and_what_it_took() -> None:
    """Index, event, version, words, calls, usage, cost and latency come from its own events."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        first, second = decisions(store.read("call-1"))
    assert (first.index, first.at, first.version) == (0, "call-1@2", 2)
    assert first.action.calls == (Call("lookup", '{"id": "B1"}', "c1"),)
    assert first.action.text == ""
    assert first.action.usage == Usage(input_tokens=20, output_tokens=5)
    assert (str(first.action.cost), first.action.latency_ms) == ("0.002", 40.0)
    assert (second.index, second.at, second.action.text) == (1, "call-1@5", "At gate 4.")


def test_a_cost_in_another_currency_is_not_one_in_dollars() -> None:
    """What was said in yen is not known in dollars; it is left out, not taken for them."""
    response = ModelResponse(cost=Decimal("100"), currency="JPY", message_id="m")
    (decision,) = found_in(USER, response, say("x", "m"))
    assert decision.action.cost is None


@pytest.mark.parametrize(
    ("events", "shape"),
    [
        pytest.param([say("x", "m"), call("a", "m")], [("x", "a")], id="one id is one answer"),
        pytest.param(
            [call("a", "m"), RESULT, call("b", "m")], [("", "ab")], id="calls run in turn"
        ),
        pytest.param([say("x", "m"), say("y", "n")], [("x", ""), ("y", "")], id="two ids are two"),
        pytest.param(
            [say("x", "m"), USER, say("y", "m")],
            [("x", ""), ("y", "")],
            id="an id may come again after the user",
        ),
        pytest.param([say("x"), call("a"), call("b")], [("x", "ab")], id="calls join the words"),
        pytest.param([say("x"), say("y")], [("x", ""), ("y", "")], id="words begin an answer"),
        pytest.param([call("a"), RESULT, call("b")], [("", "a"), ("", "b")], id="results part"),
        pytest.param([say("x"), USER, call("a")], [("x", ""), ("", "a")], id="the user parts"),
        pytest.param(
            [say("x"), SpeechStopped(party="user", offset_ms=1), call("a")],
            [("x", "a")],
            id="what is no message parts nothing",
        ),
        pytest.param([ModelResponse(message_id="m")], [], id="a response alone is no answer"),
        pytest.param([USER], [], id="nothing answered"),
    ],
)
def test_events_are_one_answer_or_several(
    events: Sequence[object], shape: Sequence[tuple[str, str]]
) -> None:
    """Words and calls belong together by message id, or without ids by the turn."""
    found = [(d.action.text, "".join(c.name for c in d.action.calls)) for d in found_in(*events)]
    assert found == list(shape)


def test_decisions_are_the_assistant_messages_of_the_export() -> None:
    """The exporter and the decisions cut a history without ids in the same places."""
    events = [USER, say("x"), call("a"), RESULT, call("b"), say("y"), say("z"), call("c")]
    with refold.open("memory:") as store:
        store.append("call-1", events)
        history = list(store.read("call-1"))
    assistant = [m for m in to_messages(history) if m["role"] == "assistant"]
    exported = [
        (m["content"] or "", [c["function"]["name"] for c in m.get("tool_calls", ())])
        for m in assistant
    ]
    assert exported == [
        (d.action.text, [c.name for c in d.action.calls]) for d in decisions(history)
    ]


def test_a_response_without_id_belongs_to_the_answer_it_stands_beside() -> None:
    """Usage before or after the words of its turn is theirs, and is not taken twice."""
    first, second = Usage(input_tokens=1), Usage(input_tokens=2)
    before = found_in(ModelResponse(usage=first), say("x"), ModelResponse(usage=second), say("y"))
    assert [d.action.usage for d in before] == [first, second]
    after = found_in(say("x"), ModelResponse(usage=first), USER, say("y"))
    assert [d.action.usage for d in after] == [first, None]
