"""Requests, conversations and single messages of the Anthropic Messages and the Responses API.

A value is a request as it was sent (``messages`` or ``input`` with what stands beside them), a
list of messages or items, or a log of a call, in which the request and the ``response`` stand
side by side or each in an object of its own, as in the files of the batch APIs. Where the lines
of a file are messages or items, the file is one conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation import events as vocabulary
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.apis.base import Api, Body
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import (
    ODD,
    FieldReader,
    Found,
    Importer,
    Options,
    Problem,
    read_each,
)
from refold.conversation.importers.json_array import VALUE_BYTES_MAX, Value, checked
from refold.conversation.importers.source import ImportSource, names
from refold.conversation.importers.when import TIMES, time_in
from refold.conversation.openai_chat import text_or_none
from refold.core.event import Event
from refold.errors import InvalidEvent

_REQUESTS: Final = ("request", "body", "params", "kwargs", "request_body")
"""Where a log of a call may hold the request."""
_RESPONSES: Final = ("response", "response_body")
_OF_CALL: Final = names("model tools system instructions stream metadata")
_OF_ITEM: Final = names(
    "role content type id status call_id arguments input output summary "
    "encrypted_content phase model usage stop_reason stop_sequence stop_details "
    "container"
)
"""What the readers of the APIs know, or pass over, of a message or an item."""


UNKNOWN: Final = vocabulary.AgentConfigured()


class LogShape(NamedTuple):
    """What sets the files of one API apart: ``talk`` is where a request has the conversation."""

    api: Api
    category: str
    talk: str
    params: frozenset[str]


ANTHROPIC: Final = LogShape(
    ANTHROPIC_MESSAGES,
    "claude",
    "messages",
    names(
        "max_tokens temperature top_p top_k stop_sequences thinking tool_choice service_tier "
        "mcp_servers container context_management output_config output_format betas"
    ),
)
RESPONSES: Final = LogShape(
    OPENAI_RESPONSES,
    "response",
    "input",
    names(
        "temperature top_p max_output_tokens max_tool_calls reasoning text tool_choice "
        "truncation parallel_tool_calls include background store service_tier prompt "
        "previous_response_id conversation top_logprobs"
    ),
)


def read_anthropic(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import Anthropic Messages: requests, conversations or logged calls, as JSON or JSON lines.

    A value is a request with "messages", a list of messages, or an object with "request" and
    "response". A file whose lines are messages is one conversation.

    The streams are called CATEGORY-ID; the category is by default claude. A conversation without
    an id is known by its file's name and, in a file of several, by its number in it.

        refold import anthropic-messages requests.jsonl
    """
    return _read(ANTHROPIC, source, options)


def read_responses(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import calls of OpenAI's Responses API: requests, items or logged calls, JSON or JSON lines.

    A value is a request with "input", a response with "output", both, or a list of items. A file
    whose lines are items is one conversation.

    The streams are called CATEGORY-ID; the category is by default response. A conversation
    without an id is known by its file's name and, in a file of several, by its number in it.

        refold import openai-responses calls.jsonl
    """
    return _read(RESPONSES, source, options)


def looks_anthropic(values: Sequence[Any], /) -> str:
    """By what the first values are known to be Anthropic Messages; "" where they are not."""
    for value in values:
        call = _call(ANTHROPIC, value)
        messages = call.get("messages") if isinstance(call.get("messages"), list) else [value]
        if any(_is_anthropic(one) for one in messages or ()):
            return "it has messages with blocks of Anthropic's API"
        match call:
            case {"messages": list(), "system": _}:
                return "it has a system prompt beside its messages"
            case {"messages": list(), "tools": [{"input_schema": _}, *_]}:
                return "its tools have an input_schema"
    return ""


def looks_responses(values: Sequence[Any], /) -> str:
    """By what the first values are known to be of the Responses API; "" where they are not."""
    for value in values:
        match _call(RESPONSES, value):
            case {"object": "response"}:
                return "it is a response with output"
            case {"input": list() | str(), "model": str()}:
                return "it has an input and a model"
            case {"input": [*items]} if any(map(_is_item, items)):
                return "its input is items of the Responses API"
        if _is_item(value):
            return "it is items of the Responses API"
    return ""


def _is_anthropic(message: Any) -> bool:
    match message:
        case {"role": _, "content": [*blocks]}:
            kinds = {block.get("type") for block in blocks if isinstance(block, dict)}
            return not kinds.isdisjoint(
                {"tool_use", "tool_result", "thinking", "redacted_thinking"}
            )
        case {"role": "assistant", "type": "message", "stop_reason": _}:
            return True
    return False


def _is_item(item: Any) -> bool:
    match item:
        case {"type": "function_call" | "function_call_output" | "reasoning" | "custom_tool_call"}:
            return True
        case {"role": _, "content": [{"type": "input_text" | "output_text"}, *_]}:
            return True
    return False


def _read(kind: LogShape, source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    first = source.sample[0] if source.sample else None
    if isinstance(first, dict) and not _is_call(kind, first):
        values, several = _as_one(source), False
    else:
        values, several = source.values(), source.layout != "one"
    return read_each(source, values, partial(_found, kind, options, source.stem, several))


def _is_call(kind: LogShape, value: Mapping[str, Any]) -> bool:
    call = _call(kind, value)
    return kind.talk in call or ("output" in call and "call_id" not in call)


def _as_one(source: ImportSource) -> Iterator[Value]:
    """All values of a source as one list: what its lines or elements are, is messages."""
    if source.layout != "lines":
        yield from source.whole()
        return
    raws: list[bytes] = []
    size_bytes = 0
    for value in source.lines():
        size_bytes += len(value.raw)
        if value.error or size_bytes > VALUE_BYTES_MAX:
            too_long = f"the conversation is over {VALUE_BYTES_MAX} bytes"
            yield value._replace(raw=b"", error=value.error or too_long)
            return
        try:
            checked(value.read())
        except ODD as error:
            # Without one of its messages a conversation would be misread.
            why = f"{error}; the lines are one conversation, which is not taken without this one"
            yield value._replace(raw=b"", error=why)
            return
        raws.append(value.raw)
    yield Value(1, 1, b"[" + b",".join(raws) + b"]")


def _call(kind: LogShape, value: Any) -> Body:
    """The request in a value, with the response where there is one; {} where there is none."""
    if isinstance(value, list):
        return {kind.talk: value}
    if not isinstance(value, dict):
        return {}
    inside = (value.get(key) for key in _REQUESTS)
    request = next((one for one in inside if isinstance(one, dict) and kind.talk in one), {})
    return {**value, **request}


def _found(
    kind: LogShape, options: Options, stem: str, several: bool, line: FieldReader, value: Value
) -> Found:
    call = FieldReader(_call(kind, line.holder), line.unread)
    talk = call.holder.get(kind.talk, [] if "output" in call.holder else None)
    if not isinstance(talk, list | str) or (not talk and "output" not in call.holder):
        raise InvalidEvent(f"a conversation of {kind.api.name} has {kind.talk}")
    _check(talk)
    said = FieldReader(call.holder, line.unread)
    own_id = said.read("id", partial(msgspec.convert, type=str | int))
    own_id = own_id or text_or_none(call.holder.get("custom_id"))
    default_id = f"{stem}-{value.number}" if several else stem
    stream = f"{options.category or kind.category}-{own_id or default_id}"
    return Found(stream, _events(kind, options, call, talk))


def _check(talk: Any) -> None:
    """Refuse messages of chat completions: their calls would be passed over."""
    for index, item in enumerate(talk if isinstance(talk, list) else ()):
        if isinstance(item, dict) and {"tool_calls", "function_call"} & item.keys():
            raise InvalidEvent("a message of chat completions", path=f"/{index}")


def _events(kind: LogShape, options: Options, call: FieldReader, talk: Any) -> list[Event]:
    known = {kind.talk, *_OF_CALL, *kind.params}
    request = {key: value for key, value in call.holder.items() if key in known}
    asked = kind.api.read_request({**request, kind.talk: talk})
    call.unread += asked.unread
    agent = replace(asked.agent, tools=asked.agent.tools or list(options.tools))
    items = talk if isinstance(talk, list) else [talk]
    answer = _answer(kind, call, len(items), agent)
    left = {key: value for key, value in call.holder.items() if key not in (known - {"metadata"})}
    for key in (*_REQUESTS, *_RESPONSES, "output"):
        left.pop(key, None)
    started = Event.of(
        vocabulary.SessionStarted(), metadata={kind.api.name: left} if left else None
    )
    now_us = time_in(call, *TIMES)
    events = [started]
    if agent != replace(UNKNOWN, provider=agent.provider):
        events.append(Event.of(agent))
    timed = [Event.of(one.data, metadata=one.metadata, occurred_at=now_us) for one in events]
    for index, (item, made) in enumerate(zip(items, asked.elements, strict=True)):
        at = f"/{kind.talk}/{index}"
        fields = FieldReader(item if isinstance(item, dict) else {}, call.unread, at)
        now_us = time_in(fields, *TIMES) or now_us
        timed += _told(kind, fields, made, now_us)
    return timed + [Event.of(one.data, occurred_at=now_us) for one in answer]


def _told(kind: LogShape, item: FieldReader, made: list[Event], now_us: int | None) -> list[Event]:
    """The events of an item: with who spoke, its time, and what of it no event says."""
    beside = {key: value for key, value in item.holder.items() if key not in _OF_ITEM}
    if beside.get("name") and item.holder.get("type", "message") != "message":
        del beside["name"]  # That of a tool.
    if not made and item.holder.get("type") == "item_reference":
        item.note("id", [Unread("field", "", "an item of another conversation")])
    party = text_or_none(beside.get("name"))
    events: list[Event] = []
    for event in made:
        data = event.data
        if party and isinstance(data, vocabulary.UserUtterance | vocabulary.AgentUtterance):
            data = replace(data, party=party)
        metadata = {kind.api.name: beside} if beside and not events else None
        events.append(Event.of(data, metadata=metadata, occurred_at=now_us))
    return events


def _answer(
    kind: LogShape, call: FieldReader, count: int, agent: vocabulary.AgentConfigured
) -> list[Event]:
    """The events of the answer that a log of a call ends with."""
    held = next((key for key in _RESPONSES if isinstance(call.holder.get(key), dict)), "")
    body = call.holder[held] if held else call.holder
    body = body["body"] if held and isinstance(body.get("body"), dict) else body
    if not held and "output" not in body:
        return []
    try:
        chat = kind.api.read_answer(
            body, vocabulary.ModelResponse(message_id=f"m{count}"), agent.tools
        )
    except InvalidEvent as error:
        call.note(held or "output", [Unread("field", error.path, error.reason)])
        return []
    call.note(held, chat.unread) if held else call.unread.extend(chat.unread)
    return chat.events


ANTHROPIC_FILES: Final = Importer("anthropic-messages", read_anthropic, looks_anthropic)
RESPONSES_FILES: Final = Importer("openai-responses", read_responses, looks_responses)
