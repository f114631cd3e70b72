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
from typing import Annotated, Any, Final

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
from refold.conversation.importers.json_array import VALUE_BYTES_MAX, Value
from refold.conversation.importers.source import ImportSource, names
from refold.conversation.openai_chat import read_cost, text_or_none
from refold.conversation.openai_chat import read_each as read_messages
from refold.core.event import Event
from refold.errors import InvalidEvent

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


CATEGORIES: Final[Mapping[Api, str]] = {
    OPENAI_CHAT: "chat",
    ANTHROPIC_MESSAGES: "claude",
    OPENAI_RESPONSES: "response",
}


def read_chat(source: ImportSource, options: Options) -> Conversations:
    """Import OpenAI chat messages: JSON lines, a conversation a line, or a file of one.

    A line is a list of messages, or an object with "messages" and, if there are, "id", "model",
    "tools", "created". - is stdin.

    The streams are called CATEGORY-ID; the category is by default chat. A conversation without
    an id is known by its file's name and, in a file of several, by its number in it.

        refold import openai-chat chats.jsonl --category chat
    """
    return _read(OPENAI_CHAT, source, options)


def read_anthropic(source: ImportSource, options: Options) -> Conversations:
    """Import Anthropic Messages: requests, conversations or logged calls, as JSON or JSON lines.

    A value is a request with "messages", a list of messages, or an object with "request" and
    "response". A file whose lines are messages is one conversation.

    The streams are called CATEGORY-ID; the category is by default claude. A conversation without
    an id is known by its file's name and, in a file of several, by its number in it.

        refold import anthropic-messages requests.jsonl
    """
    return _read(ANTHROPIC_MESSAGES, source, options)


def read_responses(source: ImportSource, options: Options) -> Conversations:
    """Import calls of OpenAI's Responses API: requests, items or logged calls, JSON or JSON lines.

    A value is a request with "input", a response with "output", both, or a list of items. A file
    whose lines are items is one conversation.

    The streams are called CATEGORY-ID; the category is by default response. A conversation
    without an id is known by its file's name and, in a file of several, by its number in it.

        refold import openai-responses calls.jsonl
    """
    return _read(OPENAI_RESPONSES, source, options)


def _read(api: Api, source: ImportSource, options: Options) -> Conversations:
    # A line that is a list is a conversation by itself.
    is_talk = source.layout == "lines" and source.head.startswith(b"[")
    first = source.sample[0] if source.sample and not is_talk else None
    names_it = (
        {"role", "type"} if api is OPENAI_RESPONSES else {"role"}
    )  # A message's, or an item's.
    is_message = isinstance(first, dict) and not names_it.isdisjoint(first)
    if is_message and not _is_call(api, call_in(first, api.talk)):
        values, several = _as_one(source), False
    else:
        values, several = source.values(), source.layout != "one"
    return read_each(source, values, partial(_found, api, options, source.stem, several))


def _is_call(api: Api, call: Mapping[str, Any]) -> bool:
    # An item of Responses may have an input or an output too.
    is_item = api is OPENAI_RESPONSES and call.get("type") in _TOOL_ITEMS
    is_answer = api is OPENAI_RESPONSES and "output" in call and "call_id" not in call
    return not is_item and (api.talk in call or is_answer)


def _as_one(source: ImportSource) -> Iterator[Value]:
    """All values of a source as one list: what its lines or elements are, is messages."""
    if source.layout != "lines":
        yield from source.whole()
        return
    raws: list[bytes] = []
    for value in source.lines():
        try:
            value.read_whole()
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
    api: Api, options: Options, stem: str, several: bool, line: FieldReader, value: Value
) -> Found:
    call = FieldReader(call_in(line.holder, api.talk), line.unread)
    talk = call.holder.get(api.talk, [] if _is_call(api, call.holder) else None)
    if isinstance(talk, str) and api is OPENAI_RESPONSES:
        talk = [{"role": "user", "content": talk}]
    if not isinstance(talk, list):
        raise InvalidEvent(f"a conversation is a list of messages, or an object with {api.talk}")
    if not talk and (api is not OPENAI_RESPONSES or "output" not in call.holder):
        raise InvalidEvent(f"a conversation without {api.talk}", path=f"/{api.talk}")
    for index, item in enumerate(talk):
        _check(api, item, f"/{api.talk}/{index}")
    own_id = call.read("id", partial(msgspec.convert, type=str | int))
    own_id = text_or_none(call.holder.get("custom_id")) if own_id in (None, "") else own_id
    default_id = f"{stem}-{value.number}" if several else stem
    stream = f"{options.category or CATEGORIES[api]}-{default_id if own_id is None else own_id}"
    return Found(stream, _events(api, options, call, talk))


def _check(api: Api, item: Any, at: str) -> None:
    """Refuse a message of another API: its calls, or all of it, would be taken for words."""
    match item:
        case {"tool_calls": _} | {"function_call": _} if api is not OPENAI_CHAT:
            raise InvalidEvent("a message of chat completions", path=at)
        case {"content": [*parts]} if api is OPENAI_CHAT and any(
            isinstance(part, dict) and part.get("type") in _OTHERS for part in parts
        ):
            why = "a message of the Anthropic or the Responses API, not of chat completions"
            raise InvalidEvent(why, path=at)
        case {"role": "user" | "assistant" | "system" | "tool"} if api is OPENAI_CHAT:
            # Its words stand in a field that is not known here.
            odd = [key for key, value in item.items() if isinstance(value, list | dict)]
            if odd and not item.keys() & _WORDS:
                raise InvalidEvent(f"a message without content, but with {odd[0]}", path=at)


def _events(api: Api, options: Options, call: FieldReader, talk: list[Any]) -> list[Event]:
    held = next((key for key in _RESPONSES if call.holder.get(key) is not None), "")
    response = call.inside(held) if held else FieldReader({}, call.unread)
    if isinstance(response.holder.get("body"), dict):
        response = response.inside("body")
    if api is OPENAI_RESPONSES and not held and "output" in call.holder:
        response = call
    agent, elements = _asked(api, options, call, response, talk)
    answer = _answer(api, call, response, f"m{len(talk)}", agent)
    beside = _beside(api, call.holder, {} if response is call or not answer else response.holder)
    said_us = call.time() or response.time("created")
    fields = [FieldReader(one, call.unread, f"/{api.talk}/{n}") for n, one in enumerate(talk)]
    times = [one.time() for one in fields]
    now_us = min(filter(None, (said_us, next(filter(None, times), None))), default=None)
    # Of messages "openai" is what turns them back into what they were.
    about = "openai_chat" if api is OPENAI_CHAT else api.name
    metadata = {about: beside} if beside else None
    begun = [Event.of(vocabulary.SessionStarted(), metadata=metadata)]
    begun += [Event.of(agent)] if _is_to_tell(agent, elements) else []
    timed = [with_event(one, occurred_at=now_us) for one in begun]
    for item, made, own_us in zip(fields, elements, times, strict=True):
        now_us = own_us or now_us
        told = made if api is OPENAI_CHAT else _told(api, item, made)
        timed += [with_event(one, occurred_at=now_us) for one in told]
    return timed + [with_event(one, occurred_at=now_us) for one in answer]


def _asked(
    api: Api, options: Options, call: FieldReader, response: FieldReader, talk: list[Any]
) -> tuple[AgentConfigured, list[list[Event]]]:
    """The agent as a request configures it, and the events of each message or item."""
    model = call.typed("model", str)
    if model is None and response is not call:
        model = response.typed("model", str)
    beside = call.inside("kwargs").holder if api is OPENAI_CHAT else {}
    given = {key: value for key, value in {**beside, **call.holder}.items() if value is not None}
    request = {key: given[key] for key in given.keys() & _fields(api)}
    # The prompts of chat messages stay where they are, so that they come back as they were.
    said = [] if api is OPENAI_CHAT else talk
    asked = api.read_request({**request, api.talk: said, "model": model})
    call.unread += asked.unread
    effects = {tool.name: tool.effect for tool in options.tools}
    offered = asked.agent.tools or options.tools
    tools = [replace(one, effect=effects.get(one.name, one.effect)) for one in offered]
    agent = replace(asked.agent, tools=tools)
    if api is not OPENAI_CHAT:
        return agent, asked.elements
    unread: list[Unread] = []
    agent = replace(agent, provider=None)
    try:
        elements = list(read_messages(talk, agent, unread))
    except InvalidEvent as error:
        raise InvalidEvent(error.reason, path=f"/messages{error.path}") from error
    call.note("messages", unread)
    return agent, elements


def _fields(api: Api) -> frozenset[str]:
    """What of a request says what is asked; all else stands beside it."""
    return names(api.asks).union(api.lists)


def _is_to_tell(agent: AgentConfigured, elements: list[list[Event]]) -> bool:
    """Whether the agent is configured by more than the first of the messages."""
    first = elements[0] if elements else []
    is_told = bool(first) and isinstance(first[0].data, AgentConfigured)
    return not is_told and replace(agent, provider=None) != _UNKNOWN


def _told(api: Api, item: FieldReader, made: list[Event]) -> list[Event]:
    """The events of an item, with what of it none of them says."""
    beside = {key: value for key, value in item.holder.items() if key not in _OF_ITEM}
    if beside.get("name") and item.holder.get("type", "message") != "message":
        del beside["name"]  # That of a tool.
    if not made and item.holder.get("type") == "item_reference":
        item.lose("id", "an item of another conversation")
    first = {api.name: beside} if beside else None
    return [with_event(one, metadata=None if n else first) for n, one in enumerate(made)]


def _answer(
    api: Api, call: FieldReader, response: FieldReader, own: str, agent: AgentConfigured
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
            chat = api.read_answer(body, told, agent.tools)
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


def _beside(api: Api, call: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    """What no event holds: kept as it was with the start of the session."""
    taken = {
        api.talk,
        *(_ANSWERS if api is OPENAI_RESPONSES else ()),
        *(_RESPONSES if response else ()),
    }
    taken |= {key for key in _fields(api) if call.get(key) is not None}
    taken |= {"model"} if isinstance(call.get("model"), str) else set()
    held = [key for key in REQUESTS if isinstance(call.get(key), dict) and api.talk in call[key]]
    # The request is taken where the conversation is that in it.
    taken |= {key for key in held if call[key][api.talk] is call.get(api.talk)}
    beside = {key: value for key, value in call.items() if key not in taken}
    rest = {key: value for key, value in response.items() if key not in _ANSWERS}
    match response.get("choices"):
        case [dict(first), *_]:
            rest["choice"] = {key: value for key, value in first.items() if key != "message"}
    return beside | ({"response": rest} if rest else {})
