"""The fold of a conversation: its state at any moment, step by step.

The order is the log's, never that of the timestamps: who barges in speaks before the words they
cut off have been said. Events of types that have no step change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import asdict

from refold.conversation import events, governance, voice
from refold.conversation.amounts import add, plus
from refold.conversation.chat_shapes import attachments
from refold.conversation.state import (
    Consent,
    ConversationState,
    Effected,
    RefusedPatch,
    ToolAnswer,
    ToolUse,
    Utterance,
    at,
    occurrence,
)
from refold.core import patch
from refold.core.clock import rfc3339
from refold.core.fold import Fold
from refold.core.history import SessionForked
from refold.core.recorded import Recorded
from refold.errors import UsageError

State = ConversationState
Change = Callable[[State, Any, Recorded], None]

Conversation: Final[Fold[State]] = Fold("conversation", State)
"""The fold of a conversation: ``store.fold("call-42", refold.conversation.Conversation)``."""
NO_CURRENCY: Final = "XXX"
"""The code that ISO 4217 has for no currency."""


def _happens(*kinds: type) -> Callable[[Change], Change]:
    """Decorator: what these events change; each takes part of the conversation's time.

    The five that most events are of are steps themselves, and ask for no more than their place.
    """

    def register(change: Change) -> Change:
        @Conversation.on(*kinds)
        def step(state: State, event: Any, recorded: Recorded) -> State:
            change(state, event, recorded)
            return _lengthen(state, recorded.occurred_at_us)

        return change

    return register


def _lengthen(state: State, at_us: int) -> State:
    """The state when something happened in it at a moment in microseconds."""
    first, last = state.first_at_us, state.last_at_us
    if first is None or last is None:
        state.first_at_us = state.last_at_us = at_us
    elif at_us > last:
        state.last_at_us, state.duration_ms = at_us, (at_us - first) // 1_000
    elif at_us < first:
        state.first_at_us, state.duration_ms = at_us, (last - at_us) // 1_000
    return state


@_happens(
    events.ModelRequest,
    events.RetrievalCompleted,
    events.MemoryRead,
    events.MemoryWritten,
    events.ToolRelayed,
    voice.SpeechStarted,
    voice.SpeechStopped,
)
def _only_took_time(*_: object) -> None:
    """It changes nothing else."""


# -- session and agent --------------------------------------------------------------------------


@_happens(events.SessionStarted)
def _started(state: State, event: events.SessionStarted, _: Recorded) -> None:
    state.channel, state.direction = event.channel, event.direction
    state.parties = event.parties
    # One value for both: a patch makes a new one and never changes what it is given.
    state.initial_state = state.state = event.initial_state
    state.status, state.end_reason, state.error = "open", None, None


@_happens(events.SessionEnded)
def _ended(state: State, event: events.SessionEnded, _: Recorded) -> None:
    state.status, state.end_reason, state.error = "ended", event.reason, event.error


@_happens(events.AgentConfigured)
def _configured(state: State, event: events.AgentConfigured, _: Recorded) -> None:
    state.agent = event


@_happens(events.StatePatched)
def _patched(state: State, event: events.StatePatched, recorded: Recorded) -> None:
    try:
        state.state = patch.apply(state.state, event.patch)
    except UsageError as refused:
        state.refused_patches.append(
            RefusedPatch(id=recorded.origin_id, at=at(recorded), reason=refused.message)
        )


# -- words --------------------------------------------------------------------------------------


@Conversation.on(events.UserUtterance)
def _user_said(state: State, event: events.UserUtterance, id: str, at_us: int) -> State:
    said = Utterance(id=id, at=rfc3339(at_us), role="user", text=event.text, party=event.party)
    said.confidence = event.confidence
    if event.parts:
        said.attachments = attachments(event.parts)
    state.transcript.append(said)
    return state if at_us == state.last_at_us else _lengthen(state, at_us)


@Conversation.on(events.AgentUtterance)
def _agent_said(state: State, event: events.AgentUtterance, id: str, at_us: int) -> State:
    said = Utterance(id=id, at=rfc3339(at_us), role="agent", text=event.text, party=event.party)
    said.finish_reason, said.message_id = event.finish_reason, event.message_id
    if event.parts:
        said.attachments = attachments(event.parts)
    if state.early_interruptions:
        said.heard = state.early_interruptions.pop(event.message_id or "", None)
    state.transcript.append(said)
    return state if at_us == state.last_at_us else _lengthen(state, at_us)


@_happens(voice.PlaybackInterrupted)
def _interrupted(state: State, event: voice.PlaybackInterrupted, _: Recorded) -> None:
    for turn in reversed(state.transcript):
        if turn.role == "agent" and event.message_id in (None, turn.message_id):
            turn.heard = event.played_text
            return
    if event.message_id is not None:
        state.early_interruptions[event.message_id] = event.played_text


@_happens(voice.DtmfReceived)
def _pressed(state: State, event: voice.DtmfReceived, recorded: Recorded) -> None:
    state.keys_pressed.append(occurrence(event, recorded))


@_happens(voice.CallHeld)
def _held(state: State, event: voice.CallHeld, recorded: Recorded) -> None:
    state.call_holds.append(occurrence(event, recorded))


@_happens(voice.CallTransferred)
def _transferred(state: State, event: voice.CallTransferred, recorded: Recorded) -> None:
    state.transfers.append(occurrence(event, recorded))


# -- models and tools ---------------------------------------------------------------------------


@Conversation.on(events.ModelResponse)
def _responded(state: State, event: events.ModelResponse, _id: str, at_us: int) -> State:
    usage, totals = event.usage, state.usage
    totals.responses += 1
    if usage is not None:
        totals.counted += 1
        totals.input_tokens += usage.input_tokens
        totals.output_tokens += usage.output_tokens
        totals.cached_tokens += usage.cached_tokens
    if event.cost is not None:
        totals.priced += 1
        add(state.cost, event.currency, event.cost)
    return state if at_us == state.last_at_us else _lengthen(state, at_us)


@_happens(events.ModelFailed)
def _failed(state: State, event: events.ModelFailed, recorded: Recorded) -> None:
    state.model_failures.append(occurrence(event, recorded))


@Conversation.on(events.ToolCall)
def _called(state: State, event: events.ToolCall, id: str, at_us: int) -> State:
    state.open_calls.setdefault(event.call_id, []).append(len(state.tool_calls))
    state.tool_calls.append(ToolUse(id=id, at=rfc3339(at_us), event=event))
    return state if at_us == state.last_at_us else _lengthen(state, at_us)


@_happens(events.ToolDecided)
def _decided(state: State, event: events.ToolDecided, recorded: Recorded) -> None:
    for place in state.open_calls.get(event.call_id, ()):
        if state.tool_calls[place].decision is None:
            state.tool_calls[place].decision = occurrence(event, recorded)
            return


@Conversation.on(events.ToolResult)
def _returned(state: State, event: events.ToolResult, id: str, at_us: int) -> State:
    answer = ToolAnswer(id=id, at=rfc3339(at_us), event=event)
    places = state.open_calls.get(event.call_id)
    if places is None:
        state.unmatched_results.append(answer)
    else:
        # Call ids do repeat within a conversation: the call that has waited longest is answered.
        state.tool_calls[places.pop(0)].answer = answer
        if not places:
            del state.open_calls[event.call_id]
    return state if at_us == state.last_at_us else _lengthen(state, at_us)


# -- what is said about a conversation: it takes none of its time ------------------------------


@Conversation.on(SessionForked)
def _forked(state: State, event: SessionForked, _: Recorded) -> State:
    state.forked_from = event
    return state


@Conversation.on(governance.DecisionRecorded)
def _money_decided(state: State, event: governance.DecisionRecorded, recorded: Recorded) -> State:
    state.money.decisions.append(occurrence(event, recorded))
    return state


@Conversation.on(governance.EffectCommitted)
def _committed(state: State, event: governance.EffectCommitted, recorded: Recorded) -> State:
    state.money.effects.append(
        Effected(id=recorded.origin_id, at=at(recorded), event=event, left=event.amount)
    )
    if event.amount is not None:
        add(state.money.net, event.currency or NO_CURRENCY, event.amount)
    return state


@Conversation.on(governance.EffectReversed)
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
        add(money.net, currency or NO_CURRENCY, amount.copy_negate())
    return state


def _undone(effect: Effected, amount: Decimal | None, currency: str | None) -> Decimal | None:
    """The amount that a reversal undoes, taken off what is left of its effect."""
    if effect.left is None or currency != effect.event.currency:
        return amount
    amount = effect.left if amount is None else amount
    effect.left = plus(effect.left, amount.copy_negate())
    return amount


@Conversation.on(governance.ConsentRecorded)
def _consented(state: State, event: governance.ConsentRecorded, recorded: Recorded) -> State:
    state.consents.append(Consent(id=recorded.origin_id, at=at(recorded), **asdict(event)))
    return state


@Conversation.on(governance.ConsentRevoked)
def _revoked(state: State, event: governance.ConsentRevoked, recorded: Recorded) -> State:
    now, party, purpose = at(recorded), event.party, event.purpose
    given = [c for c in state.consents if (c.party, c.purpose) == (party, purpose)]
    for consent in given:
        consent.revoked_at = consent.revoked_at or now
    if not given:
        taken_back = Consent(id=recorded.origin_id, at=now, revoked_at=now, **asdict(event))
        state.consents.append(taken_back)
    return state


@Conversation.on(governance.RedactionApplied)
def _redacted(state: State, event: governance.RedactionApplied, recorded: Recorded) -> State:
    state.redactions.append(occurrence(event, recorded))
    answers = (use.answer for use in state.tool_calls if use.answer is not None)
    parts: list[Utterance | ToolUse | ToolAnswer] = [*state.transcript, *state.tool_calls]
    parts += [*answers, *state.unmatched_results]
    if part := next((part for part in parts if part.id == event.event), None):
        part.redacted = [*part.redacted, event.pointer]
    return state


@Conversation.on(events.ScoreRecorded)
def _scored(state: State, event: events.ScoreRecorded, recorded: Recorded) -> State:
    state.scores.append(occurrence(event, recorded))
    return state
