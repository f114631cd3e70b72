"""Chat completions as actions: what a model's answer says, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from refold.conversation.events import Usage
from refold.replay.candidate import Answered, ModelFailure
from refold.replay.decision import Action, Call

CALLS_MAX: Final = 1_000
"""The most tool calls that one answer may hold."""
SNIPPET_CHARS: Final = 200


def action_of(answered: Answered) -> Action:
    """The action of whatever a candidate may answer with.

    Raises :class:`ModelFailure` of kind ``garbage`` saying what is not as it must be.
    """
    if isinstance(answered, Action):
        return answered
    if not isinstance(answered, Mapping):
        raise _garbage(f"{type(answered).__name__} where an action or a message must be")
    if "choices" in answered or "error" in answered:
        return parse_completion(answered)
    return parse_message(answered)


def parse_completion(completion: Any) -> Action:
    """The action of the first choice of a chat completion object, with usage, cost and model."""
    if not isinstance(completion, Mapping):
        raise _garbage(f"JSON {_named(completion)} where a chat completion must be")
    choices = completion.get("choices")
    if not isinstance(choices, Sequence) or not choices or not isinstance(choices[0], Mapping):
        raise _garbage(f"no choices: {snippet(_error_of(completion))}")
    usage = completion.get("usage")
    model, reason = completion.get("model"), choices[0].get("finish_reason")
    return msgspec.structs.replace(
        parse_message(choices[0].get("message")),
        finish_reason=reason if isinstance(reason, str) else None,
        usage=_usage(usage) if isinstance(usage, Mapping) else None,
        cost=_cost(completion),
        model=model if isinstance(model, str) else None,
    )


def parse_message(message: Any) -> Action:
    """The words and calls of an assistant message; a refusal counts as words."""
    if not isinstance(message, Mapping) or not message.keys() & {"content", "tool_calls"}:
        raise _garbage(f"no assistant message: {snippet(message)}")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, Sequence) or len(calls) > CALLS_MAX:
        raise _garbage(f"tool_calls is not a list of at most {CALLS_MAX}: {snippet(calls)}")
    text = _text(message.get("content")) or _text(message.get("refusal"))
    return Action(text=text, calls=tuple(_call(call) for call in calls))


def snippet(value: Any) -> str:
    """The beginning of what came instead, for an error message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SNIPPET_CHARS else f"{text[:SNIPPET_CHARS]}…"


def _text(content: Any) -> str:
    match content:
        case None:
            return ""
        case str():
            return content
        case [*parts]:
            texts = (part.get("text") for part in parts if isinstance(part, Mapping))
            return "".join(text for text in texts if isinstance(text, str))
    raise _garbage(f"content is {_named(content)}: {snippet(content)}")


def _call(call: Any) -> Call:
    match call:
        case {"function": {"name": str(name), **function}} if name:
            arguments = function.get("arguments") or ""
            # Some servers give the object where the API has its text.
            text = arguments if isinstance(arguments, str) else _json(arguments)
            return Call(name, text, str(call.get("id") or ""))
    raise _garbage(f"a tool call without a name: {snippet(call)}")


def _usage(usage: Mapping[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0,
    )


def _cost(completion: Mapping[str, Any]) -> Decimal | None:
    """What the provider says that it charges, where it says so."""
    usage = completion.get("usage")
    said = completion.get("cost")
    if said is None and isinstance(usage, Mapping):
        said = usage.get("cost")
    if isinstance(said, bool) or not isinstance(said, int | float | str | Decimal):
        return None
    try:
        cost = Decimal(str(said))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and cost >= 0 else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _garbage(f"tool arguments that are not JSON: {error}") from error


def _error_of(completion: Mapping[str, Any]) -> Any:
    error = completion.get("error", completion)
    return error.get("message", error) if isinstance(error, Mapping) else error


def _named(value: Any) -> str:
    return type(value).__name__


def _garbage(message: str) -> ModelFailure:
    return ModelFailure(message, kind="garbage")
