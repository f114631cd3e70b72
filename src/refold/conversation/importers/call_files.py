"""Requests, conversations and logged calls: of chat completions, Responses and Messages.

A value is a request as it was sent (``messages`` or ``input`` with what stands beside them: the
format for fine-tuning too), a list of messages or items, or a log of a call, in which the request
and the ``response`` stand side by side or each in an object of its own, as in the files of the
batch APIs; ``cost``, ``latency_sec`` and a time may stand beside. Where the lines of a file are
messages or items, the file is one conversation. A field that is odd is told and counts as not
given; what stands beside it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace as with_event
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation import events as vocabulary
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.apis.base import Api
from refold.conversation.apis.openai_chat import OPENAI_CHAT
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
from refold.conversation.chat_shapes import Unread
from refold.conversation.events import AgentConfigured, ModelResponse
from refold.conversation.importers.base import ODD, Conversations, Found, Options, read_each
from refold.conversation.importers.detection import REQUESTS, call_in
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import VALUE_BYTES_MAX, Value, checked
from refold.conversation.importers.source import ImportSource, names
from refold.conversation.openai_chat import read_cost, text_or_none
from refold.conversation.openai_chat import read_each as read_messages
from refold.core.event import Event
from refold.errors import InvalidEvent

PARAMS: Final = names(
    "temperature top_p n stop seed max_tokens max_completion_tokens presence_penalty "
    "frequency_penalty logit_bias response_format tool_choice parallel_tool_calls "
    "reasoning_effort service_tier"
)
"""The parameters of chat completions."""
_RESPONSES: Final = ("response", "response_body")
_ANSWERS: Final = ("choices", "output", "content")
_OF_ITEM: Final = names(
    "role content type id status call_id arguments input output summary encrypted_content phase "
    "model usage stop_reason stop_sequence stop_details container"
)
"""What the readers of the APIs know, or pass over, of a message or an item."""
_OTHERS: Final = names("tool_use tool_result server_tool_use tool_call function_call")
"""Content that other APIs have, and that chat completions have not: calls and their results."""
_TOOL_ITEMS: Final = ("mcp_call", "custom_tool_call", "local_shell_call_output")
"""Items of Responses that have an ``input``, or an ``output`` and no ``call_id``."""
_WORDS: Final = names("content tool_calls function_call refusal audio reasoning_content reasoning")
"""The fields of a chat message of which one at least is there."""
_SECONDS: Final = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_UNKNOWN: Final = AgentConfigured()


class CallShape(NamedTuple):
    """What sets the files of one API apart: ``talk`` is where a request has the conversation.

    ``fields`` are those of a request that the API's reader reads; what no event says of the rest
    stands in the metadata of its start, as ``beside``.
    """

    api: Api
    category: str
    talk: str
    beside: str
    fields: frozenset[str]


CHAT: Final = CallShape(
    OPENAI_CHAT, "chat", "messages", "openai_chat", PARAMS | {"tools", "functions"}
)
ANTHROPIC: Final = CallShape(
    ANTHROPIC_MESSAGES,
    "claude",
    "messages",
    ANTHROPIC_MESSAGES.name,
    names(
        "system tools max_tokens temperature top_p top_k stop_sequences thinking tool_choice "
        "service_tier mcp_servers container context_management output_config output_format betas"
    ),
)
RESPONSES: Final = CallShape(
    OPENAI_RESPONSES,
    "response",
    "input",
    OPENAI_RESPONSES.name,
    names(
        "instructions tools temperature top_p max_output_tokens max_tool_calls reasoning text "
        "tool_choice truncation parallel_tool_calls include background store service_tier prompt "
        "previous_response_id conversation top_logprobs"
    ),
)


def read_chat(source: ImportSource, options: Options) -> Conversations:
    """Import OpenAI chat messages: JSON lines, a conversation a line, or a file of one.

    A line is a list of messages, or an object with "messages" and, if there are, "id", "model",
    "tools", "created". - is stdin.

    The streams are called CATEGORY-ID; the category is by default chat. A conversation without
    an id is known by its file's name and, in a file of several, by its number in it.

        refold import openai-chat chats.jsonl --category chat
    """
    return _read(CHAT, source, options)


def read_anthropic(source: ImportSource, options: Options) -> Conversations:
    """Import Anthropic Messages: requests, conversations or logged calls, as JSON or JSON lines.

    A value is a request with "messages", a list of messages, or an object with "request" and
    "response". A file whose lines are messages is one conversation.

    The streams are called CATEGORY-ID; the category is by default claude. A conversation without
    an id is known by its file's name and, in a file of several, by its number in it.

        refold import anthropic-messages requests.jsonl
    """
    return _read(ANTHROPIC, source, options)


def read_responses(source: ImportSource, options: Options) -> Conversations:
    """Import calls of OpenAI's Responses API: requests, items or logged calls, JSON or JSON lines.

    A value is a request with "input", a response with "output", both, or a list of items. A file
    whose lines are items is one conversation.

    The streams are called CATEGORY-ID; the category is by default response. A conversation
    without an id is known by its file's name and, in a file of several, by its number in it.

        refold import openai-responses calls.jsonl
    """
    return _read(RESPONSES, source, options)


def _read(kind: CallShape, source: ImportSource, options: Options) -> Conversations:
    # A line that is a list is a conversation by itself.
    is_talk = source.layout == "lines" and source.head.startswith(b"[")
    first = source.sample[0] if source.sample and not is_talk else None
    names_it = {"role", "type"} if kind is RESPONSES else {"role"}  # A message's, or an item's.
    is_message = isinstance(first, dict) and not names_it.isdisjoint(first)
    if is_message and not _is_call(kind, call_in(first, kind.talk)):
        values, several = _as_one(source), False
    else:
        values, several = source.values(), source.layout != "one"
    return read_each(source, values, partial(_found, kind, options, source.stem, several))


def _is_call(kind: CallShape, call: Mapping[str, Any]) -> bool:
    # An item of Responses may have an input or an output too.
    is_item = kind is RESPONSES and call.get("type") in _TOOL_ITEMS
    is_answer = kind is RESPONSES and "output" in call and "call_id" not in call
    return not is_item and (kind.talk in call or is_answer)


def _as_one(source: ImportSource) -> Iterator[Value]:
    """All values of a source as one list: what its lines or elements are, is messages."""
    if source.layout != "lines":
        yield from source.whole()
        return
    raws: list[bytes] = []
    for value in source.lines():
        try:
            checked(value.read())
        except ODD as error:
            # Without one of its messages a conversation would be misread.
            why = f"{error}; the lines are one conversation, which is not taken without this one"
            yield value._replace(raw=b"", error=why)
            return
        raws.append(value.raw)
        if source.read_bytes > VALUE_BYTES_MAX:
            yield value._replace(error=f"the conversation is over {VALUE_BYTES_MAX} bytes")
            return
    yield Value(1, 1, b"[" + b",".join(raws) + b"]")


def _found(
    kind: CallShape, options: Options, stem: str, several: bool, line: FieldReader, value: Value
) -> Found:
    call = FieldReader(call_in(line.holder, kind.talk), line.unread)
    talk = call.holder.get(kind.talk, [] if _is_call(kind, call.holder) else None)
    if isinstance(talk, str) and kind is RESPONSES:
        talk = [{"role": "user", "content": talk}]
    if not isinstance(talk, list):
        raise InvalidEvent(f"a conversation is a list of messages, or an object with {kind.talk}")
    if not talk and (kind is not RESPONSES or "output" not in call.holder):
        raise InvalidEvent(f"a conversation without {kind.talk}", path=f"/{kind.talk}")
    for index, item in enumerate(talk):
        _check(kind, item, f"/{kind.talk}/{index}")
    own_id = call.read("id", partial(msgspec.convert, type=str | int))
    own_id = text_or_none(call.holder.get("custom_id")) if own_id in (None, "") else own_id
    default_id = f"{stem}-{value.number}" if several else stem
    stream = f"{options.category or kind.category}-{default_id if own_id is None else own_id}"
    return Found(stream, _events(kind, options, call, talk))


def _check(kind: CallShape, item: Any, at: str) -> None:
    """Refuse a message of another API: its calls, or all of it, would be taken for words."""
    match item:
        case {"tool_calls": _} | {"function_call": _} if kind is not CHAT:
            raise InvalidEvent("a message of chat completions", path=at)
        case {"content": [*parts]} if kind is CHAT and any(
            isinstance(part, dict) and part.get("type") in _OTHERS for part in parts
        ):
            why = "a message of the Anthropic or the Responses API, not of chat completions"
            raise InvalidEvent(why, path=at)
        case {"role": "user" | "assistant" | "system" | "tool"} if kind is CHAT:
            # Its words stand in a field that is not known here.
            odd = [key for key, value in item.items() if isinstance(value, list | dict)]
            if odd and not item.keys() & _WORDS:
                raise InvalidEvent(f"a message without content, but with {odd[0]}", path=at)


def _events(kind: CallShape, options: Options, call: FieldReader, talk: list[Any]) -> list[Event]:
    held = next((key for key in _RESPONSES if call.holder.get(key) is not None), "")
    response = call.inside(held) if held else FieldReader({}, call.unread)
    if isinstance(response.holder.get("body"), dict):
        response = response.inside("body")
    if kind is RESPONSES and not held and "output" in call.holder:
        response = call
    agent, elements = _asked(kind, options, call, response, talk)
    answer = _answer(kind, call, response, f"m{len(talk)}", agent)
    beside = _beside(kind, call.holder, {} if response is call or not answer else response.holder)
    said_us = call.time() or response.time("created")
    fields = [FieldReader(one, call.unread, f"/{kind.talk}/{n}") for n, one in enumerate(talk)]
    times = [one.time() for one in fields]
    now_us = min(filter(None, (said_us, next(filter(None, times), None))), default=None)
    metadata = {kind.beside: beside} if beside else None
    begun = [Event.of(vocabulary.SessionStarted(), metadata=metadata)]
    begun += [Event.of(agent)] if _is_to_tell(agent, elements) else []
    timed = [with_event(one, occurred_at=now_us) for one in begun]
    for item, made, own_us in zip(fields, elements, times, strict=True):
        now_us = own_us or now_us
        told = made if kind is CHAT else _told(kind, item, made)
        timed += [with_event(one, occurred_at=now_us) for one in told]
    return timed + [with_event(one, occurred_at=now_us) for one in answer]


def _asked(
    kind: CallShape, options: Options, call: FieldReader, response: FieldReader, talk: list[Any]
) -> tuple[AgentConfigured, list[list[Event]]]:
    """The agent as a request configures it, and the events of each message or item."""
    model = call.typed("model", str)
    if model is None and response is not call:
        model = response.typed("model", str)
    beside = call.inside("kwargs").holder if kind is CHAT else {}
    given = {key: value for key, value in {**beside, **call.holder}.items() if value is not None}
    request = {key: given[key] for key in given.keys() & kind.fields}
    # The prompts of chat messages stay where they are, so that they come back as they were.
    said = [] if kind is CHAT else talk
    asked = kind.api.read_request({**request, kind.talk: said, "model": model})
    call.unread += asked.unread
    effects = {tool.name: tool.effect for tool in options.tools}
    offered = asked.agent.tools or options.tools
    tools = [replace(one, effect=effects.get(one.name, one.effect)) for one in offered]
    agent = replace(asked.agent, tools=tools)
    if kind is not CHAT:
        return agent, asked.elements
    unread: list[Unread] = []
    agent = replace(agent, provider=None)
    try:
        elements = list(read_messages(talk, agent, unread))
    except InvalidEvent as error:
        raise InvalidEvent(error.reason, path=f"/messages{error.path}") from error
    call.note("messages", unread)
    return agent, elements


def _is_to_tell(agent: AgentConfigured, elements: list[list[Event]]) -> bool:
    """Whether the agent is configured by more than the first of the messages."""
    first = elements[0] if elements else []
    is_told = bool(first) and isinstance(first[0].data, AgentConfigured)
    return not is_told and replace(agent, provider=None) != _UNKNOWN


def _told(kind: CallShape, item: FieldReader, made: list[Event]) -> list[Event]:
    """The events of an item, with who spoke, and what of it no event says."""
    beside = {key: value for key, value in item.holder.items() if key not in _OF_ITEM}
    if beside.get("name") and item.holder.get("type", "message") != "message":
        del beside["name"]  # That of a tool.
    if not made and item.holder.get("type") == "item_reference":
        item.lose("id", "an item of another conversation")
    party = text_or_none(beside.get("name"))
    events: list[Event] = []
    for event in made:
        data = event.data
        if party and isinstance(data, vocabulary.UserUtterance | vocabulary.AgentUtterance):
            data = replace(data, party=party)
        metadata = {kind.api.name: beside} if beside and not events else None
        events.append(Event.of(data, metadata=metadata))
    return events


def _answer(
    kind: CallShape, call: FieldReader, response: FieldReader, own: str, agent: AgentConfigured
) -> list[Event]:
    """The events of the answer that a log of a call ends with."""
    cost, body = call.amount("cost"), response.holder
    latency_s: float | None = call.read("latency_sec", partial(msgspec.convert, type=_SECONDS))
    unread: list[Unread] = []
    told = ModelResponse(
        cost=read_cost(body, unread) if cost is None else cost,
        latency_ms=None if latency_s is None else latency_s * 1_000.0,
        message_id=own,
    )
    response.note("", unread)
    events: list[Event] = []
    if body:
        try:
            chat = kind.api.read_answer(body, told, agent.tools)
        except InvalidEvent as error:
            response.lose(error.path.removeprefix("/"), error.reason)
        else:
            response.note("", chat.unread)
            events = chat.events
    if not any(isinstance(event.data, ModelResponse) for event in events):
        for key, value in (("cost", cost), ("latency_sec", latency_s)):
            if value is not None:
                call.lose(key, "there is no answer that it is of")
    return events


def _beside(
    kind: CallShape, call: Mapping[str, Any], response: Mapping[str, Any]
) -> dict[str, Any]:
    """What no event holds: kept as it was with the start of the session."""
    taken = {kind.talk, *(_ANSWERS if kind is RESPONSES else ()), *(_RESPONSES if response else ())}
    taken |= {key for key in kind.fields if call.get(key) is not None}
    taken |= {"model"} if isinstance(call.get("model"), str) else set()
    held = [key for key in REQUESTS if isinstance(call.get(key), dict) and kind.talk in call[key]]
    # The request is taken where the conversation is that in it.
    taken |= {key for key in held if call[key][kind.talk] is call.get(kind.talk)}
    beside = {key: value for key, value in call.items() if key not in taken}
    rest = {key: value for key, value in response.items() if key not in _ANSWERS}
    match response.get("choices"):
        case [dict(first), *_]:
            rest["choice"] = {key: value for key, value in first.items() if key != "message"}
    return beside | ({"response": rest} if rest else {})
