"""Recorded conversations in a few words: what an agent called, and what it was told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import refold
from refold.conversation.events import AgentConfigured, Effect, Tool, ToolCall, ToolResult
from refold.core.recorded import Recorded
from refold.replay import Call


class Asked(NamedTuple):
    """A call of a tool with one argument or several, and what it gave; ``gave`` None: nothing."""

    tool: str
    arguments: Any
    gave: Any = None


def tool(name: str, effect: Effect = "unknown", **properties: Any) -> Tool:
    """A tool that takes these properties."""
    return Tool(name, parameters={"type": "object", "properties": properties}, effect=effect)


def record(answers: Sequence[Sequence[Asked]], tools: Sequence[Tool] = ()) -> list[Recorded]:
    """A history in which each answer calls some tools at once, and gets all their results."""
    with refold.open("memory:") as store:
        store.append("call-1", [refold.Event.of(AgentConfigured(tools=[*tools]))])
        for number, asked in enumerate(answers):
            own = [f"c{number}.{n}" for n in range(len(asked))]
            calls: list[Any] = [
                ToolCall(call_id, one.tool, json.dumps(one.arguments), message_id=f"m{number}")
                for call_id, one in zip(own, asked, strict=True)
            ]
            results = [
                ToolResult(call_id, one.gave)
                for call_id, one in zip(own, asked, strict=True)
                if one.gave is not None
            ]
            told = [refold.Event.of(event) for event in [*calls, *results]]
            store.append("call-1", told or [refold.Event("note", {})])
        return list(store.read("call-1"))


def call(tool: str, arguments: Any = None) -> Call:
    """A call that a candidate makes."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return Call(tool, text)
