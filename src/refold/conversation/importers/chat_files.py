"""Conversations as OpenAI chat messages: JSON lines, or one JSON document.

A conversation is a list of messages, or an object with ``messages`` and, where known, ``id``,
``model``, ``tools``, times and sampling parameters: the format for fine-tuning. A log of a single
call also has ``response``, the answer to those messages, and ``cost`` and ``latency_sec``. A
field that is odd is told and counts as not given; what stands beside it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import replace

from refold.conversation.chat_shapes import Unread, read_tools
from refold.conversation.events import AgentConfigured, ModelResponse, SessionStarted, Tool
from refold.conversation.importers.base import (
    FieldReader,
    Found,
    Importer,
    Options,
    Problem,
    amount,
    read_each,
)
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import ImportSource
from refold.conversation.importers.when import TIMES, time_in
from refold.conversation.openai_chat import read_completion, read_cost
from refold.core.event import Event
from refold.errors import InvalidEvent

CATEGORY: Final = "chat"
PARAMS: Final = frozenset(
    {
        "temperature", "top_p", "n", "stop", "seed", "max_tokens", "max_completion_tokens",
        "presence_penalty", "frequency_penalty", "logit_bias", "response_format", "tool_choice",
        "parallel_tool_calls", "reasoning_effort", "service_tier",
    }
)  # fmt: skip
BLOCKS: Final = frozenset(
    {"tool_use", "tool_result", "server_tool_use", "tool_call", "function_call"}
)
"""Content that other APIs have, and that chat completions have not: calls and their results."""
WORDS: Final = frozenset(
    {"content", "tool_calls", "function_call", "refusal", "audio", "reasoning_content", "reasoning"}
)
"""The fields of a message of which one at least is there."""
TOOLS: Final = ("tools", "functions")
_SECONDS: Final = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
# In an array, what its first element is: a message, or a conversation with messages.
_FIRST: Final = re.compile(rb'\[\s*\{.*?"(role|messages)"\s*:', re.DOTALL)


def read_chat_files(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import OpenAI chat messages: JSON lines, a conversation a line, or a file of one.

    A line is a list of messages, or an object with "messages" and, if there are, "id", "model",
    "tools", "created". - is stdin.

    The streams are called CATEGORY-ID; the category is by default chat. A conversation without
    an id is known by its file's name and, in a file of several, by its number in it.

        refold import openai-chat chats.jsonl --category chat
    """
    values, several = source.values(), source.layout != "one"
    if source.layout == "array":
        first = _FIRST.match(source.head)
        if first is not None and first[1] == b"role":
            values, several = source.whole(), False
    return read_each(source, values, partial(_found, options, source.stem, several))


def looks_like(values: Sequence[Any], /) -> str:
    """By what the first values are known to be chat messages; "" where they are not."""
    for value in values:
        holder = {"messages": value} if isinstance(value, list) else value
        match holder:
            case {
                "messages": [{"role": str(), "content": _} | {"role": str(), "tool_calls": _}, *_]
            }:
                return "it has messages with a role and content"
            case {"role": "user" | "assistant" | "system", "content": _}:
                return "it is a list of messages with a role and content"
    return ""


def _found(options: Options, stem: str, several: bool, line: FieldReader, value: Value) -> Found:
    if isinstance(line.holder, list):
        line = FieldReader({"messages": line.holder}, line.unread)
    if not isinstance(line.holder, dict) or not isinstance(line.holder.get("messages"), list):
        raise InvalidEvent("a conversation is a list of messages or an object with messages")
    if not line.holder["messages"]:
        raise InvalidEvent("a conversation without messages", path="/messages")
    own_id = line.read("id", partial(msgspec.convert, type=str | int))
    for index, message in enumerate(line.holder["messages"]):
        _check(message, f"/messages/{index}")
    default_id = f"{stem}-{value.number}" if several else stem
    stream_id = default_id if own_id in (None, "") else own_id
    stream = f"{options.category or CATEGORY}-{stream_id}"
    return Found(stream, _events(line, options))


def _check(message: Any, at: str) -> None:
    """Refuse a message of another API: its calls, or all of it, would be taken for words."""
    match message:
        case {"content": [*parts]} if any(
            isinstance(part, dict) and part.get("type") in BLOCKS for part in parts
        ):
            raise InvalidEvent(
                "a message of the Anthropic or the Responses API, not of chat completions", path=at
            )
        case {"role": "user" | "assistant" | "system" | "tool"} if not message.keys() & WORDS:
            # Its words stand in a field that is not known here.
            if odd := [key for key, value in message.items() if isinstance(value, list | dict)]:
                raise InvalidEvent(f"a message without content, but with {odd[0]}", path=at)


def _events(line: FieldReader, options: Options) -> list[Event]:
    tools = _tools(line, options)
    response = line.inside("response")
    answered = response.typed("model", str)
    given = line.inside("kwargs").holder | line.holder
    agent = AgentConfigured(
        model=line.typed("model", str) or answered,
        params={key: value for key, value in given.items() if key in PARAMS and value is not None},
        tools=tools,
    )
    events = line.messages("messages", agent)
    answer = _answer(line, response.holder, tools)
    beside = _beside(line.holder, response.holder if answer else {})
    started = Event.of(SessionStarted(), metadata={"openai_chat": beside} if beside else None)
    return _timed([started, *events, *answer], line, response)


def _tools(line: FieldReader, options: Options) -> list[Tool]:
    """The tools that were offered, with the effects that the options say of them."""
    given = [key for key in TOOLS if line.holder.get(key) is not None]
    effects = {tool.name: tool.effect for tool in options.tools}
    offered: list[Tool] = []
    for key in given:
        tools, unread = read_tools(line.holder[key])
        offered += [replace(tool, effect=effects.get(tool.name, tool.effect)) for tool in tools]
        line.note(key, unread)
    return offered if given else list(options.tools)


def _answer(line: FieldReader, response: Mapping[str, Any], tools: Sequence[Tool]) -> list[Event]:
    """The events of the answer that a log of a single call ends with."""
    cost = line.read("cost", amount)
    latency_s: float | None = line.read("latency_sec", partial(msgspec.convert, type=_SECONDS))
    unread: list[Unread] = []
    charged = read_cost(response, unread) if response else None
    line.note("response", unread)
    told = ModelResponse(
        cost=charged if cost is None else cost,
        latency_ms=None if latency_s is None else latency_s * 1_000.0,
        message_id=f"m{len(line.holder['messages'])}",
    )
    events: list[Event] = []
    if response:
        try:
            events, unread = read_completion(response, told, tools)
            line.note("response", unread)
        except InvalidEvent as error:
            line.note("response", [Unread("field", error.path, error.reason)])
    if not any(isinstance(event.data, ModelResponse) for event in events):
        for key, value in (("cost", cost), ("latency_sec", latency_s)):
            if value is not None:
                line.note(key, [Unread("field", "", "there is no answer that it is of")])
    return events


def _beside(said: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    """What no event holds: kept as it was with the start of the session."""
    taken = {"messages", *(key for key in PARAMS.union(TOOLS) if said.get(key) is not None)}
    taken |= {"model"} if isinstance(said.get("model"), str) else set()
    beside = {key: value for key, value in said.items() if key not in taken}
    match response.get("choices"):
        case [dict(first), *_]:
            choice = {key: value for key, value in first.items() if key != "message"}
            rest = {key: value for key, value in response.items() if key != "choices"}
            beside["response"] = rest | {"choice": choice}
    return beside


def _timed(events: list[Event], line: FieldReader, response: FieldReader) -> list[Event]:
    """The events at the times that the log gives; one without goes with what was before it."""
    said_us = time_in(line, *TIMES) or time_in(response, "created")
    for index, message in enumerate(line.holder["messages"]):
        time_in(FieldReader(message, line.unread, f"/messages/{index}"), *TIMES)
    # A time is among the fields of its message that an event keeps beside.
    kept = [(event.metadata or {}).get("openai", {}).get("set", {}) for event in events]
    own = [time_in(FieldReader(fields, []), *TIMES) for fields in kept]
    known = [us for us in (said_us, next(filter(None, own), None)) if us is not None]
    if not known:
        return events
    now_us, timed = min(known), []
    for event, own_us in zip(events, own, strict=True):
        now_us = own_us or now_us
        timed.append(Event.of(event.data, metadata=event.metadata, occurred_at=now_us))
    return timed


OPENAI_CHAT: Final = Importer("openai-chat", read_chat_files, looks_like)
