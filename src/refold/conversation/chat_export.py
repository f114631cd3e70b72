"""Events to OpenAI chat messages: what a model would be shown of a history.

Results stand right behind the message of their calls, where a model wants them, whatever was said
meanwhile. What stands in the metadata of imported events: :mod:`refold.conversation.openai_chat`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from refold.conversation import events
from refold.conversation.chat_shapes import json_text
from refold.core.jsonvalue import copy, pointer
from refold.core.recorded import Recorded, history_of, parts_of

Message = dict[str, Any]
Fix = dict[str, Any]

# The classes of what chat messages hold, and the fields that they do, the name that groups events
# and what can be parsed again among them.
_CARRIED: Final[dict[str, tuple[type, frozenset[str]]]] = {
    "agent.configured": (events.AgentConfigured, frozenset({"prompt"})),
    "user.utterance": (events.UserUtterance, frozenset({"text", "parts"})),
    "agent.utterance": (events.AgentUtterance, frozenset({"text", "parts", "message_id"})),
    "tool.call": (
        events.ToolCall,
        frozenset({"call_id", "name", "arguments", "parsed", "message_id", "kind"}),
    ),
    "tool.result": (events.ToolResult, frozenset({"call_id", "name", "result"})),
    "tool.relayed": (events.ToolRelayed, frozenset({"call_id", "result"})),
}


class Loss(NamedTuple):
    """Something that did not survive an import or export.

    ``where`` is an event's id, or file and line; ``what`` the event type or a few words;
    ``pointer`` the JSON Pointer of the part that was lost, "" for the whole.
    """

    where: str
    what: str
    pointer: str = ""


class Messages(list[Message]):
    """Chat messages; ``loss`` is what of their history has no place in them."""

    loss: list[Loss]


def to_messages(history: Iterable[Recorded]) -> Messages:
    """The chat messages of a history: what a model would be shown of it.

    Tool calls join the agent's words of the same answer. Events and fields that have no place in
    chat messages are left out, and listed in the ``loss`` of the list; bytes of the wire are not
    listed, for what was said is told beside them.
    """
    writer = MessageWriter()
    loss: list[Loss] = []
    for recorded in history_of(history, call="to_messages"):
        if recorded.type.startswith("wire."):
            continue  # The bytes that what was said was read from.
        parts = recorded.parts()
        if not parts:
            loss.append(Loss(recorded.id, recorded.type))
        for part in parts:
            loss += _lost(writer, part)
    return writer.finished(loss)


def first_touched(history: Iterable[Recorded]) -> Iterator[tuple[Recorded, int, int]]:
    """Each event of a history, and what it does to the messages of those before it.

    The place of the first message that it writes or moves, and how many messages there are then.
    An event that no message holds touches none: its place is after the last.
    """
    writer = MessageWriter()
    for recorded in parts_of(history):
        message = _written(writer, recorded)
        count = len(writer.messages)
        place = count if message is None else writer.place_of(message)
        yield recorded, place, count


class GrowingMessages:
    """The messages of a history that is read event by event, at any moment of it."""

    def __init__(self) -> None:
        self._writer = MessageWriter()
        self._told: list[Message] = []
        # From this place on the messages are not those that were told last.
        self._place = 0

    def add(self, recorded: Recorded) -> Message | None:
        """Read one more event; what :meth:`place_of` knows its message by, None for none."""
        message = _written(self._writer, recorded)
        if message is not None:
            self._place = min(self._place, self._writer.place_of(message))
        return message

    def place_of(self, message: Message) -> int:
        """Where the message stands that :meth:`add` gave."""
        return self._writer.place_of(message)

    def so_far(self) -> list[Message]:
        """The messages now: a list of the caller's own, of messages that are not to be changed."""
        changed = self._writer.messages[self._place :]
        self._told[self._place :] = [self._writer.as_it_was(message) for message in changed]
        self._place = len(self._told)
        return self._told.copy()


def is_late_result(recorded: Recorded) -> bool:
    """Whether a result is exported behind messages that came after its call, as it was imported.

    No model accepts such messages.
    """
    return recorded.type == "tool.result" and "late" in _fix_of(recorded)


def _written(writer: MessageWriter, recorded: Recorded) -> Message | None:
    """Write an event; the message that it is in."""
    cls, _ = _CARRIED.get(recorded.type, (None, frozenset()))
    return None if cls is None else writer.add(recorded.to_class(cls), _fix_of(recorded))


def _lost(writer: MessageWriter, recorded: Recorded) -> list[Loss]:
    """Write an event; what of it has no place in the messages."""
    if _written(writer, recorded) is None:
        return [Loss(recorded.id, recorded.type)]
    _, carried = _CARRIED[recorded.type]
    fix = _fix_of(recorded)
    if fix.get("set", {}).get("name") == recorded.data.get("party"):
        carried |= {"party"}
    lost = (name for name in recorded.data if name not in carried)
    return [Loss(recorded.id, recorded.type, pointer([name])) for name in lost]


def _fix_of(recorded: Recorded) -> Fix:
    fix = recorded.metadata.get("openai")
    return fix if isinstance(fix, dict) else {}


class MessageWriter:
    """Messages as they grow: which answer a tool call belongs to, and what is still to be fixed."""

    def __init__(self) -> None:
        self.messages = Messages()
        # By the id of the message.
        self._fixes: dict[int, list[Fix]] = {}
        # The answers since the last turn of the user, by message id.
        self._open: dict[str | None, Message] = {}
        # The last answer and the ids of its calls.
        self._last: Message = {}
        self._called: set[str] = set()

    def add(self, event: object, fix: Fix) -> Message | None:
        """Write an event; the message that it is in, None when no chat message says such a thing.

        ``fix`` is what the event's metadata says of its message.
        """
        match event:
            case events.AgentConfigured(prompt=prompt) if prompt is not None:
                message = self._said_by_other("system", prompt.text)
            case events.UserUtterance(text=text, parts=parts):
                message = self._said_by_other("user", text if parts is None else parts)
            case events.AgentUtterance(text=text, parts=parts):
                message = self._answer(event.message_id, text if parts is None else parts)
            case events.ToolCall():
                message = self._answer(event.message_id)
                self._called |= {event.call_id} if message is self._last else set()
                text_key = "input" if event.kind == "custom" else "arguments"
                function = {"name": event.name, text_key: event.arguments}
                item = {"id": event.call_id, "type": event.kind, event.kind: function}
                calls = message.setdefault("tool_calls", [])
                calls.append(_fixed(item, fix.get("call", {})))
            case events.ToolResult():
                message = _result(event)
                since = 0 if "late" in fix else self.said_since_call(event)
                self.messages.insert(len(self.messages) - since, message)
            case events.ToolRelayed():
                return self._relayed(event)
            case _:
                return None
        if fix:
            self._fixes.setdefault(id(message), []).append(fix)
        return message

    def said_since_call(self, result: events.ToolResult) -> int:
        """How many messages others have said since the call of a result, which goes before them."""
        count = 0
        if result.call_id in self._called:
            while self.messages[-1 - count]["role"] not in ("assistant", "tool"):
                count += 1
        return count

    def place_of(self, message: Message) -> int:
        """Where a message that was written stands; it is looked for from the end."""
        places = range(len(self.messages) - 1, -1, -1)
        return next(place for place in places if self.messages[place] is message)

    def _relayed(self, told: events.ToolRelayed) -> Message | None:
        """The message of a result, which says what the agent was told; None where there is none."""
        for message in reversed(self.messages):
            if message.get("tool_call_id") == told.call_id:
                message["content"] = told_text(told.result)
                return message
        return None

    def finished(self, loss: list[Loss]) -> Messages:
        """The messages, each as it was where that is known."""
        for message in self.messages:
            self._fix(message, message)
        self.messages.loss = loss
        return self.messages

    def as_it_was(self, message: Message) -> Message:
        """A copy of a message, as it was where that is known; the message may still grow."""
        calls = message.get("tool_calls")
        return self._fix({**message, **({"tool_calls": [*calls]} if calls else {})}, message)

    def _fix(self, copied: Message, message: Message) -> Message:
        for fix in self._fixes.get(id(message), ()):
            _fixed(copied, fix)
        return copied

    def _said_by_other(self, role: str, content: object) -> Message:
        self._open.clear()
        self.messages.append({"role": role, "content": content})
        return self.messages[-1]

    def _answer(self, message_id: str | None, content: object = None) -> Message:
        """The answer that words are part of, or a call, which has no content.

        It is the one of its id; of a call without an id the one just before it.
        """
        message = self._open.get(message_id)
        if message_id is None and content is None and self.messages:
            last = self.messages[-1]
            message = last if last["role"] == "assistant" else None
        if message is None or None not in (content, message["content"]):
            message = self._last = {"role": "assistant", "content": None}
            self.messages.append(message)
            self._called = set()
            if message_id is not None:
                self._open[message_id] = message
        if content is not None:
            message["content"] = content
        return message


def _result(result: events.ToolResult) -> Message:
    content = told_text(result.result)
    message: Message = {"role": "tool", "tool_call_id": result.call_id, "content": content}
    return message if result.name is None else message | {"name": result.name}


def told_text(result: Any) -> str:
    """What an agent is told of a tool's result: its text, else its JSON."""
    return result if isinstance(result, str) else json_text(result)


def _fixed(message: Message, fix: Fix) -> Message:
    for key in fix.get("unset", ()):
        message.pop(key, None)
    message.update(copy(fix.get("set", {})))
    return message
