"""What a candidate is asked: the recorded conversation so far, with the variant in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from refold.conversation.chat_export import to_messages
from refold.conversation.events import AgentConfigured, Tool
from refold.core.recorded import Recorded, parts_of
from refold.replay.decision import Decision, before
from refold.replay.variant import RESERVED_PARAMS, Variant

Message = dict[str, Any]
_INSTRUCTIONS = ("system", "developer")


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a candidate, in the terms of OpenAI's chat completions.

    ``messages``, ``tools`` and ``params`` are what goes over the wire; ``model`` is None where
    neither the variant nor the record names one. ``at`` is the event that the answer stands
    beside, ``index`` the place of the decision in its conversation.
    """

    messages: list[Message]
    model: str | None = None
    tools: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    at: str = ""
    index: int = 0

    def body(self) -> dict[str, Any]:
        """The JSON object to post to ``/chat/completions``."""
        body = {**self.params, "model": self.model, "messages": self.messages}
        return {**body, "tools": self.tools} if self.tools else body


def request_at(
    history: Sequence[Recorded], decision: Decision, variant: Variant, *, model: str | None = None
) -> ChatRequest:
    """The request for one decision: everything as recorded up to it, but for the variant.

    ``model`` is asked for where the variant names none, before the recorded one.
    """
    seen = before(history, decision)
    configured = configured_by(seen)
    params = {name: v for name, v in configured.params.items() if name not in RESERVED_PARAMS}
    tools = [_as_openai(tool) for tool in configured.tools]
    return ChatRequest(
        messages=with_prompt(to_messages(seen), variant.prompt),
        model=variant.model or model or configured.model,
        tools=tools if variant.tools is None else [_wrapped(tool) for tool in variant.tools],
        params={**params, **variant.params},
        at=decision.at,
        index=decision.index,
    )


def with_prompt(messages: Sequence[Message], prompt: str | None) -> list[Message]:
    """The messages with another prompt in the first system message, or before all where none is.

    Later system messages stay: they are part of what happened.
    """
    if prompt is None:
        return list(messages)
    for index, message in enumerate(messages):
        if message.get("role") in _INSTRUCTIONS:
            return [*messages[:index], {**message, "content": prompt}, *messages[index + 1 :]]
    return [{"role": "system", "content": prompt}, *messages]


def configured_by(seen: Iterable[Recorded]) -> AgentConfigured:
    """The agent's configuration in force: the last one, whole."""
    configured = [recorded for recorded in parts_of(seen) if recorded.type == "agent.configured"]
    return configured[-1].to_class(AgentConfigured) if configured else AgentConfigured()


def _as_openai(tool: Tool) -> dict[str, Any]:
    if tool.kind == "custom":
        return {"type": "custom", "custom": {"name": tool.name, "description": tool.description}}
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _wrapped(tool: dict[str, Any]) -> dict[str, Any]:
    if "function" in tool or tool.get("type", "function") != "function":
        return tool
    function = {name: value for name, value in tool.items() if name != "type"}
    return {"type": "function", "function": function}
