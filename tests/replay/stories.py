"""Small recorded conversations, and candidates to replay them with."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import refold
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelResponse,
    Prompt,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.replay import Action, Call, ChatRequest, Variant, branch_name, compare, replay
from refold.replay.runner import ReplaySummary
from tests.support.chat_server import Body

VARIANT = Variant(label="test")
BRANCH = branch_name("call-1", VARIANT)
LOOKUP = Tool(
    name="lookup",
    description="Find a booking.",
    parameters={"type": "object", "properties": {"id": {"type": "string"}}},
    effect="read",
)
CONFIGURED = AgentConfigured(
    prompt=Prompt("Be kind."), model="small", params={"temperature": 0}, tools=[LOOKUP]
)


def opening() -> list[object]:
    """The configuration and the customer's first words: versions 0 and 1."""
    return [CONFIGURED, UserUtterance(text="Where is booking B1?")]


def asks_tool() -> list[object]:
    """A decision to call a tool, at versions 2 and 3, and what the tool gave, at 4."""
    return [
        ModelResponse(
            model="small",
            usage=Usage(input_tokens=20, output_tokens=5),
            cost=Decimal("0.002"),
            latency_ms=40.0,
            message_id="m2",
        ),
        ToolCall(call_id="c1", name="lookup", arguments='{"id": "B1"}', message_id="m2"),
        ToolResult(call_id="c1", result='{"gate": 4}', name="lookup"),
    ]


def tells() -> list[object]:
    """A decision to answer in words, at version 5."""
    return [AgentUtterance(text="At gate 4.", message_id="m4")]


def record(store: refold.Store, stream: str, *parts: Sequence[object]) -> str:
    """Record a conversation; by default one with two decisions, at versions 2 and 5."""
    for part in parts or (opening(), asks_tool(), tells()):
        store.append(stream, list(part))
    return stream


def as_recorded(request: ChatRequest) -> Action:
    """A candidate that does what these conversations hold, words and all."""
    if request.messages[-1]["role"] == "user":
        return Action(calls=(Call("lookup", '{"id": "B1"}', "x1"),))
    return Action(text="At gate 4.")


def only_words(request: ChatRequest) -> dict[str, Any]:
    """A candidate that never calls a tool; it answers with a message."""
    return {"role": "assistant", "content": "One moment."}


def as_message(body: Body) -> Body:
    """What was recorded, as a server says it."""
    action = as_recorded(ChatRequest(messages=body["messages"]))
    calls = [
        {
            "id": c.call_id,
            "type": "function",
            "function": {"name": c.name, "arguments": c.arguments},
        }
        for c in action.calls
    ]
    message: Body = {"role": "assistant", "content": action.text or None}
    return message | ({"tool_calls": calls} if calls else {})


def types_on(store: refold.Store, branch: str) -> list[str]:
    """The types of a branch's own events."""
    return [event.type for event in store.read(branch) if event.stream == branch]


def levels(store: refold.Store, *streams: str, variant: Variant = VARIANT) -> list[str]:
    compared = compare(store, streams or ["call-1"], variant).conversations
    return [decision.level for c in compared for decision in c.decisions]


def run(
    store: refold.Store, candidate: Any = as_recorded, *streams: str, **options: Any
) -> ReplaySummary:
    return replay(store, streams or ["call-1"], VARIANT, candidate, **options)
