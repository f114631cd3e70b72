"""The read model ``costs``: what agents and models cost, day by day.

Beside what happened in streams it has what was recorded as it happened in branches, as a captured
conversation goes on in one that was asked again from an earlier message: that was paid too.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from refold.conversation.amounts import plus
from refold.conversation.events import AgentConfigured, ModelResponse
from refold.core.history import SessionForked
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table
from refold.readmodels.columns import count_tokens, happened, shown


class CostRow(msgspec.Struct):
    """The answers of one agent with one model in one currency on one day (UTC)."""

    day: str
    agent: str
    model: str
    currency: str
    answers: int = 0
    unpriced_answers: int = 0
    cost: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class CostSessionRow(msgspec.Struct):
    """What a conversation runs with: the version that says so, the agent and the model, each time.

    The last is in force.
    """

    stream: str
    settings: list[tuple[int, str, str]]


COSTS: Final = Table("costs", CostRow, key=("day", "agent", "model", "currency"))
SESSIONS: Final = Table("cost_sessions", CostSessionRow, key=("stream",))
costs: Final = Projection("costs", tables=[COSTS, SESSIONS], revision=3)
"""Cost and tokens by agent, model, currency and day."""


@costs.on(SessionForked)
def _forked(rows: Rows, event: SessionForked, recorded: Recorded) -> None:
    """A branch begins with the agent that its stream has at the fork; a replay asks another."""
    left = None if "~replay-" in recorded.stream else rows.get(SESSIONS, (event.from_stream,))
    if left is not None:
        settings = [one for one in left.settings if one[0] <= event.from_version]
        rows.put(SESSIONS, CostSessionRow(recorded.stream, settings))


@costs.on(AgentConfigured)
def _configured(rows: Rows, event: AgentConfigured, recorded: Recorded) -> None:
    if happened(recorded):
        row = rows.get(SESSIONS, (recorded.stream,)) or CostSessionRow(recorded.stream, [])
        setting = recorded.version, event.agent or "", event.model or ""
        if not row.settings or row.settings[-1][1:] != setting[1:]:
            rows.put(SESSIONS, CostSessionRow(recorded.stream, [*row.settings, setting]))


@costs.on(ModelResponse)
def _answered(rows: Rows, event: ModelResponse, recorded: Recorded) -> None:
    if not happened(recorded):
        return
    session = rows.get(SESSIONS, (recorded.stream,))
    _, agent, model = session.settings[-1] if session and session.settings else (0, "", "")
    key = shown(recorded.occurred_at_us)[:10], agent, event.model or model, event.currency
    row = rows.get(COSTS, key) or CostRow(*key)
    row.answers += 1
    if event.cost is None:
        row.unpriced_answers += 1
    else:
        row.cost = plus(row.cost, event.cost)
    count_tokens(row, event.usage)
    rows.put(COSTS, row)
