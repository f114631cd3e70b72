"""The events of one answer of a model, checked before anything of it is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from refold.conversation.apis import read_answer
from refold.conversation.chat_shapes import as_json, refused
from refold.conversation.events import AgentUtterance, ModelResponse, ToolCall
from refold.core.event import Event
from refold.errors import InvalidEvent


def answer(
    response: ModelResponse, text: str | None, tool_calls: Sequence[ToolCall], message_id: str
) -> list[object]:
    """An answer's events, of one message: the response, the words where there are any, the calls.

    Words of "" count only where there is no call beside them.
    """
    _check_calls(tool_calls)
    events: list[object] = [replace(response, message_id=message_id)]
    if text or (text is not None and not tool_calls):
        reason = response.finish_reason
        events.append(AgentUtterance(text=text, finish_reason=reason, message_id=message_id))
    return events + [replace(call, message_id=message_id) for call in tool_calls]


def completion(body: Any, response: ModelResponse, message_id: str) -> list[Event]:
    """The events of an answer as its API gives it; ``response`` has the rest.

    It may be of any API of :mod:`refold.conversation.apis`. A chat message is kept exactly: what
    the events have no field for goes into their metadata; and the pointers of what is not
    understood into that of the response, under ``unread``. Raises :class:`InvalidEvent` where
    there is not exactly one choice, no message in it, or a call that is none.
    """
    events, unread = read_answer(as_json(body), replace(response, message_id=message_id))
    if not isinstance(events[0].data, ModelResponse):
        raise refused(f"there is no answer, but an error: {events[0].data.error}", ["choices"])
    for one in unread:
        if one.what == "choice":
            raise refused("several: record the one taken", [one.pointer.split("/")[1]])
        if one.what == "call":
            raise InvalidEvent(one.reason, path=one.pointer)
    for place, event in enumerate(events):
        if isinstance(event.data, AgentUtterance):
            said = replace(event.data, finish_reason=events[0].data.finish_reason)
            events[place] = dataclasses.replace(event, data=said)
    told = {"unread": [one.pointer for one in unread]} if unread else None
    return [dataclasses.replace(events[0], metadata=told), *events[1:]]


def exact_cost(cost: object) -> Decimal | None:
    """``cost`` as it is; a float is refused: it is not the number that was charged."""
    if cost is None or isinstance(cost, Decimal):
        return cost
    raise InvalidEvent(
        f"cost is a {type(cost).__name__}: give a Decimal, such as Decimal('0.0012')", path="/cost"
    )


def _check_calls(tool_calls: Sequence[object]) -> None:
    if not isinstance(tool_calls, Sequence) or isinstance(tool_calls, str):
        raise InvalidEvent("tool_calls must be a list: give [ToolCall(…)]", path="/tool_calls")
    for index, call in enumerate(tool_calls):
        path = f"/tool_calls/{index}"
        if not isinstance(call, ToolCall):
            raise InvalidEvent(
                f"a tool call is a ToolCall(call_id=…, name=…, arguments='{{…}}'), not a "
                f"{type(call).__name__}; model_responded takes an answer as it came",
                path=path,
            )
        check_arguments(call, path=f"{path}/arguments")


def check_arguments(call: ToolCall, *, path: str) -> None:
    """Refuse a tool call whose arguments are not the text that the model gave."""
    if not isinstance(call.arguments, str):
        raise InvalidEvent(
            f"arguments are the JSON text that the model gave, not a "
            f"{type(call.arguments).__name__}: give json.dumps(…) of it",
            path=path,
        )
