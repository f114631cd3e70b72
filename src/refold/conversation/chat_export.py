"""Events to OpenAI chat messages: what a model would be shown of a history.

Results stand right behind the message of their calls, where a model wants them, whatever was said
meanwhile. What stands in the metadata of imported events: :mod:`refold.conversation.openai_chat`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from refold.conversation.chat_shapes import json_text
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.core.jsonvalue import copy, pointer
from refold.core.recorded import Recorded, history_of

Message = dict[str, Any]
Fix = dict[str, Any]


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


def is_late_result(recorded: Recorded) -> bool:
    """Whether a result is exported behind messages that came after its call, as it was imported.

    No model accepts such messages.
    """
    return recorded.type == "tool.result" and "late" in _fix_of(recorded)


def _added(chat: _Chat, recorded: Recorded) -> list[Loss]:
    """What of an event has no place in the chat that it was added to."""
    carried = _CARRIED.get(recorded.type)
    if carried is None or not chat.add(recorded):
        return [Loss(recorded.id, recorded.type)]
    put = _fix_of(recorded).get("set", {})
    lost = (
        name
        for name, value in recorded.data.items()
        if name not in carried and not (name == "party" and put.get("name") == value)
    )
    return [Loss(recorded.id, recorded.type, pointer([name])) for name in lost]


def plain_message(typed: Sequence[Any]) -> Message:
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
        # The last answer and the ids of its calls.
        self._last: Message = {}
        self._called: set[str] = set()
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
                self._called |= {event.call_id} if message is self._last else set()
            case ToolResult():
                message = self._add_result(_tool_message(event), late="late" in fix)
            case _:
                self._open.clear()
                message = self._put(plain_message([event]))
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
        message = self._last = self._put(_agent_message(said))
        self._called = set()
        if message_id is not None:
            self._open[message_id] = message
        return message

    def _answer_of_call(self, message_id: str | None) -> Message:
        """The answer that a call is part of: the one of its id, else the one just before it."""
        if message_id is not None:
            return self._open.get(message_id) or self._answer(message_id, None)
        last = self._messages[-1] if self._messages else {}
        return last if last.get("role") == "assistant" else self._answer(None, None)

    def _add_result(self, result: Message, *, late: bool) -> Message:
        """Put a result behind its call, before what others said since, unless it is kept late."""
        place = len(self._messages)
        if not late and result["tool_call_id"] in self._called:
            while self._messages[place - 1]["role"] not in ("assistant", "tool"):
                place -= 1
        self._messages.insert(place, result)
        return result

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
