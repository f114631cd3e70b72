"""The answer in a log of one model call: a Chat Completions response with price and latency."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from refold.conversation.events import ModelResponse, Usage
from refold.errors import InvalidEvent


class Answer(NamedTuple):
    """The message of an answer, the event that tells its price, and the rest as it was."""

    message: Mapping[str, Any]
    response: ModelResponse
    model: str | None
    beside: dict[str, Any]


def answer_of(said: Mapping[str, Any], cost: Decimal | None, loss: list[str]) -> Answer | None:
    """The first choice of ``response``; None where there is no response with choices.

    Further choices go to ``loss``. Raises :class:`~refold.errors.InvalidEvent` for a choice that
    is none.
    """
    response = said.get("response")
    choices = response.get("choices") if isinstance(response, dict) else None
    if not isinstance(response, dict) or not isinstance(choices, list) or not choices:
        return None
    if not isinstance(choices[0], dict):
        raise InvalidEvent("a choice must be an object", path="/response/choices/0")
    message = choices[0].get("message")
    if not isinstance(message, dict) or message.get("role", "assistant") != "assistant":
        raise InvalidEvent("a choice must have a message", path="/response/choices/0/message")
    loss += [f"/response/choices/{number}" for number in range(1, len(choices))]
    choice = {key: value for key, value in choices[0].items() if key != "message"}
    beside = {key: value for key, value in response.items() if key != "choices"}
    event = ModelResponse(
        response_id=_text(response, "id"),
        model=_text(response, "model"),
        usage=usage_of(response.get("usage")),
        latency_ms=_latency_ms(said),
        cost=cost if cost is not None and cost.is_finite() else None,
        finish_reason=_text(choice, "finish_reason"),
    )
    return Answer({"role": "assistant", **message}, event, event.model, beside | {"choice": choice})


def usage_of(usage: Any) -> Usage | None:
    """Tokens as the Chat Completions API counts them; None where it did not."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens") if isinstance(details, dict) else 0,
    )


def _latency_ms(said: Mapping[str, Any]) -> float | None:
    latency_s = said.get("latency_sec")
    if isinstance(latency_s, bool) or not isinstance(latency_s, int | float):
        return None
    return latency_s * 1_000.0


def _text(holder: Mapping[str, Any], key: str) -> str | None:
    value = holder.get(key)
    return value if isinstance(value, str) else None


def _count(usage: Mapping[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
