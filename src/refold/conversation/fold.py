"""The fold of a conversation: its state at any moment, step by step.

The order is the log's, never that of the timestamps: who barges in speaks before the words they
cut off have been said. Events of types that have no step change nothing.
"""

from __future__ import annotations

from typing import Final

from refold.conversation import events, voice
from refold.conversation.amounts import add
from refold.conversation.annotations import ANNOTATIONS
from refold.conversation.chat_shapes import attachments
from refold.conversation.state import ConversationState as State
from refold.conversation.state import (
    RefusedPatch,
    ToolAnswer,
    ToolUse,
    Utterance,
    at,
    occurrence,
    passed,
)
from refold.core import patch
from refold.core.clock import rfc3339
from refold.core.fold import Fold
from refold.core.recorded import Recorded
from refold.errors import UsageError

Conversation: Final[Fold[State]] = Fold("conversation", State)
"""The fold of a conversation: ``store.fold("call-42", refold.conversation.Conversation)``."""


# -- session and agent --------------------------------------------------------------------------


@Conversation.on(events.SessionStarted)
def _started(state: State, event: events.SessionStarted, recorded: Recorded) -> State:
    state.channel, state.direction = event.channel, event.direction
    state.parties = event.parties
    # One value for both: a patch makes a new one and never changes what it is given.
    state.initial_state = state.state = event.initial_state
    state.status, state.end_reason, state.error = "open", None, None
    return passed(state, recorded)


@Conversation.on(events.SessionEnded)
def _ended(state: State, event: events.SessionEnded, recorded: Recorded) -> State:
    state.status, state.end_reason, state.error = "ended", event.reason, event.error
    return passed(state, recorded)


@Conversation.on(events.AgentConfigured)
def _configured(state: State, event: events.AgentConfigured, recorded: Recorded) -> State:
    state.agent = event
    return passed(state, recorded)


@Conversation.on(events.StatePatched)
def _patched(state: State, event: events.StatePatched, recorded: Recorded) -> State:
    try:
        state.state = patch.apply(state.state, event.patch)
    except UsageError as refused:
        state.refused_patches.append(
            RefusedPatch(id=recorded.origin_id, at=at(recorded), reason=refused.message)
        )
    return passed(state, recorded)


# -- words --------------------------------------------------------------------------------------


@Conversation.on(events.UserUtterance)
def _user_said(state: State, event: events.UserUtterance, recorded: Recorded) -> State:
    state.transcript.append(
        Utterance(
            id=recorded.origin_id,
            at=rfc3339(recorded.occurred_at_us),
            role="user",
            text=event.text,
            party=event.party,
            confidence=event.confidence,
            attachments=attachments(event.parts) if event.parts else [],
        )
    )
    return passed(state, recorded)


@Conversation.on(events.AgentUtterance)
def _agent_said(state: State, event: events.AgentUtterance, recorded: Recorded) -> State:
    state.transcript.append(
        Utterance(
            id=recorded.origin_id,
            at=rfc3339(recorded.occurred_at_us),
            role="agent",
            text=event.text,
            heard=state.early_interruptions.pop(event.message_id or "", None),
            party=event.party,
            finish_reason=event.finish_reason,
            message_id=event.message_id,
            attachments=attachments(event.parts) if event.parts else [],
        )
    )
    return passed(state, recorded)


@Conversation.on(voice.PlaybackInterrupted)
def _interrupted(state: State, event: voice.PlaybackInterrupted, recorded: Recorded) -> State:
    for turn in reversed(state.transcript):
        if turn.role == "agent" and event.message_id in (None, turn.message_id):
            turn.heard = event.played_text
            return passed(state, recorded)
    if event.message_id is not None:
        state.early_interruptions[event.message_id] = event.played_text
    return passed(state, recorded)


@Conversation.on(voice.DtmfReceived)
def _pressed(state: State, event: voice.DtmfReceived, recorded: Recorded) -> State:
    state.keys_pressed.append(occurrence(event, recorded))
    return passed(state, recorded)


@Conversation.on(voice.CallHeld)
def _held(state: State, event: voice.CallHeld, recorded: Recorded) -> State:
    state.call_holds.append(occurrence(event, recorded))
    return passed(state, recorded)


@Conversation.on(voice.CallTransferred)
def _transferred(state: State, event: voice.CallTransferred, recorded: Recorded) -> State:
    state.transfers.append(occurrence(event, recorded))
    return passed(state, recorded)


# -- models and tools ---------------------------------------------------------------------------


@Conversation.on(events.ModelResponse)
def _responded(state: State, event: events.ModelResponse, recorded: Recorded) -> State:
    usage, totals = event.usage or events.Usage(), state.usage
    totals.responses += 1
    totals.input_tokens += usage.input_tokens
    totals.output_tokens += usage.output_tokens
    totals.cached_tokens += usage.cached_tokens
    if event.cost is not None:
        add(state.cost, event.currency, event.cost)
    return passed(state, recorded)


@Conversation.on(events.ModelFailed)
def _failed(state: State, event: events.ModelFailed, recorded: Recorded) -> State:
    state.model_failures.append(occurrence(event, recorded))
    return passed(state, recorded)


@Conversation.on(events.ToolCall)
def _called(state: State, event: events.ToolCall, recorded: Recorded) -> State:
    state.open_calls.setdefault(event.call_id, []).append(len(state.tool_calls))
    state.tool_calls.append(
        ToolUse(id=recorded.origin_id, at=rfc3339(recorded.occurred_at_us), event=event)
    )
    return passed(state, recorded)


@Conversation.on(events.ToolDecided)
def _decided(state: State, event: events.ToolDecided, recorded: Recorded) -> State:
    for place in state.open_calls.get(event.call_id, ()):
        if state.tool_calls[place].decision is None:
            state.tool_calls[place].decision = occurrence(event, recorded)
            return passed(state, recorded)
    return passed(state, recorded)


@Conversation.on(events.ToolResult)
def _returned(state: State, event: events.ToolResult, recorded: Recorded) -> State:
    answer = ToolAnswer(id=recorded.origin_id, at=rfc3339(recorded.occurred_at_us), event=event)
    places = state.open_calls.get(event.call_id)
    if places is None:
        state.unmatched_results.append(answer)
        return passed(state, recorded)
    # Call ids do repeat within a conversation: the call that has waited longest is answered.
    state.tool_calls[places.pop(0)].answer = answer
    if not places:
        del state.open_calls[event.call_id]
    return passed(state, recorded)


def _time_passed(state: State, _: object, recorded: Recorded) -> State:
    return passed(state, recorded)


_QUIET: Final[tuple[type, ...]] = (
    events.ModelRequest,
    events.RetrievalCompleted,
    events.MemoryRead,
    events.MemoryWritten,
    voice.SpeechStarted,
    voice.SpeechStopped,
)
for _kind, _step in {**dict.fromkeys(_QUIET, _time_passed), **ANNOTATIONS}.items():
    Conversation.on(_kind)(_step)
