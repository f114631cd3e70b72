"""What a random conversation says, by whoever made it, and the events that this must come to.

The rules are those of docs/explanation/capture.md and of the vocabulary, written a second time:
what is here knows nothing of the readers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelResponse,
    Tool,
    ToolCall,
    ToolResult,
)
from tests.capture.speakers.drawing import Draw

Body = dict[str, Any]
NO_SCHEMA = sha256(b"{}").hexdigest()
"""The hash of a schema that says nothing."""


@dataclass
class Block:
    """One part of an answer; ``is_plain``: words or a call say all of it."""

    kind: Literal["words", "call", "thought", "beside", "media"]
    raw: Body
    text: str = ""
    call: ToolCall | None = None
    is_plain: bool = False


@dataclass
class Came:
    """An answer as far as it came: its blocks, and what is said of it (usage, model, …)."""

    blocks: list[Block] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = False


class Agent(NamedTuple):
    """Who is asked: fields of each request, items before the conversation, and the event.

    ``unread`` is where its requests say something that is not understood.
    """

    head: Body
    lead: list[Body]
    configured: AgentConfigured
    unread: list[str]


class Turn(NamedTuple):
    """What is said to an agent: items of a request, and their events."""

    items: list[Body]
    events: list[Any]


class Speaker(ABC):
    """One API as its callers and its servers speak it."""

    name: str
    talk: str
    """The key of a request that holds the conversation."""

    @abstractmethod
    def path(self, *, streams: bool) -> str:
        """The path of a call, with its query."""

    @abstractmethod
    def agent(self, draw: Draw) -> Agent:
        """An agent."""

    @abstractmethod
    def user(self, draw: Draw, words: str) -> Turn:
        """A person says something."""

    def instructions(self, draw: Draw, text: str) -> Body | None:
        """An item with a prompt from there on; None where the API has none."""
        return None

    @abstractmethod
    def results(self, draw: Draw, calls: Sequence[ToolCall]) -> Turn:
        """The tools' results."""

    @abstractmethod
    def answer(self, draw: Draw, agent: Agent, *, streams: bool) -> Body:
        """An answer, whole; where it is to be streamed, one that can be."""

    @abstractmethod
    def came(self, body: Body) -> Came:
        """What an answer says."""

    @abstractmethod
    def frames(self, draw: Draw, body: Body, came: Came) -> Iterator[tuple[str, Any]]:
        """The events of the same answer, streamed; ``came`` has what had come with each."""

    @abstractmethod
    def again(self, draw: Draw, body: Body) -> list[Body]:
        """An answer as a client writes it into its next request."""

    @abstractmethod
    def words(self, text: str) -> list[Body]:
        """Words of the agent as a client writes them who had nothing else of its answer."""

    def request(self, draw: Draw, agent: Agent, items: list[Body], *, streams: bool) -> Body:
        """The body of a call."""
        body = {**agent.head, self.talk: [*agent.lead, *items]}
        return draw.shuffled(body | ({"stream": True} if streams else {}))

    def unread(self, items: Sequence[Body]) -> list[str]:
        """Where items of a request say something that is not understood."""
        return []

    def spoken(self, came: Came) -> list[Any]:
        """The events of an answer as far as it came."""
        blocks = came.blocks
        is_told = all(one.is_plain or one.kind == "media" for one in blocks)
        kinds = [one.kind for one in blocks if one.kind in ("words", "call")]
        is_told = is_told and "call words" not in " ".join(kinds)
        parts = [] if is_told else [one.raw for one in blocks if one.kind != "media"]
        shown = [one for one in blocks if one.kind in ("words", "media")]
        text, last = "", ""
        for one in blocks:  # Words on end are one text; other words begin a line.
            if one.kind == "words" and one.text:
                text += ("\n" if text and last != "words" else "") + one.text
            last = one.kind
        has_media = any(one.kind == "media" for one in shown)
        calls = [one.call for one in blocks if one.call is not None]
        made: list[Any] = [ModelResponse(**came.facts, parts=parts)]
        if shown or not calls:
            reason = came.facts.get("finish_reason") if came.is_whole else None
            said = [one.raw for one in shown] if has_media else None
            made.append(AgentUtterance(text, said, reason))
        return [*made, *calls]

    def heard(self, came: Came) -> str:
        """The words of an answer that broke off, where a client can go on from them; else ""."""
        said = [one.text for one in self.spoken(came) if isinstance(one, AgentUtterance)]
        return said[0] if said and said[0].strip() else ""

    def calls(self, came: Came) -> list[ToolCall]:
        """The calls of an answer."""
        return [one for one in self.spoken(came) if isinstance(one, ToolCall)]


def numbered(events: Sequence[Any], message: str) -> list[Any]:
    """The events of one answer with the id of their message."""
    kinds = ModelResponse | AgentUtterance | ToolCall
    return [replace(one, message_id=message) if isinstance(one, kinds) else one for one in events]


def described(call: ToolCall, tools: Sequence[Tool]) -> ToolCall:
    """A call with the schema of its tool."""
    tool = next((one for one in tools if one.name == call.name), None)
    return call if tool is None else replace(call, schema_hash=tool.schema_hash)


def result(call: ToolCall, value: Any, **more: Any) -> ToolResult:
    """What a tool gave back."""
    return ToolResult(call.call_id, value, **more)


def set_in(body: Mapping[str, Any]) -> Body:
    """What of an object is not null."""
    return {key: value for key, value in body.items() if value is not None}
