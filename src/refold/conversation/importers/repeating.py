"""Requests of which each repeats the one before and goes on: a message is read once.

A call of a model has the whole conversation so far in its input. Read by themselves, the calls of
a conversation of n turns come to n² messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.apis.base import Asked
from refold.conversation.apis.openai_chat import OPENAI_CHAT, OpenAIChat
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.dialects import (
    asked_as_answered,
    chat_of,
    decoded,
    is_chat,
    is_repeating,
    request_in,
)
from refold.conversation.openai_chat import read_each
from refold.core.event import Event

KEPT_MAX: Final = 4
"""So many conversations are gone on with at once, as of an agent and those that it calls."""
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class ReadRequest(NamedTuple):
    """What a request says: the agent as it configures it, the events of its conversation.

    There is a key for each of the events (:func:`key_of`).
    """

    agent: events.AgentConfigured
    said: Sequence[Event]
    keys: Sequence[str]
    unread: Sequence[Unread] = ()


class RepeatedRequests:
    """Reads requests, those that go on with one before from there."""

    def __init__(self) -> None:
        self._kept: list[_GrowingChat] = []

    def read(self, request: Any, answer: Any) -> ReadRequest | None:
        """What a recorded input says, beside its output; None where it is in no shape."""
        request, answer = decoded(request), decoded(answer)
        text = b"" if is_repeating(answer) else _text_of(request)
        known = next((one for one in self._kept if one.goes_on_as(request, text)), None)
        if known is not None:
            self._kept.remove(known)
            self._kept.append(known)
            return known.read(request, text)
        found = request_in(request)
        if found is None:
            return None
        if found[0] is OPENAI_CHAT and text:
            self._kept = [*self._kept[1 - KEPT_MAX :], made := _GrowingChat()]
            return made.read(request, text)
        asked = asked_as_answered(*found, answer)
        said = _events_of(asked)
        return ReadRequest(asked.agent, said, [key_of(one.data) for one in said], asked.unread)


class _GrowingChat(OpenAIChat):
    """The reader of one list of messages that grows."""

    def __init__(self) -> None:
        self._beginning, self._names = b"", dict[Any, Any]()
        self._count, self._chat = 0, list[Any]()
        self._left, self._each = deque[Any](), iter(list[list[Event]]())
        self._read, self._keys = list[list[Event]](), dict[int, str]()
        self._odd = list[Unread]()

    def goes_on_as(self, items: list[Any], text: bytes) -> bool:
        """Whether the messages so far are the first of these, and the others of the same sort."""
        return text.startswith(self._beginning) and is_chat(items[self._count :])

    def read(self, items: list[Any], text: bytes) -> ReadRequest:
        """What the messages say, of which ``text`` is the JSON."""
        self._chat += chat_of(items[self._count :], self._names)
        self._count, self._beginning = len(items), text
        asked = self.read_request({"messages": self._chat})
        said = _events_of(asked)
        return ReadRequest(asked.agent, said, [self._keys[id(one)] for one in said], asked.unread)

    def _elements(
        self, items: list[Any], agent: events.AgentConfigured, unread: list[Unread]
    ) -> list[list[Event]]:
        if not self._read:
            self._each = read_each(self._taken(), agent, self._odd)
        for item in items[len(self._read) :]:
            self._left.append(item)
            element = next(self._each)
            self._read.append(element)
            self._keys |= {id(event): key_of(event.data) for event in element}
        unread += [one._replace(pointer=f"/messages{one.pointer}") for one in self._odd]
        return [[*element] for element in self._read]

    def _taken(self) -> Iterator[Any]:
        while True:
            yield self._left.popleft()


def _text_of(request: Any) -> bytes:
    """JSON that the text of a longer list begins with; b"" for no list, an empty one, no JSON."""
    if not isinstance(request, list) or not request:
        return b""
    try:
        return _encode(request)[:-1] + b","
    except (ValueError, OverflowError, TypeError, RecursionError):
        return b""


def _events_of(asked: Asked) -> list[Event]:
    return [event for element in asked.elements for event in element]


def key_of(data: Any) -> str:
    """What an event says, to find it again in the next request; "" where it says nothing."""
    match data:
        case events.UserUtterance(text=text, parts=parts):
            said: list[Any] = ["user", text.strip(), shapes.attachments(parts)]
        case events.AgentUtterance(text=text) if text.strip():
            said = ["agent", text.strip()]
        case events.ToolCall(name=name, arguments=arguments):
            said = ["call", name, shapes.exact_arguments(arguments)]
        case events.ToolResult(result=result):
            said = ["result", result]
        case _:
            return ""
    return msgspec.json.encode(said, order="deterministic").decode()
