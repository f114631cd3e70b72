"""Variants: what a replay changes, and what is then asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from refold.conversation.chat_export import to_messages
from refold.conversation.events import AgentConfigured, Tool
from refold.core.recorded import Recorded, parts_of
from refold.errors import UsageError
from refold.replay.decision import Decision, before

NEXT_STEP: Final = "next-step"
NOT_MEASURED: Final = (
    "next-step: at each decision the candidate saw the conversation exactly as it was recorded up "
    "to there and answered once. This does not show where its own answers would have led, what "
    "its own tool calls would have returned, or whether the conversation would have ended well."
)
RESERVED_PARAMS: Final = frozenset({"messages", "model", "n", "stream", "tools"})
REPLAY_MARK: Final = "~replay-"
"""What stands between a stream's name and the variant in the name of a replay's branch."""
OPENED: Final = "open it with refold.open; from asyncio, call this in asyncio.to_thread"
_ID_LENGTH: Final = 12


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a candidate gets instead of what was recorded; None leaves it as it was.

    ``prompt`` takes the place of the system message, or is added where there was none. ``tools``
    are OpenAI tools (or only their ``function`` part); an empty list takes all tools away.
    ``params`` (such as ``temperature``) are laid over the recorded ones. ``label`` tells apart
    candidates that differ in what is not said here, such as two endpoints or two functions: it is
    part of the id.
    """

    prompt: str | None = None
    model: str | None = None
    tools: list[dict[str, Any]] | None = None
    params: dict[str, Any] = {}
    label: str | None = None

    def __post_init__(self) -> None:
        if taken := sorted(RESERVED_PARAMS & self.params.keys()):
            raise UsageError(
                f"params cannot hold {taken[0]!r}: it is part of every request; "
                "use prompt=, model= or tools=",
                argument="params",
                names=taken,
            )

    @property
    def id(self) -> str:
        """Twelve hex digits of SHA-256 over the canonical JSON: equal variants, equal ids."""
        canonical = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()[:_ID_LENGTH]


def branch_name(stream: str, variant: Variant, sample: int = 0) -> str:
    """The branch that holds a replay: ``call-42~replay-<variant id>-<sample>``."""
    return f"{stream}{REPLAY_MARK}{variant.id}-{sample}"


def checked_streams(streams: Iterable[str]) -> Iterable[str]:
    """The streams; one name by itself would be taken letter by letter."""
    if isinstance(streams, str):
        raise UsageError(
            f"streams must be a list of streams: give [{streams!r}]", argument="streams"
        )
    return streams


def check_variant(variant: object) -> None:
    """Refuse what is no variant, such as the dict that it could be made of."""
    if not isinstance(variant, Variant):
        raise UsageError(
            f"variant={variant!r} is not a refold.replay.Variant: give Variant(prompt=…)",
            argument="variant",
        )


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
    history: Sequence[Recorded],
    decision: Decision,
    variant: Variant,
    *,
    model: str | None = None,
) -> ChatRequest:
    """The request for one decision: everything as recorded up to it, but for the variant.

    ``model`` is asked for where the variant names none, before the recorded one.
    """
    seen = before(history, decision)
    configured = configured_by(seen)
    tools = [_as_openai(tool) for tool in configured.tools]
    return ChatRequest(
        messages=with_prompt(to_messages(seen), variant.prompt),
        model=variant.model or model or configured.model,
        tools=tools if variant.tools is None else [_wrapped(tool) for tool in variant.tools],
        params={**_usable(configured.params), **variant.params},
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


def _usable(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in RESERVED_PARAMS}


def _as_openai(tool: Tool) -> dict[str, Any]:
    if tool.kind == "custom":
        return {"type": "custom", "custom": {"name": tool.name, "description": tool.description}}
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _wrapped(tool: dict[str, Any]) -> dict[str, Any]:
    return tool if "function" in tool else {"type": "function", "function": tool}
