"""What was redacted is not shown, whether or not its bytes are still stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from refold.conversation.governance import RedactionApplied
from refold.core.recorded import Recorded
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.decision import Action, Call

REDACTED: Final = "[redacted]"
_OF_AN_ANSWER: Final = frozenset({"agent.utterance", "tool.call", "model.response"})


def redacted_ids(history: Iterable[Recorded]) -> frozenset[str]:
    """The events of which something was redacted."""
    applied = (event for event in history if event.type == "redaction.applied")
    return frozenset(event.to_class(RedactionApplied).event for event in applied)


def without_redacted(
    conversation: ConversationComparison, history: Sequence[Recorded]
) -> ConversationComparison:
    """The comparison, with nothing of the answers that were redacted, on either side."""
    gone = redacted_ids(history)
    if not gone:
        return conversation
    places = _places(conversation, history)
    hidden = {places[event_id] for event_id in gone if event_id in places}
    decisions = [_hidden(d) if d.at in hidden else d for d in conversation.decisions]
    return replace(conversation, decisions=decisions)


def _places(conversation: ConversationComparison, history: Sequence[Recorded]) -> dict[str, str]:
    """For each event of an answer, the decision that it is part of."""
    starts = {decision.at for decision in conversation.decisions}
    places: dict[str, str] = {}
    current = ""
    for event in history:
        current = event.id if event.id in starts else current
        if event.type in _OF_AN_ANSWER:
            # On a branch a redaction still names the event that was copied.
            places[event.id] = places[event.origin_id] = current
    return places


def _hidden(decision: DecisionComparison) -> DecisionComparison:
    candidate = decision.candidate
    return replace(
        decision,
        recorded=_emptied(decision.recorded),
        candidate=None if candidate is None else _emptied(candidate),
        pairs=[],
    )


def _emptied(action: Action) -> Action:
    calls = tuple(Call(call.name, REDACTED, call.call_id) for call in action.calls)
    return replace(action, text=REDACTED if action.text else "", calls=calls)
