"""What a candidate is asked: the recorded conversation so far, with the variant in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from refold.conversation.chat_export import GrowingMessages
from refold.conversation.events import AgentConfigured, Tool
from refold.core.recorded import Recorded, parts_of
from refold.errors import UsageError
from refold.replay.decision import Decision, is_of_answer
from refold.replay.variant import RESERVED_PARAMS, Variant

Message = dict[str, Any]
Meant = Callable[[AgentConfigured], bool] | None
_INSTRUCTIONS = ("system", "developer")


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a candidate, in the terms of OpenAI's chat completions.

    ``messages``, ``tools`` and ``params`` are what goes over the wire; ``model`` is None where
    neither the variant nor the record names one. ``at`` is the event that the answer stands
    beside, ``index`` the place of the decision in its conversation, ``began_us`` when that began.
    """

    messages: list[Message]
    model: str | None = None
    tools: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    at: str = ""
    index: int = 0
    began_us: int = 0

    def body(self) -> dict[str, Any]:
        """The JSON object to post to ``/chat/completions``."""
        body = {**self.params, "model": self.model, "messages": self.messages}
        return {**body, "tools": self.tools} if self.tools else body


class RequestMaker:
    """Makes the requests of a conversation, decision by decision: each goes on from the one before.

    ``model`` is asked for where a variant names none, before the recorded one. Raises
    :class:`~refold.errors.UsageError` where a prompt or tools are for one agent of several and
    nobody says for which.
    """

    def __init__(
        self, history: Iterable[Recorded], variants: Sequence[Variant], *, model: str | None = None
    ) -> None:
        self._parts = list(parts_of(history))
        self._place = 0
        self._model = model
        self._said = GrowingMessages()
        self._prompts: list[tuple[AgentConfigured, Message]] = []
        self._asked = [(variant, meant_of(self._parts, variant)) for variant in variants]
        self._configure(AgentConfigured())

    def keep_until(self, version: int) -> None:
        """Know of nothing after a version; what comes there is said by :meth:`go_on`."""
        self._parts = [part for part in self._parts if part.version <= version]

    def go_on(self, history: Iterable[Recorded]) -> None:
        """Know of what came next, too."""
        self._parts += parts_of(history)

    def at(self, decision: Decision) -> list[ChatRequest]:
        """The request of each variant for a decision; decisions come in their order.

        Everything is as recorded up to it, but for the variant.
        """
        for part in islice(self._parts, self._place, None):
            if part.version > decision.version or (
                part.version == decision.version and is_of_answer(part)
            ):
                break
            self._place += 1
            message = self._said.add(part)
            if part.type == "agent.configured":
                self._configure(part.to_class(AgentConfigured))
                if message is not None:
                    self._prompts.append((self._configured, message))
        messages = self._said.so_far()
        return [self._request(decision, messages, *asked) for asked in self._asked]

    def _configure(self, configured: AgentConfigured) -> None:
        self._configured = configured
        self._tools = [as_openai(tool) for tool in configured.tools]
        kept = configured.params.items()
        self._params = {name: value for name, value in kept if name not in RESERVED_PARAMS}

    def _request(
        self, decision: Decision, messages: list[Message], variant: Variant, meant: Meant
    ) -> ChatRequest:
        is_its = meant is None or meant(self._configured)
        if not is_its and variant.agent is not None:
            variant = Variant()
        messages = [*messages]
        if is_its and variant.prompt is not None:
            own = [message for of, message in self._prompts if meant is not None and meant(of)]
            places = [self._said.place_of(message) for message in own]
            for place in places:
                messages[place] = {**messages[place], "content": variant.prompt}
            messages = messages if places else with_prompt(messages, variant.prompt)
        tools = variant.tools if is_its else None
        return ChatRequest(
            messages=messages,
            model=variant.model or self._model or self._configured.model,
            tools=self._tools if tools is None else [_wrapped(tool) for tool in tools],
            params={**self._params, **variant.params},
            at=decision.at,
            index=decision.index,
            began_us=self._parts[0].occurred_at_us if self._parts else 0,
        )


def request_at(
    history: Sequence[Recorded], decision: Decision, variant: Variant, *, model: str | None = None
) -> ChatRequest:
    """The request for one decision alone; who asks at several goes on with one RequestMaker."""
    (request,) = RequestMaker(history, [variant], model=model).at(decision)
    return request


def meant_of(history: Iterable[Recorded], variant: Variant) -> Meant:
    """Which of the agents of a conversation a variant is for; None for all that there are."""
    if variant.agent is not None:
        return lambda configured: configured.agent == variant.agent
    if variant.prompt is None and variant.tools is None:
        return None
    every = [part for part in parts_of(history) if part.type == "agent.configured"]
    said = [(part, part.to_class(AgentConfigured)) for part in every]
    if len(names := {one.agent for _, one in said if one.agent is not None}) > 1:
        raise UsageError(
            f"several agents are in {every[0].stream}: {', '.join(sorted(names))}; say for which "
            "of them the prompt or the tools are: Variant(agent=…), --for-agent",
            argument="agent",
            stream=every[0].stream,
        )
    # Chat messages that were imported say more to one agent; who records says who takes over.
    prompts = [one.prompt for part, one in said if one.prompt and part.noted("origin") is None]
    if len({prompt.text for prompt in prompts}) < 2:
        return None
    last = prompts[-1]
    return lambda configured: configured.prompt == last


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


def as_openai(tool: Tool) -> dict[str, Any]:
    """A tool as chat completions are given it."""
    if tool.kind == "custom":
        return {"type": "custom", "custom": {"name": tool.name, "description": tool.description}}
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _wrapped(tool: dict[str, Any]) -> dict[str, Any]:
    if "function" in tool or tool.get("type", "function") != "function":
        return tool
    function = {name: value for name, value in tool.items() if name != "type"}
    return {"type": "function", "function": function}
