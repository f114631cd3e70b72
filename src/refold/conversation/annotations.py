"""Steps of the fold for what is said about a conversation: money, consent, redaction, scores."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from msgspec.structs import asdict

from refold.conversation import events, governance
from refold.conversation.amounts import add, minus
from refold.conversation.state import Consent, Effected, Step, at, occurrence
from refold.conversation.state import ConversationState as State
from refold.core.history import SessionForked
from refold.core.recorded import Recorded

NO_CURRENCY: Final = "XXX"
"""The code that ISO 4217 has for no currency."""


def _forked(state: State, event: SessionForked, _: Recorded) -> State:
    state.forked_from = event
    return state


# -- money --------------------------------------------------------------------------------------


def _money_decided(state: State, event: governance.DecisionRecorded, recorded: Recorded) -> State:
    state.money.decisions.append(occurrence(event, recorded))
    return state


def _committed(state: State, event: governance.EffectCommitted, recorded: Recorded) -> State:
    state.money.effects.append(
        Effected(id=recorded.origin_id, at=at(recorded), event=event, left=event.amount)
    )
    if event.amount is not None:
        add(state.money.net, event.currency or NO_CURRENCY, event.amount)
    return state


def _reversed(state: State, event: governance.EffectReversed, recorded: Recorded) -> State:
    money, reversal = state.money, occurrence(event, recorded)
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


def _consented(state: State, event: governance.ConsentRecorded, recorded: Recorded) -> State:
    state.consents.append(Consent(id=recorded.origin_id, at=at(recorded), **asdict(event)))
    return state


def _revoked(state: State, event: governance.ConsentRevoked, recorded: Recorded) -> State:
    now, party, purpose = at(recorded), event.party, event.purpose
    given = [c for c in state.consents if (c.party, c.purpose) == (party, purpose)]
    for consent in given:
        consent.revoked_at = consent.revoked_at or now
    if not given:
        taken_back = Consent(id=recorded.origin_id, at=now, revoked_at=now, **asdict(event))
        state.consents.append(taken_back)
    return state


def _redacted(state: State, event: governance.RedactionApplied, recorded: Recorded) -> State:
    state.redactions.append(occurrence(event, recorded))
    answers = (use.answer for use in state.tool_calls if use.answer is not None)
    for parts in (state.transcript, state.tool_calls, answers, state.unmatched_results):
        for part in parts:
            if part.id == event.event:
                part.redacted.append(event.pointer)
                return state
    return state


def _scored(state: State, event: events.ScoreRecorded, recorded: Recorded) -> State:
    state.scores.append(occurrence(event, recorded))
    return state


ANNOTATIONS: Final[dict[type, Step]] = {
    SessionForked: _forked,
    events.ScoreRecorded: _scored,
    governance.DecisionRecorded: _money_decided,
    governance.EffectCommitted: _committed,
    governance.EffectReversed: _reversed,
    governance.ConsentRecorded: _consented,
    governance.ConsentRevoked: _revoked,
    governance.RedactionApplied: _redacted,
}
"""The step of each event that takes none of it."""
