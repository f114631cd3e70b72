"""Steps of the fold for what is said about a conversation: money, consent, redaction, scores."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from refold.conversation.events import ScoreRecorded
from refold.conversation.exact import add, minus
from refold.conversation.governance import (
    ConsentRecorded,
    ConsentRevoked,
    DecisionRecorded,
    EffectCommitted,
    EffectReversed,
    RedactionApplied,
)
from refold.conversation.state import Consent, ConversationState, Effected, Step, at, placed
from refold.core.history import SessionForked
from refold.core.recorded import Recorded

NO_CURRENCY: Final = "XXX"
"""The code that ISO 4217 has for no currency."""


def _forked(state: ConversationState, event: SessionForked, _: Recorded) -> ConversationState:
    state.forked_from = event
    return state


# -- money --------------------------------------------------------------------------------------


def _money_decided(
    state: ConversationState, event: DecisionRecorded, recorded: Recorded
) -> ConversationState:
    state.money.decisions.append(placed(event, recorded))
    return state


def _committed(
    state: ConversationState, event: EffectCommitted, recorded: Recorded
) -> ConversationState:
    state.money.effects.append(
        Effected(id=recorded.origin_id, at=at(recorded), event=event, left=event.amount)
    )
    if event.amount is not None:
        add(state.money.net, event.currency or NO_CURRENCY, event.amount)
    return state


def _reversed(
    state: ConversationState, event: EffectReversed, recorded: Recorded
) -> ConversationState:
    money, reversal = state.money, placed(event, recorded)
    amount, currency = event.amount, event.currency
    same = (e for e in reversed(money.effects) if e.event.reference == event.reference)
    if (effect := next(same, None)) is None:
        money.unmatched_reversals.append(reversal)
    else:
        effect.reversals.append(reversal)
        currency = currency or effect.event.currency
        amount = _undone(effect, amount, currency)
    if amount is not None:
        add(money.net, currency or NO_CURRENCY, minus(Decimal(0), amount))
    return state


def _undone(effect: Effected, amount: Decimal | None, currency: str | None) -> Decimal | None:
    """The amount that a reversal undoes, taken off what is left of its effect."""
    if effect.left is None or currency != effect.event.currency:
        return amount
    amount = effect.left if amount is None else amount
    effect.left = minus(effect.left, amount)
    return amount


# -- what people are owed -----------------------------------------------------------------------


def _consented(
    state: ConversationState, event: ConsentRecorded, recorded: Recorded
) -> ConversationState:
    state.consents.append(
        Consent(
            id=recorded.origin_id,
            at=at(recorded),
            party=event.party,
            purpose=event.purpose,
            basis=event.basis,
            expiry=event.expiry,
        )
    )
    return state


def _revoked(
    state: ConversationState, event: ConsentRevoked, recorded: Recorded
) -> ConversationState:
    now, party, purpose = at(recorded), event.party, event.purpose
    given = [c for c in state.consents if (c.party, c.purpose) == (party, purpose)]
    for consent in given:
        consent.revoked_at = consent.revoked_at or now
    if not given:
        state.consents.append(
            Consent(id=recorded.origin_id, at=now, party=party, purpose=purpose, revoked_at=now)
        )
    return state


def _redacted(
    state: ConversationState, event: RedactionApplied, recorded: Recorded
) -> ConversationState:
    state.redactions.append(placed(event, recorded))
    answers = (use.answer for use in state.tool_calls if use.answer is not None)
    for parts in (state.transcript, state.tool_calls, answers, state.unmatched_results):
        for part in parts:
            if part.id == event.event:
                part.redacted.append(event.pointer)
                return state
    return state


def _scored(
    state: ConversationState, event: ScoreRecorded, recorded: Recorded
) -> ConversationState:
    state.scores.append(placed(event, recorded))
    return state


AFTERWARDS: Final[dict[type, Step]] = {
    SessionForked: _forked,
    ScoreRecorded: _scored,
    DecisionRecorded: _money_decided,
    EffectCommitted: _committed,
    EffectReversed: _reversed,
    ConsentRecorded: _consented,
    ConsentRevoked: _revoked,
    RedactionApplied: _redacted,
}
"""The step of each event that takes none of it."""
