"""The read model ``tool_usage``: one row a tool call, and what they come to."""

from __future__ import annotations

from typing import Final

import msgspec

from refold.conversation.events import AgentConfigured, ToolCall, ToolResult
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table
from refold.readmodels.columns import kept_from, shown, version_of


class ToolCallRow(msgspec.Struct):
    """A call, or a result that no call is known for; ``version`` is that of its first event."""

    stream: str
    version: int
    call_id: str
    tool: str
    agent: str
    agent_version: str
    model: str
    position: int
    effect: str | None = None
    called_at: str | None = None
    returned_at: str | None = None
    latency_ms: float | None = None
    is_error: bool | None = None


class ToolSessionRow(msgspec.Struct):
    """What the calls of a conversation must know of what came before them.

    ``open_calls`` is JSON: the versions of the calls without a result by call id, oldest first.
    """

    stream: str
    agent: str = ""
    agent_version: str = ""
    model: str = ""
    open_calls: str = "{}"


CALLS: Final = Table(
    "tool_calls", ToolCallRow, key=("stream", "version"), indexes=[("tool", "called_at")]
)
SESSIONS: Final = Table("tool_sessions", ToolSessionRow, key=("stream",))
# A percentile is the smallest latency that so many of a hundred do not exceed (nearest rank):
# one that was measured, found without arithmetic that could round.
USAGE: Final = """
WITH seen AS (
    SELECT
        tool, agent, agent_version, model, called_at, is_error,
        called_at IS NOT NULL AND returned_at IS NOT NULL AS is_answered,
        CASE WHEN called_at IS NOT NULL THEN latency_ms END AS latency_ms
    FROM {tool_calls}
),
placed AS (
    SELECT
        *,
        count(latency_ms) OVER version AS latencies,
        row_number() OVER (version ORDER BY latency_ms IS NULL, latency_ms) AS place
    FROM seen
    WINDOW version AS (PARTITION BY tool, agent, agent_version, model)
)
SELECT
    tool, agent, agent_version, model,
    count(called_at) AS calls,
    count(called_at) - sum(is_answered) AS unanswered,
    {how_many}(is_answered AND is_error) AS errors,
    1.0 * {how_many}(is_answered AND is_error) / nullif(sum(is_answered), 0) AS error_rate,
    max(latencies) AS latencies,
    min(CASE WHEN place * 100 >= latencies * 50 THEN latency_ms END) AS p50_ms,
    min(CASE WHEN place * 100 >= latencies * 95 THEN latency_ms END) AS p95_ms,
    min(CASE WHEN place * 100 >= latencies * 99 THEN latency_ms END) AS p99_ms,
    count(*) - count(called_at) AS unmatched_results
FROM placed
GROUP BY tool, agent, agent_version, model
"""
tool_usage: Final = Projection(
    "tool_usage", tables=[CALLS, SESSIONS], views={"tool_usage": USAGE}, revision=1
)
"""One row a tool call; calls, errors and latencies by tool and version of the agent."""


_decode = msgspec.json.Decoder(dict[str, list[int]]).decode
_encode = msgspec.json.Encoder().encode


def _session(rows: Rows, recorded: Recorded) -> ToolSessionRow:
    return rows.get(SESSIONS, (recorded.stream,)) or ToolSessionRow(recorded.stream)


@kept_from(tool_usage, AgentConfigured)
def _configured(rows: Rows, event: AgentConfigured, recorded: Recorded) -> None:
    session = _session(rows, recorded)
    session.agent, session.model = event.agent or "", event.model or ""
    session.agent_version = version_of(event) or ""
    rows.put(SESSIONS, session)


@kept_from(tool_usage, ToolCall)
def _called(rows: Rows, event: ToolCall, recorded: Recorded) -> None:
    session = _session(rows, recorded)
    waiting = _decode(session.open_calls)
    waiting.setdefault(event.call_id, []).append(recorded.version)
    session.open_calls = _encode(waiting).decode()
    rows.put(SESSIONS, session)
    call = _row(session, event.call_id, event.name, recorded)
    call.effect, call.called_at = event.effect, shown(recorded.occurred_at_us)
    rows.put(CALLS, call)


@kept_from(tool_usage, ToolResult)
def _returned(rows: Rows, event: ToolResult, recorded: Recorded) -> None:
    session = _session(rows, recorded)
    call = _answered(rows, session, event)
    call = call or _row(session, event.call_id, event.name or "", recorded)
    call.returned_at = shown(recorded.occurred_at_us)
    call.latency_ms, call.is_error = event.latency_ms, event.is_error
    rows.put(CALLS, call)


def _answered(rows: Rows, session: ToolSessionRow, event: ToolResult) -> ToolCallRow | None:
    """The call that a result answers: ids repeat, so the one that has waited longest."""
    waiting = _decode(session.open_calls)
    if event.call_id not in waiting:
        return None
    version = waiting[event.call_id].pop(0)
    left = {call_id: versions for call_id, versions in waiting.items() if versions}
    session.open_calls = _encode(left).decode()
    rows.put(SESSIONS, session)
    return rows.get(CALLS, (session.stream, version))


def _row(session: ToolSessionRow, call_id: str, tool: str, recorded: Recorded) -> ToolCallRow:
    by = session.agent, session.agent_version, session.model
    return ToolCallRow(session.stream, recorded.version, call_id, tool, *by, recorded.position)
