"""The read model ``conversations``: one row a conversation."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec

from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    MemoryRead,
    MemoryWritten,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    RetrievalCompleted,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    StatePatched,
    ToolCall,
    ToolDecided,
    ToolResult,
    UserUtterance,
)
from refold.conversation.governance import DecisionRecorded
from refold.conversation.voice import (
    CallHeld,
    CallTransferred,
    DtmfReceived,
    PlaybackInterrupted,
    SpeechStarted,
    SpeechStopped,
)
from refold.core.recorded import Recorded
from refold.projections.projection import Projection
from refold.projections.rows import Rows
from refold.projections.table import Table
from refold.readmodels.agents import version_of
from refold.readmodels.branches import is_branch
from refold.readmodels.instants import elapsed_ms, shown
from refold.readmodels.money import NOTHING, with_added
from refold.readmodels.persons import CUSTOMER, PARTY, SUBJECT, customers_of, subject_of


class ConversationRow(msgspec.Struct):
    """A conversation as far as it has come; docs/reference/read-models.md explains the columns.

    Lists and sums are kept as JSON text: most events leave them as they are.
    """

    stream: str
    channel: str | None = None
    direction: str | None = None
    customer: str | None = None
    customer_by: str | None = None
    customer_name: str | None = None
    parties: str = "[]"
    agent: str | None = None
    agent_version: str | None = None
    prompt_id: str | None = None
    prompt_hash: str | None = None
    model: str | None = None
    provider: str | None = None
    status: str = "open"
    started_at: str | None = None
    last_at: str | None = None
    ended_at: str | None = None
    duration_ms: int = 0
    end_reason: str | None = None
    error: str | None = None
    transferred_to: str | None = None
    decision_reference: str | None = None
    decision_amount: Decimal | None = None
    decision_currency: str | None = None
    decision_reasons: str | None = None
    score_name: str | None = None
    score: float | None = None
    turns: int = 0
    user_turns: int = 0
    interruptions: int = 0
    tool_calls: int = 0
    tool_errors: int = 0
    answers: int = 0
    model_failures: int = 0
    cost: str = NOTHING
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    model_latencies: int = 0
    model_latency_ms_sum: float = 0.0
    model_latency_ms_max: float | None = None
    first_tokens: int = 0
    first_token_ms_sum: float = 0.0
    first_token_ms_max: float | None = None
    tool_latencies: int = 0
    tool_latency_ms_sum: float = 0.0
    tool_latency_ms_max: float | None = None
    last_version: int = -1
    last_position: int = 0


LISTED: Final = Table(
    "conversations",
    ConversationRow,
    key=("stream",),
    indexes=[("started_at",), ("customer", "started_at")],
)
conversations: Final = Projection("conversations", tables=[LISTED], revision=1)
"""One row a conversation: who, when, through what, with which agent, how it ended, what it cost."""

Change = Callable[[ConversationRow, Any, Recorded], None]


def _on(*events: type) -> Callable[[Change], Change]:
    """Decorator: how these events change the row of their conversation."""

    def register(change: Change) -> Change:
        @conversations.on(*events)
        def handle(rows: Rows, event: Any, recorded: Recorded) -> None:
            if is_branch(recorded):
                return
            row = rows.get(LISTED, (recorded.stream,)) or ConversationRow(recorded.stream)
            row.last_version, row.last_position = recorded.version, recorded.position
            if row.customer_by != SUBJECT and (subject := subject_of(recorded)):
                row.customer, row.customer_by = subject, SUBJECT
            change(row, event, recorded)
            rows.put(LISTED, row)

        return change

    return register


def _during(*events: type) -> Callable[[Change], Change]:
    """The same for events that take some of the conversation's time."""

    def register(change: Change) -> Change:
        @_on(*events)
        def timed(row: ConversationRow, event: Any, recorded: Recorded) -> None:
            _live(row, shown(recorded.occurred_at_us))
            change(row, event, recorded)

        return change

    return register


def _live(row: ConversationRow, at: str) -> None:
    """Stretch the time of a conversation to a moment; the order is the log's, not the clock's."""
    if row.started_at is None or row.last_at is None:
        row.started_at = row.last_at = at
    elif at > row.last_at or at < row.started_at:
        row.started_at, row.last_at = min(row.started_at, at), max(row.last_at, at)
        row.duration_ms = elapsed_ms(row.started_at, row.last_at)


@_during(SessionStarted)
def _started(row: ConversationRow, event: SessionStarted, _: Recorded) -> None:
    row.channel, row.direction = event.channel, event.direction
    row.status, row.ended_at, row.end_reason, row.error = "open", None, None, None
    row.parties = msgspec.json.encode(event.parties).decode()
    names = (party.name for party in event.parties if party.role == CUSTOMER)
    row.customer_name = next(filter(None, names), None)
    if row.customer_by != SUBJECT:
        person = next(customers_of(event.parties), None)
        row.customer, row.customer_by = (person.key, PARTY) if person else (None, None)


@_during(SessionEnded)
def _ended(row: ConversationRow, event: SessionEnded, recorded: Recorded) -> None:
    row.status, row.end_reason, row.error = "ended", event.reason, event.error
    row.ended_at = shown(recorded.occurred_at_us)


@_during(AgentConfigured)
def _configured(row: ConversationRow, event: AgentConfigured, _: Recorded) -> None:
    prompt = event.prompt
    row.agent, row.agent_version = event.agent, version_of(event)
    row.prompt_id, row.prompt_hash = (prompt.id, prompt.hash) if prompt else (None, None)
    row.model, row.provider = event.model, event.provider


@_during(UserUtterance)
def _user_said(row: ConversationRow, _: UserUtterance, __: Recorded) -> None:
    row.turns += 1
    row.user_turns += 1


@_during(AgentUtterance)
def _agent_said(row: ConversationRow, _: AgentUtterance, __: Recorded) -> None:
    row.turns += 1


@_during(PlaybackInterrupted)
def _interrupted(row: ConversationRow, _: PlaybackInterrupted, __: Recorded) -> None:
    row.interruptions += 1


@_during(CallTransferred)
def _transferred(row: ConversationRow, event: CallTransferred, _: Recorded) -> None:
    row.transferred_to = event.to_party


@_during(ModelResponse)
def _answered(row: ConversationRow, event: ModelResponse, _: Recorded) -> None:
    row.answers += 1
    row.model = row.model or event.model
    if event.cost is not None:
        row.cost = with_added(row.cost, event.currency, event.cost)
    if (usage := event.usage) is not None:
        row.input_tokens += usage.input_tokens
        row.output_tokens += usage.output_tokens
        row.cached_tokens += usage.cached_tokens
    if (latency_ms := event.latency_ms) is not None:
        row.model_latencies += 1
        row.model_latency_ms_sum += latency_ms
        row.model_latency_ms_max = _greater(row.model_latency_ms_max, latency_ms)
    if (first_ms := event.first_token_ms) is not None:
        row.first_tokens += 1
        row.first_token_ms_sum += first_ms
        row.first_token_ms_max = _greater(row.first_token_ms_max, first_ms)


@_during(ModelFailed)
def _failed(row: ConversationRow, _: ModelFailed, __: Recorded) -> None:
    row.model_failures += 1


@_during(ToolCall)
def _called(row: ConversationRow, _: ToolCall, __: Recorded) -> None:
    row.tool_calls += 1


@_during(ToolResult)
def _returned(row: ConversationRow, event: ToolResult, _: Recorded) -> None:
    row.tool_errors += event.is_error
    if (latency_ms := event.latency_ms) is not None:
        row.tool_latencies += 1
        row.tool_latency_ms_sum += latency_ms
        row.tool_latency_ms_max = _greater(row.tool_latency_ms_max, latency_ms)


@_on(DecisionRecorded)
def _decided(row: ConversationRow, event: DecisionRecorded, _: Recorded) -> None:
    row.decision_reference = event.reference
    row.decision_reasons = msgspec.json.encode(event.reasons).decode()
    row.decision_amount, row.decision_currency = event.amount, event.currency


@_on(ScoreRecorded)
def _scored(row: ConversationRow, event: ScoreRecorded, _: Recorded) -> None:
    row.score_name, row.score = event.name, event.value


@_during(
    StatePatched,
    ModelRequest,
    ToolDecided,
    RetrievalCompleted,
    MemoryRead,
    MemoryWritten,
    SpeechStarted,
    SpeechStopped,
    DtmfReceived,
    CallHeld,
)
def _time_passed(_: ConversationRow, __: object, ___: Recorded) -> None:
    """Nothing but the time."""


def _greater(most: float | None, value: float) -> float:
    return value if most is None or value > most else most
