"""Chat completions as actions: what a model's answer says, checked."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from refold.conversation.chat_shapes import as_json, read_amount, read_cost
from refold.conversation.events import AgentUtterance, ModelFailed, ModelResponse, ToolCall
from refold.conversation.openai_chat import read_completion
from refold.errors import InvalidEvent
from refold.replay.candidate import Answered, ModelFailure
from refold.replay.decision import Action, Call

CALLS_MAX: Final = 1_000
"""The most tool calls that one answer may hold."""
SNIPPET_CHARS: Final = 200
# Without one of these an object is no assistant message.
_SAYS: Final = frozenset({"content", "tool_calls", "function_call", "refusal", "audio"})


def action_of(answered: Answered) -> Action:
    """The action of whatever a candidate may answer with: an action, a message, a completion.

    Raises :class:`ModelFailure` of kind ``garbage`` saying what is not as it must be: an answer
    of which a part is not understood is none, as it would be taken for another.
    """
    if isinstance(answered, Action):
        return msgspec.structs.replace(answered, cost=read_amount(answered.cost))
    try:
        # As a service would have sent it: tuples are lists, an SDK's object is what was set.
        said = msgspec.json.decode(msgspec.json.encode(as_json(answered)))
    except (TypeError, ValueError, RecursionError) as error:
        raise _garbage(f"an answer that is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise _garbage(f"{type(answered).__name__} where an action or a message must be")
    is_message = "choices" not in said and "error" not in said
    return parse_completion({"choices": [{"message": said}]} if is_message else said)


def parse_completion(completion: Any) -> Action:
    """The action of the first choice of a chat completion object, with usage, cost and model."""
    try:
        events, unread = read_completion(completion, ModelResponse())
    except (InvalidEvent, RecursionError) as error:
        raise _garbage(f"no answer: {error}: {snippet(completion)}") from error
    typed = [event.data for event in events]
    for event in typed:
        if isinstance(event, ModelFailed):
            raise _failure(event)
    for one in unread:
        if one.what in ("words", "call"):
            raise _garbage(f"{one.reason} at {one.pointer}: {snippet(completion)}")
    message = completion["choices"][0]["message"]
    if not message.keys() & _SAYS:
        raise _garbage(f"no assistant message: {snippet(message)}")
    return _action(typed, read_cost(completion))


def snippet(value: Any) -> str:
    """The beginning of what came instead, for an error message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SNIPPET_CHARS else f"{text[:SNIPPET_CHARS]}…"


def _action(events: Sequence[Any], cost: Decimal | None) -> Action:
    response, *said = events
    calls = [event for event in said if isinstance(event, ToolCall)]
    if len(calls) > CALLS_MAX or not all(call.name for call in calls):
        raise _garbage(f"a tool call without a name, or over {CALLS_MAX}: {snippet(calls)}")
    return Action(
        text="".join(event.text for event in said if isinstance(event, AgentUtterance)),
        calls=tuple(Call(call.name, call.arguments, call.call_id) for call in calls),
        finish_reason=response.finish_reason,
        usage=response.usage,
        cost=cost,
        model=response.model,
    )


def _failure(failed: ModelFailed) -> ModelFailure:
    """The failure of a service that answers 200 and says in the body that it failed."""
    is_busy = failed.status is not None and (failed.status == 429 or failed.status >= 500)
    said = f"the service's error: {snippet(failed.error)}"
    return ModelFailure(said, kind="busy" if is_busy else "garbage", status=failed.status)


def _garbage(message: str) -> ModelFailure:
    return ModelFailure(message, kind="garbage")
