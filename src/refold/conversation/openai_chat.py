"""OpenAI chat messages and completions to events, so that the messages come back exactly.

What the events of a message cannot say by themselves (a null beside an absent content, a name, a
refusal, a field that is not known here) stands in their own metadata under ``openai``: ``set`` and
``unset`` change the message that the plain events export to, ``call`` does the same to one of its
tool calls, ``late`` marks a result that came after other messages than those of its call. So the
events stay readable, and a history recorded live, without that metadata, exports too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.amounts import read_amount
from refold.conversation.chat_export import Fix, MessageWriter
from refold.conversation.chat_shapes import Path, Unread
from refold.conversation.tokens import read_usage
from refold.core.event import Event
from refold.errors import InvalidEvent

Message = Mapping[str, Any]
AGENT_UNKNOWN: Final = events.AgentConfigured()

_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


class Chat(NamedTuple):
    """The events of chat messages or of a completion, and what of them is not understood."""

    events: list[Event]
    unread: list[Unread]


def from_messages(messages: Sequence[Message]) -> list[Event]:
    """The events of a list of chat messages, in their order.

    The events of the assistant message at index 3 share the message id ``m3``. Tool arguments
    stay the string they are; ``parsed`` is what it says where it is JSON. Raises
    :class:`~refold.errors.InvalidEvent` with the JSON Pointer of what cannot be represented.
    """
    chat = read_messages(messages)
    for unread in chat.unread:
        if unread.what == "call":
            raise InvalidEvent(unread.reason, path=unread.pointer)
    return chat.events


def read_messages(
    messages: Sequence[Message], agent: events.AgentConfigured = AGENT_UNKNOWN
) -> Chat:
    """As :func:`from_messages`, told what is not understood and read all the same.

    ``agent`` is what the agent ran with beside its prompts: model, parameters and tools stay in
    force with each system message, and come first where the chat does not begin with one. Tool
    calls get what the tool of their name says of them. Raises
    :class:`~refold.errors.InvalidEvent` for a message of no known role and for what is not JSON.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidEvent("chat messages must be a list")
    unread: list[Unread] = []
    said = [event for one in read_each(messages, agent, unread) for event in one]
    begins = bool(said) and isinstance(said[0].data, events.AgentConfigured)
    if agent != AGENT_UNKNOWN and not begins:
        said.insert(0, Event.of(agent))
    return Chat(said, unread)


def read_each(
    messages: Iterable[Message], agent: events.AgentConfigured, unread: list[Unread]
) -> Iterator[list[Event]]:
    """The events of each message, as :func:`read_messages` has them together."""
    writer = MessageWriter()
    open_calls: Counter[str] = Counter()
    for index, message in enumerate(messages):
        typed = _typed(index, message, agent, unread)
        pair(typed, open_calls, f"/{index}", unread)
        yield _exactly(message, typed, writer)


def pair(made: Iterable[Any], calls: Counter[str], at: str, unread: list[Unread]) -> None:
    """Count the calls among events, and tell of the results that answer none of those before."""
    for event in made:
        match event:
            case events.ToolCall(call_id=own_id):
                calls[own_id] += 1
            case events.ToolResult(call_id=own_id) if calls[own_id]:
                calls[own_id] -= 1
            case events.ToolResult(call_id=own_id):
                reason = f"a result without a call before it: {own_id!r}"
                unread.append(Unread("result", at, reason))


def read_completion(
    body: object, response: events.ModelResponse, tools: Sequence[events.Tool] = ()
) -> Chat:
    """The events of a chat completion, as OpenAI's API gives it, by its first choice.

    They are ``model.response``, the words and the calls, with the ``message_id`` and whatever
    else the completion does not say from ``response``; then ``model.failed`` where the completion
    or its choice holds an error, which may be all. Pointers of what is not understood lead into
    the completion; each further choice is among it. Raises
    :class:`~refold.errors.InvalidEvent` where there is neither an assistant message nor an error.
    """
    if not isinstance(body, Mapping):
        raise InvalidEvent(f"a chat completion is a JSON object, not a {type(body).__name__}")
    items = body.get("choices")
    choices: list[Any] = items if isinstance(items, list) else []
    errors = [holder.get("error") for holder in (*choices[:1], body) if isinstance(holder, Mapping)]
    failed = [Event.of(failure_of(error)) for error in errors if error][:1]
    try:
        message = _message(choices)
    except InvalidEvent:
        if failed:
            return Chat(failed, [])
        raise
    choice = choices[0]
    unread = [
        Unread("choice", f"/choices/{number}", "a choice after the first")
        for number in range(1, len(choices))
    ]
    made = replace(
        response,
        response_id=text_or_none(body.get("id")),
        model=text_or_none(body.get("model")),
        usage=read_usage(body.get("usage"), ["usage"], unread),
        finish_reason=text_or_none(choice.get("finish_reason")),
    )
    path: Path = ["choices", 0, "message"]
    shapes.check_json(message, path)
    typed = _answered(message, path, made.message_id, unread, tools)
    said = _exactly({**message, "role": "assistant"}, typed, MessageWriter())
    return Chat([Event.of(made), *said, *failed], unread)


def read_cost(completion: Message, unread: list[Unread]) -> Decimal | None:
    """What the provider says that it charges, in US dollars; None where it does not say."""
    usage, said, path = completion.get("usage"), completion.get("cost"), "/cost"
    if said is None and isinstance(usage, Mapping):
        said, path = usage.get("cost"), "/usage/cost"
    cost = read_amount(said)
    if cost is None and said is not None:
        unread.append(Unread("usage", path, f"{said!s:.50} is not an amount"))
    return cost


def _typed(
    index: int, message: Message, agent: events.AgentConfigured, unread: list[Unread]
) -> Sequence[Any]:
    """The events of a message, at least one, without what they alone would lose of it."""
    path: Path = [index]
    if not isinstance(message, Mapping):
        raise shapes.refused("a chat message must be an object", path)
    shapes.check_json(message, path)
    name = text_or_none(message.get("name"))
    match message.get("role"):
        case "system" | "developer":
            text, _ = shapes.read_words(message, path, unread)
            return [replace(agent, prompt=events.Prompt(text))]
        case "user":
            return [events.UserUtterance(*shapes.read_words(message, path, unread), party=name)]
        case "assistant":
            return _answered(message, path, f"m{index}", unread, agent.tools)
        case "tool":
            call_id = shapes.read_id(message.get("tool_call_id"))
            return [events.ToolResult(call_id, message.get("content"), name=name)]
        case "function":
            return [events.ToolResult(shapes.function_id(name), message.get("content"), name=name)]
        case role:
            raise shapes.refused(
                f"there is no event for the role {shapes.as_said(role)}", [index, "role"]
            )


def _answered(
    message: Message,
    path: Path,
    message_id: str | None,
    unread: list[Unread],
    tools: Sequence[events.Tool],
) -> list[Any]:
    """The words of an answer, where it has any or nothing else, and its tool calls.

    What is not understood leaves a part behind, so that it does not pass for silence, nor for
    the words beside it.
    """
    known = len(unread)
    text, parts = shapes.read_words(message, path, unread)
    calls = [shapes.described(call, tools) for call in shapes.read_calls(message, path, unread)]
    is_odd = shapes.has_unread(parts or [])
    marks = [one.what for one in unread[known:] if one.what == "call" or not is_odd]
    if marks:
        parts = parts or ([{"type": "text", "text": text}] if text else [])
        parts = [*parts, *({"type": f"unread {what}"} for what in marks)]
    told: list[Any] = [replace(call, message_id=message_id) for call in calls]
    if text or parts or not calls:
        said = events.AgentUtterance(text, parts or None, message_id=message_id)
        told.insert(0, replace(said, party=text_or_none(message.get("name"))))
    return told


def _message(choices: list[Any]) -> Message:
    if not choices:
        raise shapes.refused("no choices", ["choices"])
    if not isinstance(choices[0], Mapping):
        raise shapes.refused("a choice must be an object", ["choices", 0])
    message = choices[0].get("message")
    if isinstance(message, Mapping) and message.get("role") in (None, "assistant"):
        return message
    raise shapes.refused("there is no assistant message", ["choices", 0, "message"])


def failure_of(error: object) -> events.ModelFailed:
    """The failure that the error object of a body is, with its code where that is a number."""
    said = error if isinstance(error, Mapping) else {}
    status = said["code"] if type(said.get("code")) is int else None
    return events.ModelFailed(str(said.get("message") or error), status=status)


def text_or_none(value: object) -> str | None:
    """The value where it is text."""
    return value if isinstance(value, str) else None


# -- so that nothing is lost ----------------------------------------------------------------------


def _exactly(message: Message, typed: Sequence[Any], writer: MessageWriter) -> list[Event]:
    """Each event with what it alone would lose of the message that it is read from."""
    fixes: list[Fix] = [{} for _ in typed]
    if isinstance(typed[0], events.ToolResult) and writer.said_since_call(typed[0]):
        fixes[0]["late"] = True
    written = [writer.add(event, fix) for event, fix in zip(typed, fixes, strict=True)]
    plain = dict(written[0] or {})
    items = message.get("tool_calls")
    if isinstance(items, list) and items:
        calls = [n for n, event in enumerate(typed) if isinstance(event, events.ToolCall)]
        # If as many, they are those calls, unless one was not read and the legacy call was.
        was_read = shapes.UNREAD_CALL not in (getattr(typed[0], "parts", None) or ())
        if len(items) == len(calls) and was_read:
            for place, item, exported in zip(calls, items, plain["tool_calls"], strict=True):
                if fix := _difference(item, exported):
                    fixes[place]["call"] = fix
            plain["tool_calls"] = items
    fixes[0] |= _difference(message, plain)
    return [
        Event.of(event, metadata={"openai": fix} if fix else None)
        for event, fix in zip(typed, fixes, strict=True)
    ]


def _difference(wanted: Message, exported: Message) -> Fix:
    """What turns an exported object into the wanted one, by its top-level keys."""
    put = {k: v for k, v in wanted.items() if k not in exported or not _same(v, exported[k])}
    drop = [key for key in exported if key not in wanted]
    return ({"set": put} if put else {}) | ({"unset": drop} if drop else {})


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return first == second
    # As JSON: 1, 1.0 and true are equal to Python.
    return first is second or _canonical(first) == _canonical(second)
