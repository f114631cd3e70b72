"""OpenAI chat messages to events and back, exactly.

``to_messages`` gives back what ``from_messages`` was given, field by field. What the events of a
message cannot say by themselves (a null beside an absent content, a name, a refusal, a field that
is not known here) stands in their own metadata under ``openai``: ``set`` and ``unset`` change the
message that the plain events export to, ``call`` does the same to one of its tool calls. So the
events stay readable, and a history recorded live, without that metadata, exports too.

The shapes are those of the Chat Completions API (https://platform.openai.com/docs/api-reference/chat).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from refold.conversation.chat_values import (
    check_json,
    json_text,
    parsed_arguments,
    parts_of,
    refused,
    text_hash,
    text_of,
)
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    Prompt,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.core.event import Event
from refold.core.jsonvalue import copy, pointer
from refold.core.recorded import Recorded, history_of
from refold.errors import InvalidEvent

Message = dict[str, Any]
Fix = dict[str, Any]
Path = list[str | int]


class Loss(NamedTuple):
    """Something that did not survive an import or export.

    ``where`` is an event's id, or file and line; ``what`` the event type or a few words;
    ``pointer`` the JSON Pointer of the part that was lost, "" for the whole.
    """

    where: str
    what: str
    pointer: str = ""


class Exported(NamedTuple):
    """Chat messages and what of the history has no place in them."""

    messages: list[Message]
    loss: list[Loss]


def from_messages(messages: Sequence[Mapping[str, Any]]) -> list[Event]:
    """The events of a list of chat messages, in their order.

    The events of the assistant message at index 3 share the message id ``m3``. Tool arguments
    stay the string they are; ``parsed`` is what it says where it is JSON. Raises
    :class:`~refold.errors.InvalidEvent` with the JSON Pointer of what cannot be represented.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidEvent("chat messages must be a list")
    events: list[Event] = []
    for index, message in enumerate(messages):
        events += _events_of(index, message)
    return events


def to_messages(history: Iterable[Recorded]) -> list[Message]:
    """The chat messages of a history: what a model would be shown of it.

    Tool calls join the agent's words of the same answer. Events that have no place in chat
    messages are left out; :func:`export_messages` lists them.
    """
    return export_messages(history).messages


def export_messages(history: Iterable[Recorded]) -> Exported:
    """The chat messages of a history, and each event or field that has no place in them."""
    chat = _Chat()
    loss: list[Loss] = []
    for recorded in history_of(history, call="export_messages"):
        parts = recorded.parts()
        if not parts:
            loss.append(Loss(recorded.id, recorded.type))
        for part in parts:
            loss += _added(chat, part)
    return Exported(chat.finished(), loss)


def _added(chat: _Chat, recorded: Recorded) -> list[Loss]:
    """What of an event has no place in the chat that it was added to."""
    carried = _CARRIED.get(recorded.type)
    if carried is None or not chat.add(recorded):
        return [Loss(recorded.id, recorded.type)]
    lost = (name for name in recorded.data if name not in carried)
    return [Loss(recorded.id, recorded.type, pointer([name])) for name in lost]


# -- messages to events ---------------------------------------------------------------------------


def _events_of(index: int, message: Mapping[str, Any]) -> list[Event]:
    if not isinstance(message, Mapping):
        raise refused("a chat message must be an object", [index])
    check_json(message, [index])
    match message.get("role"):
        case "system" | "developer":
            typed: list[Any] = [_configured(message)]
        case "user":
            typed = [_said_by_user(message)]
        case "assistant":
            typed = _answered(index, message)
        case "tool":
            typed = [_result(message, message.get("tool_call_id"))]
        case "function":
            typed = [_result(message, None)]
        case role:
            raise refused(f"there is no event for the role {role!r}", [index, "role"])
    return _with_fixes(message, typed)


def _configured(message: Mapping[str, Any]) -> AgentConfigured:
    text = text_of(message)
    return AgentConfigured(prompt=Prompt(text=text, hash=text_hash(text)))


def _said_by_user(message: Mapping[str, Any]) -> UserUtterance:
    return UserUtterance(text=text_of(message), parts=parts_of(message))


def _answered(index: int, message: Mapping[str, Any]) -> list[Any]:
    """The words of an answer, where it has any or nothing else, and its tool calls."""
    message_id = f"m{index}"
    calls = _calls(index, message, message_id)
    text, parts = text_of(message), parts_of(message)
    if not text and isinstance(refusal := message.get("refusal"), str):
        text = refusal
    if text or parts or not calls:
        return [AgentUtterance(text=text, parts=parts, message_id=message_id), *calls]
    return calls


def _calls(index: int, message: Mapping[str, Any], message_id: str) -> list[ToolCall]:
    items = message.get("tool_calls")
    legacy = message.get("function_call")
    if not items and isinstance(legacy, dict):
        path: Path = [index, "function_call"]
        return [_call(legacy, "arguments", path, f"{message_id}-function", message_id)]
    if items is None:
        return []
    if not isinstance(items, list):
        raise refused("tool_calls must be a list", [index, "tool_calls"])
    return [_call_of_item(index, n, item, message_id) for n, item in enumerate(items)]


def _call_of_item(index: int, number: int, item: Any, message_id: str) -> ToolCall:
    path: Path = [index, "tool_calls", number]
    if not isinstance(item, dict):
        raise refused("a tool call must be an object", path)
    kind = "custom" if "custom" in item and "function" not in item else "function"
    function = item.get(kind)
    if not isinstance(function, dict):
        raise refused("a tool call must name its function", [*path, kind])
    call_id = item.get("id")
    call_id = call_id if isinstance(call_id, str) else ""
    text_key = "input" if kind == "custom" else "arguments"
    return _call(function, text_key, [*path, kind], call_id, message_id)


def _call(
    function: Mapping[str, Any], text_key: str, path: Path, call_id: str, message_id: str
) -> ToolCall:
    name, arguments = function.get("name"), function.get(text_key, "")
    if not isinstance(name, str):
        raise refused("a tool call must name its function", [*path, "name"])
    if not isinstance(arguments, str):
        arguments = json_text(arguments)
    return ToolCall(
        call_id=call_id,
        name=name,
        arguments=arguments,
        parsed=parsed_arguments(arguments),
        message_id=message_id,
    )


def _result(message: Mapping[str, Any], call_id: object) -> ToolResult:
    name = message.get("name")
    return ToolResult(
        call_id=call_id if isinstance(call_id, str) else "",
        result=message.get("content"),
        name=name if isinstance(name, str) else None,
    )


def _with_fixes(message: Mapping[str, Any], typed: Sequence[Any]) -> list[Event]:
    """Each event with what it alone would lose of the message, so that nothing is lost."""
    plain = _plain_message(typed)
    fixes: list[Fix] = [{} for _ in typed]
    if "tool_calls" in plain and (items := message.get("tool_calls")):
        calls = [n for n, event in enumerate(typed) if isinstance(event, ToolCall)]
        for place, item, exported in zip(calls, items, plain["tool_calls"], strict=True):
            if fix := _difference(item, exported):
                fixes[place]["call"] = fix
        plain["tool_calls"] = items
    fixes[0] |= _difference(message, plain)
    return [
        Event.of(event, metadata={"openai": fix} if fix else None)
        for event, fix in zip(typed, fixes, strict=True)
    ]


def _difference(wanted: Mapping[str, Any], exported: Mapping[str, Any]) -> Fix:
    """What turns an exported object into the wanted one, by its top-level keys."""
    put = {k: v for k, v in wanted.items() if k not in exported or not _same(v, exported[k])}
    drop = [key for key in exported if key not in wanted]
    return ({"set": put} if put else {}) | ({"unset": drop} if drop else {})


def _same(first: Any, second: Any) -> bool:
    # By type too: 1, 1.0 and true are equal to Python and not in JSON.
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(v, second[k]) for k, v in first.items())
    return first is second or (type(first) is type(second) is str and first == second)


# -- events to messages ---------------------------------------------------------------------------


def _plain_message(typed: Sequence[Any]) -> Message:
    """The message that the events of one message make by themselves."""
    match typed[0]:
        case AgentConfigured(prompt=prompt):
            return {"role": "system", "content": "" if prompt is None else prompt.text}
        case UserUtterance(text=text, parts=parts):
            return {"role": "user", "content": text if parts is None else parts}
        case ToolResult() as result:
            return _tool_message(result)
    said, calls = typed[0], [event for event in typed if isinstance(event, ToolCall)]
    message = _agent_message(said if isinstance(said, AgentUtterance) else None)
    return message | ({"tool_calls": [_tool_call_item(call) for call in calls]} if calls else {})


def _agent_message(said: AgentUtterance | None) -> Message:
    if said is None:
        return {"role": "assistant", "content": None}
    return {"role": "assistant", "content": said.text if said.parts is None else said.parts}


def _tool_call_item(call: ToolCall) -> Message:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _tool_message(result: ToolResult) -> Message:
    text = result.result if isinstance(result.result, str) else json_text(result.result)
    message: Message = {"role": "tool", "tool_call_id": result.call_id, "content": text}
    return message if result.name is None else message | {"name": result.name}


class _Chat:
    """Messages as they grow: which answer a tool call belongs to, and what is still to be fixed."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._fixes: list[tuple[Message, Fix]] = []
        # The answers since the last turn of the user, by message id.
        self._open: dict[str, Message] = {}

    def add(self, recorded: Recorded) -> bool:
        """Takes up an event; False when it says nothing that a chat message holds."""
        fix = _fix_of(recorded)
        event = recorded.to_class(_CLASSES[recorded.type])
        match event:
            case AgentConfigured(prompt=None):
                return False
            case AgentUtterance(message_id=message_id):
                message = self._answer(message_id, event)
            case ToolCall(message_id=message_id):
                message = self._answer_of_call(message_id)
                item = _fixed(_tool_call_item(event), fix.get("call", {}))
                message.setdefault("tool_calls", []).append(item)
            case ToolResult():
                message = self._put(_tool_message(event))
            case _:
                self._open.clear()
                message = self._put(_plain_message([event]))
        if fix:
            self._fixes.append((message, fix))
        return True

    def finished(self) -> list[Message]:
        """The messages, each as it was where that is known."""
        for message, fix in self._fixes:
            _fixed(message, fix)
        return self._messages

    def _answer(self, message_id: str | None, said: AgentUtterance | None) -> Message:
        begun = self._open.get(message_id or "")
        if begun is not None and begun["content"] is None:
            begun.update(_agent_message(said))
            return begun
        message = self._put(_agent_message(said))
        if message_id is not None:
            self._open[message_id] = message
        return message

    def _answer_of_call(self, message_id: str | None) -> Message:
        """The answer that a call is part of: the one of its id, else the one just before it."""
        if message_id is not None:
            return self._open.get(message_id) or self._answer(message_id, None)
        last = self._messages[-1] if self._messages else {}
        return last if last.get("role") == "assistant" else self._answer(None, None)

    def _put(self, message: Message) -> Message:
        self._messages.append(message)
        return message


def _fix_of(recorded: Recorded) -> Fix:
    fix = recorded.metadata.get("openai")
    return fix if isinstance(fix, dict) else {}


def _fixed(message: Message, fix: Fix) -> Message:
    for key in fix.get("unset", ()):
        message.pop(key, None)
    message.update(copy(fix.get("set", {})))
    return message


_CLASSES: Final[dict[str, type]] = {
    "agent.configured": AgentConfigured,
    "user.utterance": UserUtterance,
    "agent.utterance": AgentUtterance,
    "tool.call": ToolCall,
    "tool.result": ToolResult,
}
# The fields of an event that its message holds, the name that groups events and what can be
# parsed again among them.
_CARRIED: Final[dict[str, frozenset[str]]] = {
    "agent.configured": frozenset({"prompt"}),
    "user.utterance": frozenset({"text", "parts"}),
    "agent.utterance": frozenset({"text", "parts", "message_id"}),
    "tool.call": frozenset({"call_id", "name", "arguments", "parsed", "message_id"}),
    "tool.result": frozenset({"call_id", "name", "result"}),
}
