"""The events of a conversation as cards: a model's answer has its words and its tools under it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec.structs import replace

from refold import Recorded
from refold.conversation import Conversation
from refold.conversation.events import ModelResponse
from refold.conversation.state import at
from refold.conversation.transcript import Line, transcript
from refold.readmodels.searching import facts_of
from refold.replay.report.formatting import number, offset
from refold.ui.pages import money, took

ASKED: Final = "model.response"
KINDS: Final = {
    ASKED: "model",
    "user.utterance": "user",
    "agent.utterance": "agent",
    "tool.call": "call",
    "tool.result": "result",
    "tool.relayed": "result",
    "tool.decided": "result",
    "playback.interrupted": "cut",
    "call.transferred": "handed",
    "call.held": "handed",
    "agent.configured": "handed",
}
"""What kind of card an event makes; any other is a note."""
_MAY_FAIL: Final = ("tool.result", "model.failed", "session.ended")
_MARK: Final = " [interrupted]"


class Card(NamedTuple):
    """An event as it is read: its ``line``, and what ``kind`` of card it makes.

    ``late_us`` is how much later than usual it was recorded after it happened, in microseconds;
    usual is what the first event says. ``heard`` is what was heard of words that were interrupted;
    None: all of them. ``message`` and ``call`` are the ids of the model's answer and of the call
    that it is of. ``asked`` is what an answer took, where its words stand for it.
    """

    line: Line
    version: int
    kind: str
    clock: str
    late_us: int
    heard: str | None = None
    is_error: bool = False
    message: str | None = None
    call: str | None = None
    asked: str = ""


@dataclass
class CardStep:
    """A card, the steps ``under`` it, and those ``again`` after it that do just the same."""

    card: Card
    under: list[CardStep] = field(default_factory=list)
    again: list[CardStep] = field(default_factory=list)

    def every(self) -> Iterator[Card]:
        """All cards in it."""
        yield self.card
        for step in (*self.under, *self.again):
            yield from step.every()

    @property
    def does(self) -> tuple[str, ...]:
        """The calls that it makes, where it does nothing else."""
        calls = [self] if self.card.kind == "call" else self.under
        is_silent = self.card.kind in ("call", "model")
        is_all = is_silent and all(one.card.kind == "call" for one in calls)
        return tuple(one.card.line.text for one in calls) if is_all else ()


def steps_of(
    opening: Recorded, window: Sequence[Recorded], later: Iterable[Recorded], first: int
) -> list[CardStep]:
    """The steps of a window of versions, from ``first`` on; ``later`` is what redacted any since.

    What came some way before is looked at too, for the calls that results belong to.
    """
    placed = _placed(_cards(opening, window, later, first))
    for step in placed:
        step.under = _folded(step.under)
    return _folded(placed)


def _cards(
    opening: Recorded, window: Sequence[Recorded], later: Iterable[Recorded], first: int
) -> Iterator[Card]:
    by_id = {one.origin_id: one for one in window}
    started_us = opening.occurred_at_us
    usually_us = opening.recorded_at_us - started_us
    heard = _heard(window)
    asked = (_asked(one) for one in window if one.type == ASKED)
    lines = [*asked, *transcript([*window, *later])]
    placed = [(one, line) for line in lines if (one := by_id.get(line.id)) is not None]
    for recorded, line in sorted(placed, key=lambda both: both[0].version):
        if recorded.version < first:
            continue
        data = recorded.data if isinstance(recorded.data, dict) else {}
        words = replace(line, text=line.text.removesuffix(_MARK)) if line.id in heard else line
        yield Card(
            words,
            recorded.version,
            KINDS.get(line.type, "note"),
            offset(recorded.occurred_at_us - started_us),
            recorded.recorded_at_us - recorded.occurred_at_us - usually_us,
            heard.get(line.id),
            line.type in _MAY_FAIL and facts_of(recorded.event).is_error,
            data.get("message_id"),
            data.get("call_id"),
        )


def _placed(cards: Iterable[Card]) -> list[CardStep]:
    """What a model said and called under its answer, and under each call what it gave."""
    steps: list[CardStep] = []
    answers: dict[str, CardStep] = {}
    calls: defaultdict[str, list[CardStep]] = defaultdict(list)
    for card in cards:
        answer = answers.get(card.message or "")
        step = CardStep(card)
        if card.kind == "agent" and answer and answer.card.kind == "model" and not answer.under:
            answer.card = card._replace(asked=answer.card.line.text)
        elif card.kind == "result" and calls[card.call or ""]:
            open_calls = calls[card.call or ""]
            # A call id that is used again belongs to the call that has waited longest.
            asker = open_calls.pop(0) if card.line.type == "tool.result" else open_calls[0]
            asker.under.append(step)
        else:
            (answer.under if answer and card.kind in ("agent", "call") else steps).append(step)
            if card.message and card.kind in ("agent", "model"):
                answers.setdefault(card.message, step)
        if card.kind == "call" and card.call:
            calls[card.call].append(step)
    return steps


def _folded(steps: Iterable[CardStep]) -> list[CardStep]:
    """The same with what is done again and again, in the same words, in one step."""
    kept: list[CardStep] = []
    for step in steps:
        if kept and step.does and step.does == kept[-1].does:
            kept[-1].again.append(step)
        else:
            kept.append(step)
    return kept


def _asked(recorded: Recorded) -> Line:
    """What an answer of a model took, as a line."""
    event: ModelResponse = recorded.to_class(ModelResponse)
    usage = event.usage
    said = [
        usage and f"{number(usage.input_tokens)} in, {number(usage.output_tokens)} out",
        event.cost is not None and money({event.currency: event.cost}),
        event.latency_ms is not None and took(event.latency_ms),
        event.finish_reason,
    ]
    text = " · ".join(one for one in said if one)
    return Line(recorded.origin_id, at(recorded), event.model or "model", ASKED, text)


def _heard(window: Iterable[Recorded]) -> dict[str, str]:
    state = Conversation.run(window).state
    return {one.id: one.heard for one in state.transcript if one.heard is not None}
