"""The events of one answer of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation.events import AgentUtterance, ModelResponse, ToolCall, Usage
from refold.conversation.openai_chat import from_messages
from refold.core.event import Event
from refold.errors import InvalidEvent

_MESSAGE: Final = "/choices/0/message"


def answer(
    response: ModelResponse, text: str | None, tool_calls: Sequence[ToolCall]
) -> list[object]:
    """An answer's events: the response, the words where there are any, the calls.

    Words of "" count only where there is no call beside them.
    """
    _check_calls(tool_calls)
    message_id = response.message_id
    events: list[object] = [response]
    if text or (text is not None and not tool_calls):
        reason = response.finish_reason
        events.append(AgentUtterance(text=text, finish_reason=reason, message_id=message_id))
    return events + [replace(call, message_id=message_id) for call in tool_calls]


def completion(body: Mapping[str, Any], response: ModelResponse) -> list[object]:
    """The events of a chat completion, as OpenAI's API gives it; ``response`` has the rest.

    The message is kept exactly: what the events have no field for goes into their metadata.
    Raises :class:`InvalidEvent` where there is not exactly one choice, or no message in it.
    """
    choice = _only_choice(body)
    reason = _text(choice.get("finish_reason"))
    made = replace(
        response,
        response_id=_text(body.get("id")),
        model=_text(body.get("model")),
        usage=_usage(body.get("usage")),
        finish_reason=reason,
    )
    return [made, *(_joined(event, made) for event in _message_events(choice["message"]))]


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
                f"{type(call).__name__}; model_responded takes a chat completion as it came",
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


def _only_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or len(choices) != 1:
        count = len(choices) if isinstance(choices, list) else "no"
        raise InvalidEvent(
            f"a chat completion with {count} choices: record the one that the agent went on with",
            path="/choices",
        )
    message = choices[0].get("message") if isinstance(choices[0], Mapping) else None
    if not isinstance(message, Mapping) or message.get("role") != "assistant":
        raise InvalidEvent("there is no assistant message", path=_MESSAGE)
    only: Mapping[str, Any] = choices[0]
    return only


def _message_events(message: Mapping[str, Any]) -> list[Event]:
    try:
        return from_messages([message])
    except InvalidEvent as error:
        path = _MESSAGE + error.path.removeprefix("/0")
        raise InvalidEvent(error.reason, path=path) from error


def _joined(event: Event, response: ModelResponse) -> Event:
    """An event of the message as part of this answer."""
    data = replace(event.data, message_id=response.message_id)
    if isinstance(data, AgentUtterance):
        data = replace(data, finish_reason=response.finish_reason)
    return dataclasses.replace(event, data=data)


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
