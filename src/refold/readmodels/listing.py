"""The read model ``conversations``: one row a conversation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from refold.conversation import events, governance, voice
from refold.conversation.amounts import add
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table
from refold.readmodels.columns import (
    PARTY,
    SUBJECT,
    count_tokens,
    customers_of,
    kept_from,
    shown,
    subject_of,
    version_of,
)


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
    cost: str = "{}"
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
_sums_in = msgspec.json.Decoder(dict[str, Decimal]).decode
_encode = msgspec.json.Encoder(order="sorted").encode
# What is said of a conversation later takes none of its time.
_AFTERWARDS: Final = (governance.DecisionRecorded, events.ScoreRecorded)
_COUNTED_IN: Final[dict[type, tuple[str, ...]]] = {
    events.UserUtterance: ("turns", "user_turns"),
    events.AgentUtterance: ("turns",),
    events.ModelFailed: ("model_failures",),
    events.ToolCall: ("tool_calls",),
    voice.PlaybackInterrupted: ("interruptions",),
    # Nothing but the time passes.
    events.StatePatched: (),
    events.ModelRequest: (),
    events.ToolDecided: (),
    events.RetrievalCompleted: (),
    events.MemoryRead: (),
    events.MemoryWritten: (),
    voice.SpeechStarted: (),
    voice.SpeechStopped: (),
    voice.DtmfReceived: (),
    voice.CallHeld: (),
}


def _on(*types: type) -> Callable[[Change], Change]:
    """Decorator: how these events change the row of their conversation."""

    def register(change: Change) -> Change:
        @kept_from(conversations, *types)
        def handle(rows: Rows, event: Any, recorded: Recorded) -> None:
            row = rows.get(LISTED, (recorded.stream,)) or ConversationRow(recorded.stream)
            row.last_version, row.last_position = recorded.version, recorded.position
            if row.customer_by != SUBJECT and (subject := subject_of(recorded)):
                row.customer, row.customer_by = subject, SUBJECT
            if not isinstance(event, _AFTERWARDS):
                _live(row, shown(recorded.occurred_at_us))
            change(row, event, recorded)
            rows.put(LISTED, row)

        return change

    return register


def _live(row: ConversationRow, at: str) -> None:
    """Stretch the time of a conversation to a moment; the order is the log's, not the clock's."""
    if row.started_at is None or row.last_at is None:
        row.started_at = row.last_at = at
    elif at > row.last_at or at < row.started_at:
        row.started_at, row.last_at = min(row.started_at, at), max(row.last_at, at)
        took = datetime.fromisoformat(row.last_at) - datetime.fromisoformat(row.started_at)
        row.duration_ms = took // timedelta(milliseconds=1)


@_on(events.SessionStarted)
def _started(row: ConversationRow, event: events.SessionStarted, _: Recorded) -> None:
    row.channel, row.direction = event.channel, event.direction
    row.status, row.ended_at, row.end_reason, row.error = "open", None, None, None
    row.parties = msgspec.json.encode(event.parties).decode()
    people = customers_of(event.parties)
    row.customer_name = next((name for _, name in people if name), None)
    if row.customer_by != SUBJECT:
        row.customer = next((key for key, _ in people if key), None)
        row.customer_by = PARTY if row.customer else None


@_on(events.SessionEnded)
def _ended(row: ConversationRow, event: events.SessionEnded, recorded: Recorded) -> None:
    row.status, row.end_reason, row.error = "ended", event.reason, event.error
    row.ended_at = shown(recorded.occurred_at_us)


@_on(events.AgentConfigured)
def _configured(row: ConversationRow, event: events.AgentConfigured, _: Recorded) -> None:
    prompt = event.prompt
    row.agent, row.agent_version = event.agent, version_of(event)
    row.prompt_id, row.prompt_hash = (prompt.id, prompt.hash) if prompt else (None, None)
    row.model, row.provider = event.model, event.provider


@_on(voice.CallTransferred)
def _transferred(row: ConversationRow, event: voice.CallTransferred, _: Recorded) -> None:
    row.transferred_to = event.to_party


@_on(events.ModelResponse)
def _answered(row: ConversationRow, event: events.ModelResponse, _: Recorded) -> None:
    row.answers += 1
    row.model = row.model or event.model
    if event.cost is not None:
        totals = _sums_in(row.cost)
        add(totals, event.currency, event.cost)
        row.cost = _encode(totals).decode()
    count_tokens(row, event.usage)
    _measured(row, "model_latencies", "model_latency_ms", event.latency_ms)
    _measured(row, "first_tokens", "first_token_ms", event.first_token_ms)


@_on(events.ToolResult)
def _returned(row: ConversationRow, event: events.ToolResult, _: Recorded) -> None:
    row.tool_errors += event.is_error
    _measured(row, "tool_latencies", "tool_latency_ms", event.latency_ms)


@_on(governance.DecisionRecorded)
def _decided(row: ConversationRow, event: governance.DecisionRecorded, _: Recorded) -> None:
    row.decision_reference = event.reference
    row.decision_reasons = msgspec.json.encode(event.reasons).decode()
    row.decision_amount, row.decision_currency = event.amount, event.currency


@_on(events.ScoreRecorded)
def _scored(row: ConversationRow, event: events.ScoreRecorded, _: Recorded) -> None:
    if event.at is None:
        row.score_name, row.score = event.name, event.value


@_on(*_COUNTED_IN)
def _counted(row: ConversationRow, event: object, _: Recorded) -> None:
    for column in _COUNTED_IN[type(event)]:
        setattr(row, column, getattr(row, column) + 1)


def _measured(row: ConversationRow, counted_in: str, measure: str, took_ms: float | None) -> None:
    """Count a measurement, add it up, and keep the greatest."""
    if took_ms is not None:
        most = getattr(row, f"{measure}_max")
        setattr(row, counted_in, getattr(row, counted_in) + 1)
        setattr(row, f"{measure}_sum", getattr(row, f"{measure}_sum") + took_ms)
        setattr(row, f"{measure}_max", took_ms if most is None else max(most, took_ms))
