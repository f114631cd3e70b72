"""Conversations as OpenAI chat messages: JSON lines, or one JSON document.

A conversation is a list of messages, or an object with ``messages`` and, where known, ``id``,
``model``, ``tools``, times and sampling parameters: the format for fine-tuning. A log of a single
call also has ``response``, the answer to those messages, and ``cost`` and ``latency_sec``. A
field that is odd is told and counts as not given; what stands beside it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import chain
from math import isfinite
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.conversation.chat_shapes import Unread, read_cost, read_tools
from refold.conversation.events import AgentConfigured, ModelResponse, SessionStarted, Tool
from refold.conversation.importers.importer import (
    Found,
    Importer,
    Options,
    Problem,
    chat_events,
    read_each,
    read_field,
    under,
)
from refold.conversation.importers.json_array import VALUE_BYTES_MAX, Unreadable, Value
from refold.conversation.importers.source import Source
from refold.conversation.openai_chat import read_completion
from refold.core.clock import to_us
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
TOOLS: Final = ("tools", "functions")
TIMES: Final = ("timestamp", "created", "created_at", "create_time")
"""Where a conversation or a message may say when it was; the first that is a time holds."""


class _Exact(msgspec.Struct):
    """What must not pass through a float on its way."""

    cost: msgspec.Raw = msgspec.Raw(b"null")


def import_chat_files(source: Source, options: Options) -> Iterator[Found | Problem]:
    """The conversations of the lines, of an array, or the one that a document is.

    Streams are ``<category>-<id>``; a conversation without an id is known by its file's name
    and, in a file of several, by its number in it. The category is ``chat`` by default.
    """
    values, several = source.values(), source.layout != "one"
    if source.layout == "array":
        begun = list(_up_to_the_first_whole(values))
        values = chain(begun, values)
        if begun and _is_message(begun[-1].raw):
            values, several = _joined(values), False
    convert = partial(_found, options=options, stem=source.stem, several=several)
    return read_each(source, values, convert)


OPENAI_CHAT: Final = Importer(
    "openai-chat",
    import_chat_files,
    """Import OpenAI chat messages: JSON lines, a conversation a line, or a file of one.

    A line is a list of messages, or an object with "messages" and, if there are, "id", "model",
    "tools", "created". - is stdin.""",
    "refold import openai-chat chats.jsonl --category chat",
)


def time_us(value: Any) -> int:
    """Microseconds UTC of a time as logs write it; ValueError for what is none.

    It is ISO 8601 text, in UTC where it names no zone, or a number since 1970, its unit known by
    its size: seconds, milliseconds, microseconds or nanoseconds, from 1973 on.
    """
    try:
        number = Decimal(str(value))
        size = number.adjusted() - 8
        if number > 0 and 0 <= size < 12:
            return to_us(int(number.scaleb(6 - size // 3 * 3)))
    except InvalidOperation:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    raise ValueError(f"{value!r:.50} is not a time")


def _up_to_the_first_whole(values: Iterable[Value]) -> Iterator[Value]:
    for value in values:
        yield value
        if not value.error:
            return


def _is_message(raw: bytes) -> bool:
    """Whether the first element of an array is a message: then the array is one conversation."""
    try:
        first = json.loads(raw)  # Lenient: whether it can be stored is asked later.
    except ValueError:
        return False
    return isinstance(first, dict) and "messages" not in first


def _joined(messages: Iterable[Value]) -> Iterator[Value]:
    """The one conversation of an array's messages; broken where one of them is."""
    line, raws, size_bytes = 0, [], 0
    for message in messages:
        line = line or message.line
        if message.error:
            error = f"message {message.number}: {message.error}"
            yield Value(message.line, 1, b"", error)
            return
        raws.append(message.raw)
        size_bytes += len(message.raw)
        if size_bytes > VALUE_BYTES_MAX:
            raise Unreadable(f"the document is over {VALUE_BYTES_MAX} bytes: use JSON lines")
    yield Value(line, 1, b"[" + b",".join(raws) + b"]")


def _found(
    value: Value, unread: list[Unread], *, options: Options, stem: str, several: bool
) -> Found:
    whole = msgspec.json.decode(value.raw)
    said = {"messages": whole} if isinstance(whole, list) else whole
    if not isinstance(said, dict) or not isinstance(said.get("messages"), list):
        raise InvalidEvent("a conversation is a list of messages or an object with messages")
    if not said["messages"]:
        raise InvalidEvent("a conversation without messages", path="/messages")
    own_id = read_field(said, "id", partial(msgspec.convert, type=str | int), unread)
    default_id = f"{stem}-{value.number}" if several else stem
    stream = options.stream(CATEGORY, default_id if own_id in (None, "") else str(own_id))
    return Found(stream, _events(said, value.raw, options, unread))


def _events(
    said: Mapping[str, Any], raw: bytes, options: Options, unread: list[Unread]
) -> list[Event]:
    tools = _tools(said, options, unread)
    response = read_field(said, "response", _object, unread) or {}
    model = read_field(said, "model", partial(msgspec.convert, type=str), unread)
    kwargs = read_field(said, "kwargs", _object, unread) or {}
    params = {k: v for k, v in {**kwargs, **said}.items() if k in PARAMS and v is not None}
    if model is None and isinstance(response.get("model"), str):
        model = response["model"]
    agent = AgentConfigured(model=model, params=params, tools=tools)
    events = chat_events(said["messages"], "/messages", agent, unread)
    answer = _answer(said, raw, response, tools, unread)
    beside = _beside(said, response if answer else {})
    started = Event.of(SessionStarted(), metadata={"openai_chat": beside} if beside else None)
    return _timed([started, *events, *answer], said, response, unread)


def _tools(said: Mapping[str, Any], options: Options, unread: list[Unread]) -> list[Tool]:
    """The tools that were offered, with the effects that the options say of them."""
    given = [key for key in TOOLS if said.get(key) is not None]
    if not given:
        return list(options.tools)
    effects = {tool.name: tool.effect for tool in options.tools}
    offered: list[Tool] = []
    for key in given:
        tools, lost = read_tools(said[key])
        offered += [replace(tool, effect=effects.get(tool.name, tool.effect)) for tool in tools]
        unread += under(f"/{key}", lost)
    return offered


def _answer(
    said: Mapping[str, Any],
    raw: bytes,
    response: Mapping[str, Any],
    tools: Sequence[Tool],
    unread: list[Unread],
) -> list[Event]:
    """The events of the answer that a log of a single call ends with."""
    exact = msgspec.json.decode(raw, type=_Exact).cost if "cost" in said else b"null"
    cost = read_field(said, "cost", lambda _: _cost(exact), unread)
    latency_ms = read_field(said, "latency_sec", _latency_ms, unread)
    told = ModelResponse(
        cost=read_cost(response) if cost is None else cost,
        latency_ms=latency_ms,
        message_id=f"m{len(said['messages'])}",
    )
    events: list[Event] = []
    if response:
        try:
            events, lost = read_completion(response, told, tools)
            unread += under("/response", lost)
        except InvalidEvent as error:
            unread.append(Unread("field", f"/response{error.path}", error.reason))
    if not any(isinstance(event.data, ModelResponse) for event in events):
        lost_with_it = {"cost": cost, "latency_sec": latency_ms}
        unread += [
            Unread("field", f"/{key}", "there is no answer that it is of")
            for key, value in lost_with_it.items()
            if value is not None
        ]
    return events


def _cost(raw: bytes) -> Decimal:
    cost = msgspec.json.decode(raw, type=Decimal)
    if not cost.is_finite() or cost < 0:
        raise ValueError(f"{cost} is not a cost")
    return cost


def _latency_ms(latency_s: Any) -> float:
    latency_ms = msgspec.convert(latency_s, float) * 1_000.0
    if not isfinite(latency_ms) or latency_ms < 0:
        raise ValueError(f"{latency_s!r:.50} is not a latency")
    return latency_ms


def _object(value: Any) -> dict[str, Any]:
    return msgspec.convert(value, dict[str, Any])


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


def _timed(
    events: list[Event],
    said: Mapping[str, Any],
    response: Mapping[str, Any],
    unread: list[Unread],
) -> list[Event]:
    """The events at the times that the log gives; one without goes with what was before it."""
    at_us = _time(said, "", unread)
    if at_us is None:
        at_us = _time({"created": response.get("created")}, "/response", unread)
    for index, message in enumerate(said["messages"]):
        _time(message, f"/messages/{index}", unread)
    own = [_time(_kept_of_message(event), "", []) for event in events]
    first = next((us for us in own if us is not None), None)
    known = [us for us in (at_us, first) if us is not None]
    if not known:
        return events
    now_us, timed = min(known), []
    for event, own_us in zip(events, own, strict=True):
        now_us = now_us if own_us is None else own_us
        timed.append(Event.of(event.data, metadata=event.metadata, occurred_at=now_us))
    return timed


def _time(holder: Mapping[str, Any], at: str, unread: list[Unread]) -> int | None:
    times = [read_field(holder, key, time_us, unread, at) for key in TIMES]
    return next((us for us in times if us is not None), None)


def _kept_of_message(event: Event) -> Mapping[str, Any]:
    """The fields of its message that an event keeps beside: a time is among them."""
    kept: Mapping[str, Any] = (event.metadata or {}).get("openai", {}).get("set", {})
    return kept
