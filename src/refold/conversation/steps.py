"""Steps of the fold for what happens in a conversation.

The order is the log's, never that of the timestamps: who barges in speaks before the words they
cut off have been said.
"""

from __future__ import annotations

from typing import Final

from refold.conversation.chat_shapes import attachments
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    MemoryRead,
    MemoryWritten,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    RetrievalCompleted,
    SessionEnded,
    SessionStarted,
    StatePatched,
    ToolCall,
    ToolDecided,
    ToolResult,
    Usage,
    UserUtterance,
)
from refold.conversation.exact import add
from refold.conversation.state import (
    ConversationState,
    RefusedPatch,
    Step,
    ToolAnswer,
    ToolUse,
    Turn,
    at,
    passed,
    placed,
)
from refold.conversation.voice import (
    CallHeld,
    CallTransferred,
    DtmfReceived,
    PlaybackInterrupted,
    SpeechStarted,
    SpeechStopped,
)
from refold.core import patch
from refold.core.recorded import Recorded
from refold.errors import UsageError

# -- session and agent --------------------------------------------------------------------------


def _started(
    state: ConversationState, event: SessionStarted, recorded: Recorded
) -> ConversationState:
    state.channel, state.direction = event.channel, event.direction
    state.parties = event.parties
    # One value for both: a patch makes a new one and never changes what it is given.
    state.initial_state = state.state = event.initial_state
    state.status, state.end_reason, state.error = "open", None, None
    return passed(state, recorded)


def _ended(state: ConversationState, event: SessionEnded, recorded: Recorded) -> ConversationState:
    state.status, state.end_reason, state.error = "ended", event.reason, event.error
    return passed(state, recorded)


def _configured(
    state: ConversationState, event: AgentConfigured, recorded: Recorded
) -> ConversationState:
    state.agent = event
    return passed(state, recorded)


def _patched(
    state: ConversationState, event: StatePatched, recorded: Recorded
) -> ConversationState:
    try:
        state.state = patch.apply(state.state, event.patch)
    except UsageError as refused:
        state.refused_patches.append(
            RefusedPatch(id=recorded.origin_id, at=at(recorded), reason=refused.message)
        )
    return passed(state, recorded)


# -- words --------------------------------------------------------------------------------------


def _user_said(
    state: ConversationState, event: UserUtterance, recorded: Recorded
) -> ConversationState:
    state.transcript.append(
        Turn(
            id=recorded.origin_id,
            at=at(recorded),
            role="user",
            text=event.text,
            party=event.party,
            confidence=event.confidence,
            attachments=attachments(event.parts),
        )
    )
    return passed(state, recorded)


def _agent_said(
    state: ConversationState, event: AgentUtterance, recorded: Recorded
) -> ConversationState:
    state.transcript.append(
        Turn(
            id=recorded.origin_id,
            at=at(recorded),
            role="agent",
            text=event.text,
            heard=state.early_interruptions.pop(event.message_id or "", None),
            party=event.party,
            finish_reason=event.finish_reason,
            message_id=event.message_id,
            attachments=attachments(event.parts),
        )
    )
    return passed(state, recorded)


def _interrupted(
    state: ConversationState, event: PlaybackInterrupted, recorded: Recorded
) -> ConversationState:
    for turn in reversed(state.transcript):
        if turn.role == "agent" and event.message_id in (None, turn.message_id):
            turn.heard = event.played_text
            return passed(state, recorded)
    if event.message_id is not None:
        state.early_interruptions[event.message_id] = event.played_text
    return passed(state, recorded)


def _pressed(
    state: ConversationState, event: DtmfReceived, recorded: Recorded
) -> ConversationState:
    state.keys_pressed.append(placed(event, recorded))
    return passed(state, recorded)


def _held(state: ConversationState, event: CallHeld, recorded: Recorded) -> ConversationState:
    state.call_holds.append(placed(event, recorded))
    return passed(state, recorded)


def _transferred(
    state: ConversationState, event: CallTransferred, recorded: Recorded
) -> ConversationState:
    state.transfers.append(placed(event, recorded))
    return passed(state, recorded)


# -- models and tools ---------------------------------------------------------------------------


def _responded(
    state: ConversationState, event: ModelResponse, recorded: Recorded
) -> ConversationState:
    usage, totals = event.usage or Usage(), state.usage
    totals.responses += 1
    totals.input_tokens += usage.input_tokens
    totals.output_tokens += usage.output_tokens
    totals.cached_tokens += usage.cached_tokens
    if event.cost is not None:
        add(state.cost, event.currency, event.cost)
    return passed(state, recorded)


def _failed(state: ConversationState, event: ModelFailed, recorded: Recorded) -> ConversationState:
    state.model_failures.append(placed(event, recorded))
    return passed(state, recorded)


def _called(state: ConversationState, event: ToolCall, recorded: Recorded) -> ConversationState:
    state.open_calls.setdefault(event.call_id, []).append(len(state.tool_calls))
    state.tool_calls.append(ToolUse(id=recorded.origin_id, at=at(recorded), event=event))
    return passed(state, recorded)


def _decided(state: ConversationState, event: ToolDecided, recorded: Recorded) -> ConversationState:
    for place in state.open_calls.get(event.call_id, ()):
        if state.tool_calls[place].decision is None:
            state.tool_calls[place].decision = placed(event, recorded)
            return passed(state, recorded)
    return passed(state, recorded)


def _returned(state: ConversationState, event: ToolResult, recorded: Recorded) -> ConversationState:
    answer = ToolAnswer(id=recorded.origin_id, at=at(recorded), event=event)
    places = state.open_calls.get(event.call_id)
    if places is None:
        state.unmatched_results.append(answer)
        return passed(state, recorded)
    # Call ids do repeat within a conversation: the call that has waited longest is answered.
    state.tool_calls[places.pop(0)].answer = answer
    if not places:
        del state.open_calls[event.call_id]
    return passed(state, recorded)


def _time_passed(state: ConversationState, _: object, recorded: Recorded) -> ConversationState:
    return passed(state, recorded)


DURING: Final[dict[type, Step]] = {
    SessionStarted: _started,
    SessionEnded: _ended,
    AgentConfigured: _configured,
    StatePatched: _patched,
    UserUtterance: _user_said,
    AgentUtterance: _agent_said,
    ModelRequest: _time_passed,
    ModelResponse: _responded,
    ModelFailed: _failed,
    ToolCall: _called,
    ToolDecided: _decided,
    ToolResult: _returned,
    RetrievalCompleted: _time_passed,
    MemoryRead: _time_passed,
    MemoryWritten: _time_passed,
    SpeechStarted: _time_passed,
    SpeechStopped: _time_passed,
    PlaybackInterrupted: _interrupted,
    DtmfReceived: _pressed,
    CallHeld: _held,
    CallTransferred: _transferred,
}
"""The step of each event that takes part of a conversation's time."""
