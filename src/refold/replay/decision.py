"""Decisions: what an agent answered, each at one point of a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile
from typing import Any, Final

import msgspec

from refold.conversation.amounts import read_amount
from refold.conversation.chat_shapes import attachments, more_than_words, with_marks
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelResponse,
    ToolCall,
    ToolKind,
    Usage,
)
from refold.core.recorded import Recorded, history_of, parts_of
from refold.errors import refuse_unless

DOLLARS: Final = "USD"
REFUSED: Final = "refusal"
"""Why an answer ended that holds a refusal, whatever else its API says of it."""

_CLASSES: dict[str, type] = {
    "agent.utterance": AgentUtterance,
    "tool.call": ToolCall,
    "model.response": ModelResponse,
}
_USER_TURNS = frozenset({"agent.configured", "user.utterance"})
_OTHER_TURNS = _USER_TURNS | {"tool.result"}


class Call(msgspec.Struct, frozen=True):
    """A tool call: ``arguments`` is the JSON text exactly as the model wrote it.

    A ``custom`` tool takes any text.
    """

    name: str
    arguments: str = "{}"
    call_id: str = ""
    kind: ToolKind = "function"


class Action(msgspec.Struct, frozen=True):
    """One answer of an agent: words ("" for none), tool calls in order, and what it took.

    An answer that is more than words, as an image, has all its content in ``parts``.
    ``cost`` is in US dollars; None where nobody said, or said it in another currency.
    ``latency_ms`` is the time on the wire of the request that was answered, and ``first_token_ms``
    that to its first piece where it was streamed. It took ``attempts`` requests and ``wait_ms`` in
    all; what the others took is ``lost_usage`` as far as it is known, and ``lost_unknown`` counts
    those that may have been charged without a word.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    latency_ms: float | None = None
    model: str | None = None
    parts: tuple[dict[str, Any], ...] = ()
    first_token_ms: float | None = None
    attempts: int = 1
    wait_ms: float | None = None
    lost_usage: Usage | None = None
    lost_unknown: int = 0

    @property
    def shown(self) -> str:
        """The words to be read, with a mark such as ``[image_url]`` for what is beside them."""
        return with_marks(self.text, attachments(self.parts))


class Decision(msgspec.Struct, frozen=True):
    """An answer in its place: the ``index``-th of its conversation, from 0.

    ``at`` and ``version`` are the id and version of its first event, so the agent had seen the
    events below ``version``. ``configured`` is the ``agent.configured`` in force; None without one.
    ``url`` is where its request was sent, "" where the record does not say.
    """

    index: int
    at: str
    version: int
    action: Action
    configured: Recorded | None = None
    url: str = ""


def decisions(history: Iterable[Recorded]) -> list[Decision]:
    """Every answer of the agent in a history, in order.

    An answer is the ``agent.utterance``, ``tool.call`` and ``model.response`` events that share
    one ``message_id``, with no other answer and no turn of the user between them. Without ids,
    words and the calls that follow, before anyone else's turn, are one answer. A
    ``model.response`` with neither is none.
    """
    return [
        Decision(n, one.first.id, one.first.version, action_in(one.events), one.configured, one.url)
        for n, one in enumerate(answer for answer in _answers(history) if answer.acts)
    ]


def action_in(events: Sequence[object]) -> Action:
    """The action that the events of one answer are; the last ``model.response`` says what it took.

    Other events than words, calls and responses are not looked at.
    """
    said = [event for event in events if isinstance(event, AgentUtterance)]
    calls = [event for event in events if isinstance(event, ToolCall)]
    responses = [event for event in events if isinstance(event, ModelResponse)]
    response = responses[-1] if responses else ModelResponse()
    reasons = [response.finish_reason, *(event.finish_reason for event in said)]
    parts = [part for event in said for part in event.parts or ()]
    if REFUSED in reasons or _holds_refusal([*parts, *response.parts]):
        reasons.insert(0, REFUSED)
    return Action(
        text="\n".join(event.text for event in said if event.text),
        calls=tuple(Call(call.name, call.arguments, call.call_id, call.kind) for call in calls),
        finish_reason=next(filter(None, reasons), None),
        usage=response.usage,
        cost=response.cost if response.currency == DOLLARS else None,
        latency_ms=response.latency_ms,
        model=response.model,
        parts=tuple(part for event in said for part in more_than_words(event.parts)),
        first_token_ms=response.first_token_ms,
        attempts=response.attempts,
        wait_ms=response.wait_ms,
        lost_usage=response.lost_usage,
        lost_unknown=response.lost_unknown,
    )


def _holds_refusal(parts: Iterable[Mapping[str, Any]]) -> bool:
    """Whether content holds a refusal; a message is a part with content of its own."""
    inside = ([part, *_objects(part.get("content"))] for part in parts)
    return any(part.get("type") == REFUSED for own in inside for part in own)


def _objects(content: object) -> list[Any]:
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def before(history: Sequence[Recorded], decision: Decision) -> list[Recorded]:
    """What the agent had seen when it decided; of a split event, the parts before its answer."""
    seen: list[Recorded] = []
    for recorded in history:
        if recorded.version < decision.version:
            seen.append(recorded)
        elif recorded.version == decision.version:
            seen += takewhile(lambda part: not is_of_answer(part), recorded.parts())
    return seen


def is_of_answer(recorded: Recorded) -> bool:
    """Whether an event is part of an answer of the agent, by its type."""
    return recorded.type in _CLASSES


@dataclass
class _Answer:
    """The events of one answer while they are being found."""

    first: Recorded
    message_id: str | None
    configured: Recorded | None
    url: str
    events: list[object] = field(default_factory=list)

    @property
    def acts(self) -> bool:
        return any(not isinstance(event, ModelResponse) for event in self.events)

    def takes(self, event: object, message_id: str | None, *, same_turn: bool) -> bool:
        """Whether an event belongs to this answer."""
        match event:
            case ToolCall() if message_id is None:
                return same_turn
            case _ if self.message_id is not None or message_id is not None:
                return self.message_id == message_id
            case ModelResponse():
                return same_turn and not any(isinstance(own, ModelResponse) for own in self.events)
        return same_turn and not self.acts


def _answers(history: Iterable[Recorded]) -> list[_Answer]:
    answers: list[_Answer] = []
    is_open = same_turn = False
    configured: Recorded | None = None
    url = ""
    for recorded in parts_of(history_of(history, call="decisions")):
        cls = _CLASSES.get(recorded.type)
        if cls is None:
            configured = recorded if recorded.type == "agent.configured" else configured
            url = recorded.data.get("url", "") if recorded.type == "model.request" else url
            is_open = is_open and recorded.type not in _USER_TURNS
            same_turn = same_turn and recorded.type not in _OTHER_TURNS
            continue
        event = recorded.to_class(cls)
        if isinstance(event, AgentUtterance) and _was_refused(recorded):
            event = msgspec.structs.replace(event, finish_reason=REFUSED)
        message_id: str | None = event.message_id
        if not is_open or not answers[-1].takes(event, message_id, same_turn=same_turn):
            answers.append(_Answer(recorded, message_id, configured, url))
            url = ""
        answers[-1].events.append(event)
        is_open = same_turn = True
    return answers


def _was_refused(recorded: Recorded) -> bool:
    """Whether words stood in the field that a chat message has for a refusal."""
    match recorded.noted("openai"):
        case {"set": {"refusal": str(said)}}:
            return bool(said)
    return False


def total_usage(usages: Sequence[Usage]) -> Usage | None:
    """Tokens added up; None for none."""
    if not usages:
        return None
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        cache_write_tokens=_sum_of(usage.cache_write_tokens for usage in usages),
        reasoning_tokens=_sum_of(usage.reasoning_tokens for usage in usages),
    )


def _sum_of(counts: Iterable[int | None]) -> int | None:
    """What is known of them added up; None where nothing is."""
    said = [count for count in counts if count is not None]
    return sum(said) if said else None


_MILLION: Final = 1_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens; cached input costs as much as other input unless said."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            said = getattr(self, name)
            amount = read_amount(said)
            right = amount is not None or (said is None and name == "cached_input")
            refuse_unless(right, "an amount of US dollars", **{name: said})
            msgspec.structs.force_setattr(self, name, amount)


Prices = Mapping[str, Price]
"""Prices by the model's name."""


def check_prices(prices: object) -> None:
    """Refuse what does not give models a :class:`Price`."""
    right = isinstance(prices, Mapping) and all(isinstance(one, Price) for one in prices.values())
    refuse_unless(prices is None or right, "a Price by the name of each model", prices=prices)


def priced(action: Action, asked_model: str | None, prices: Prices) -> Action:
    """The action with its cost, unless the provider said it or it cannot be known.

    The price is that of the model that answered, else of the model asked for: providers answer
    ``gpt-4o`` as ``gpt-4o-2024-08-06``. Requests that were not answered cost too; where nobody
    says what they took, the cost is not known.
    """
    models = (action.model, asked_model)
    costs = [action.cost if action.cost is not None else cost_of(action.usage, models, prices)]
    if action.lost_usage is not None:
        costs.append(cost_of(action.lost_usage, models, prices))
    known = [cost for cost in costs if cost is not None]
    is_known = len(known) == len(costs) and not action.lost_unknown
    return msgspec.structs.replace(action, cost=sum(known, Decimal(0)) if is_known else None)


def priced_decisions(made: Sequence[Decision], prices: Prices) -> list[Decision]:
    """Recorded decisions with the cost of those that have none on record, as far as it is known."""
    return [
        one
        if one.action.cost is not None or not prices
        else msgspec.structs.replace(one, action=priced(one.action, asked_model(one), prices))
        for one in made
    ]


def asked_model(decision: Decision) -> str | None:
    """The model that the agent was configured with when it decided."""
    configured = decision.configured
    return None if configured is None else configured.to_class(AgentConfigured).model


def cost_of(usage: Usage | None, models: Iterable[str | None], prices: Prices) -> Decimal | None:
    """What tokens cost in US dollars, by the first of some models that has a price, or None."""
    price = next((prices[model] for model in models if model is not None and model in prices), None)
    if usage is None or price is None:
        return None
    cached = min(usage.cached_tokens, usage.input_tokens)
    cached_price = price.input if price.cached_input is None else price.cached_input
    return (
        (usage.input_tokens - cached) * price.input
        + cached * cached_price
        + usage.output_tokens * price.output
    ) / _MILLION
