"""Conversations as OpenAI chat messages: JSON lines, or one JSON document.

A conversation is a list of messages, or an object with ``messages`` and, where known, ``id``,
``model``, ``tools`` and sampling parameters: the format for fine-tuning. A log of a single call
also has ``response``, the answer to those messages, and ``cost``, ``latency_sec``, ``timestamp``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from refold.conversation.chat_export import Loss
from refold.conversation.events import AgentConfigured, SessionStarted, Tool
from refold.conversation.importers.importer import Found, Importer, Options, Problem
from refold.conversation.importers.responses import Answer, answer_of
from refold.conversation.importers.source import LINE_BYTES_MAX, Source
from refold.conversation.importers.streams import stream_name
from refold.conversation.importers.tools import tools_of, with_effects
from refold.conversation.openai_chat import from_messages
from refold.core.clock import EARLIEST_US, LATEST_US
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


class Exact(msgspec.Struct):
    """What must not pass through a float on its way."""

    cost: Decimal | None = None
    timestamp: Decimal | None = None


def import_openai_chat(source: Source, options: Options) -> Iterator[Found | Problem]:
    """The conversations of a ``.json`` document, or of the lines of anything else.

    Streams are ``<category>-<id>``; a conversation without an id is known by its file's name
    and, in a file of several, by its line. The category is ``chat`` by default.
    """
    found = _of_document if source.is_document else _of_lines
    return found(source, options)


OPENAI_CHAT: Final = Importer(
    "openai-chat",
    import_openai_chat,
    """Import OpenAI chat messages: JSON lines, a conversation a line, or a file of one.

    A line is a list of messages, or an object with "messages" and, if there are, "id", "model",
    "tools", "created". - is stdin.""",
    "refold import openai-chat chats.jsonl --category chat",
)


def _of_lines(source: Source, options: Options) -> Iterator[Found | Problem]:
    for number, raw in source.lines():
        if raw is None:
            yield Problem(source.name, number, f"the line is over {LINE_BYTES_MAX} bytes")
        else:
            yield _found(source, options, raw, number, f"{source.stem}-{number}")


def _of_document(source: Source, options: Options) -> Iterator[Found | Problem]:
    raw = source.document()
    try:
        several = _parts_of_several(raw)
    except (ValueError, RecursionError) as error:
        yield Problem(source.name, 0, str(error))
        return
    if several is None:
        yield _found(source, options, raw, 1, source.stem)
        return
    for number, part in enumerate(several, 1):
        yield _found(source, options, bytes(part), 1, f"{source.stem}-{number}")


def _parts_of_several(raw: bytes) -> list[msgspec.Raw] | None:
    """The conversations of a document that is a list of them; None when it is one."""
    if not raw.lstrip().startswith(b"["):
        return None
    parts = msgspec.json.decode(raw, type=list[msgspec.Raw])
    first = msgspec.json.decode(parts[0]) if parts else None
    is_message = isinstance(first, dict) and "messages" not in first
    return None if is_message or first is None else parts


def _found(
    source: Source, options: Options, raw: bytes, line: int, default_id: str
) -> Found | Problem:
    try:
        whole = msgspec.json.decode(raw)
        said = {"messages": whole} if isinstance(whole, list) else whole
        if not isinstance(said, dict) or not isinstance(said.get("messages"), list):
            raise InvalidEvent("a conversation is a list of messages or an object with messages")
        if not said["messages"]:
            raise InvalidEvent("a conversation without messages", path="/messages")
        stream = _stream(said, options, default_id)
        loss: list[str] = []
        events = _events(said, _exact(raw), options, loss)
        where = f"{source.name}:{line}"
        losses = [Loss(where, "openai-chat", pointer) for pointer in loss]
        return Found(stream, events, line, loss=losses)
    except InvalidEvent as error:
        return Problem(source.name, line, str(error))
    except (ValueError, RecursionError) as error:
        return Problem(source.name, line, str(error))


def _exact(raw: bytes) -> Exact:
    try:
        return msgspec.json.decode(raw, type=Exact)
    except (msgspec.DecodeError, ValueError):
        return Exact()


def _stream(said: Mapping[str, Any], options: Options, default_id: str) -> str:
    given = said.get("id")
    known = isinstance(given, str | int) and not isinstance(given, bool) and given != ""
    return stream_name(options.category or CATEGORY, str(given) if known else default_id)


def _events(said: Mapping[str, Any], exact: Exact, options: Options, loss: list[str]) -> list[Any]:
    answer = answer_of(said, exact.cost, loss)
    messages = [*said["messages"], *([] if answer is None else [answer.message])]
    try:
        events: list[Any] = from_messages(messages)
    except InvalidEvent as error:
        raise InvalidEvent(error.reason, path=f"/messages{error.path}") from error
    tools = _tools(said, options, loss)
    events = with_effects(_configured(events, said, tools, answer), tools)
    if answer is not None:
        events = _with_response(events, answer, len(messages) - 1)
    beside = _beside(said, answer)
    started = Event.of(SessionStarted(), metadata={"openai_chat": beside} if beside else None)
    at_us = None if answer is None else _us(exact.timestamp)
    return [started, *events] if at_us is None else _all_at(at_us, [started, *events])


def _beside(said: Mapping[str, Any], answer: Answer | None) -> dict[str, Any]:
    """What no event holds: kept as it was with the start of the session."""
    taken = {"messages", *(key for key in PARAMS | {"tools"} if said.get(key) is not None)}
    taken |= {"model"} if isinstance(said.get("model"), str) else set()
    beside = {key: value for key, value in said.items() if key not in taken}
    return beside if answer is None else beside | {"response": answer.beside}


def _tools(said: Mapping[str, Any], options: Options, loss: list[str]) -> Sequence[Tool]:
    if said.get("tools") is None:
        return options.tools
    try:
        offered = tools_of(said["tools"])
    except InvalidEvent as error:
        raise InvalidEvent(error.reason, path=f"/tools{error.path}") from error
    loss += [f"/tools{pointer}" for pointer in offered.loss]
    effects = {tool.name: tool.effect for tool in options.tools}
    return [
        msgspec.structs.replace(tool, effect=effects.get(tool.name, tool.effect))
        for tool in offered.tools
    ]


def _configured(
    events: list[Any], said: Mapping[str, Any], tools: Sequence[Tool], answer: Answer | None
) -> list[Any]:
    """The events with model, parameters and tools beside the prompt that they ran with."""
    model = said.get("model") or (answer and answer.model)
    kwargs = said["kwargs"] if isinstance(said.get("kwargs"), dict) else {}
    params = {k: v for k, v in {**kwargs, **said}.items() if k in PARAMS and v is not None}
    model = model if isinstance(model, str) else None
    if model is None and not params and not tools:
        return events
    first = events[0]
    if isinstance(first.data, AgentConfigured):
        prompt, metadata, events = first.data.prompt, first.metadata, events[1:]
    else:
        prompt, metadata = None, None
    configured = AgentConfigured(prompt=prompt, model=model, params=params, tools=list(tools))
    return [Event.of(configured, metadata=metadata), *events]


def _with_response(events: list[Any], answer: Answer, index: int) -> list[Any]:
    """The events with the model's response just before what it says."""
    own = [e for e in events if getattr(e.data, "message_id", None) == f"m{index}"]
    response = msgspec.structs.replace(answer.response, message_id=f"m{index}")
    place = len(events) - len(own)
    return [*events[:place], response, *events[place:]]


def _us(timestamp: Decimal | None) -> int | None:
    if timestamp is None or not timestamp.is_finite() or timestamp.adjusted() > 20:
        return None
    us = int(timestamp * 1_000_000)
    return us if EARLIEST_US <= us <= LATEST_US else None


def _all_at(at_us: int, events: list[Any]) -> list[Event]:
    """The events, known to have happened by the time that the log was written."""
    typed = (e if isinstance(e, Event) else Event.of(e) for e in events)
    return [Event.of(e.data, metadata=e.metadata, occurred_at=at_us) for e in typed]
