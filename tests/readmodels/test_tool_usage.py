"""`tool_calls` and `tool_usage`: one row a call, and what they come to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation import AgentConfigured, ToolCall, ToolResult
from tests.readmodels.naive import percentile
from tests.readmodels.tables import Tables, after, caught_up

CALL = ToolCall(call_id="c1", name="find", effect="read")


def usage_of(tables: Tables) -> dict[str, Any]:
    """The one row of the view."""
    (row,) = tables["tool_usage"]
    return row


def test_a_call_and_its_result() -> None:
    """The row says which agent called what, when, how long it took and whether it failed."""
    agent = AgentConfigured(agent="desk", version="7", model="m-1")
    result = ToolResult(call_id="c1", is_error=True, latency_ms=120.5)
    at = ["2026-03-01T09:00:00Z", "2026-03-01T09:00:01Z", "2026-03-01T09:00:02Z"]
    tables = after(agent, CALL, result, at=at)
    assert tables["tool_calls"] == [
        {
            "stream": "call-1",
            "version": 1,
            "call_id": "c1",
            "tool": "find",
            "agent": "desk",
            "agent_version": "7",
            "model": "m-1",
            "position": 2,
            "effect": "read",
            "called_at": "2026-03-01T09:00:01.000000Z",
            "returned_at": "2026-03-01T09:00:02.000000Z",
            "latency_ms": 120.5,
            "is_error": 1,
        }
    ]
    assert usage_of(tables) == {
        "tool": "find",
        "agent": "desk",
        "agent_version": "7",
        "model": "m-1",
        "calls": 1,
        "unanswered": 0,
        "errors": 1,
        "error_rate": 1.0,
        "latencies": 1,
        "p50_ms": 120.5,
        "p95_ms": 120.5,
        "p99_ms": 120.5,
        "unmatched_results": 0,
    }


def test_a_call_without_a_result_is_neither_right_nor_wrong() -> None:
    """It counts as a call and as unanswered; the error rate is that of the others."""
    failed = ToolResult(call_id="c1", is_error=True)
    usage = usage_of(after(CALL, failed, CALL))
    assert (usage["calls"], usage["unanswered"], usage["errors"]) == (2, 1, 1)
    assert usage["error_rate"] == 1.0
    assert usage_of(after(CALL))["error_rate"] is None


def test_a_result_without_a_call_is_kept_and_counted_apart() -> None:
    """It is no call, and neither its error nor its latency is counted among those of calls."""
    stray = ToolResult(call_id="c9", name="find", is_error=True, latency_ms=0.5)
    answer = ToolResult(call_id="c1", latency_ms=80)
    tables = after(stray, CALL, answer)
    first, second = tables["tool_calls"]
    assert (first["version"], first["called_at"], first["tool"]) == (0, None, "find")
    assert (second["version"], second["is_error"]) == (1, 0)
    usage = usage_of(tables)
    assert (usage["calls"], usage["errors"], usage["unmatched_results"]) == (1, 0, 1)
    assert (usage["latencies"], usage["p50_ms"]) == (1, 80.0)


def test_a_result_comes_before_a_call_of_the_same_id() -> None:
    """A result answers a call that was made before it; a later one waits for its own."""
    tables = after(ToolResult(call_id="c1", name="find"), CALL)
    assert [row["returned_at"] is None for row in tables["tool_calls"]] == [False, True]
    assert usage_of(tables)["unanswered"] == 1


def test_call_ids_that_repeat_are_answered_in_order() -> None:
    """The call that has waited longest is answered first, as in the fold of a conversation."""
    slow, quick = ToolResult(call_id="c1", latency_ms=9), ToolResult(call_id="c1", latency_ms=1)
    tables = after(CALL, CALL, slow, CALL, quick)
    assert [row["latency_ms"] for row in tables["tool_calls"]] == [9.0, 1.0, None]


def test_a_call_belongs_to_the_agent_that_made_it() -> None:
    """A new version does not take over the calls of the one before, nor their late results."""
    old, new = AgentConfigured(version="1"), AgentConfigured(version="2")
    tables = after(old, CALL, new, ToolResult(call_id="c1"), CALL)
    assert [row["agent_version"] for row in tables["tool_calls"]] == ["1", "2"]
    assert [(r["agent_version"], r["unanswered"]) for r in tables["tool_usage"]] == [
        ("1", 0),
        ("2", 1),
    ]


def test_conversations_do_not_answer_each_other() -> None:
    """The same call id in two streams is two calls."""
    with refold.open("memory:") as store:
        store.append("call-1", [CALL])
        store.append("call-2", [ToolResult(call_id="c1", name="find")])
        assert usage_of(caught_up(store))["unmatched_results"] == 1


@given(latencies=st.lists(st.none() | st.floats(0, 1e6) | st.integers(0, 5), max_size=120))
def test_percentiles_are_latencies_that_were_measured(latencies: list[float | None]) -> None:
    """Nearest rank: the smallest latency that at least so many of a hundred are not over."""
    events: list[object] = []
    for latency in latencies:
        events += [CALL, ToolResult(call_id="c1", latency_ms=latency)]
    usage = usage_of(after(*events, CALL))
    known = [latency for latency in latencies if latency is not None]
    assert usage["latencies"] == len(known)
    for p in (50, 95, 99):
        assert usage[f"p{p}_ms"] == percentile(known, p)


@pytest.mark.parametrize(
    "other",
    [AgentConfigured(agent="b"), AgentConfigured(version="b"), AgentConfigured(model="b")],
    ids=["agent", "version", "model"],
)
def test_percentiles_are_of_one_tool_and_one_version_of_the_agent(other: AgentConfigured) -> None:
    """Slow calls of another agent, version, model or tool do not make these slow."""
    events: list[object] = []
    for latency, agent in ((10, AgentConfigured()), (90, other)):
        events += [agent, CALL, ToolResult(call_id="c1", latency_ms=latency)]
    events += [ToolCall(call_id="c2", name="book"), ToolResult(call_id="c2", latency_ms=500)]
    found = [(r["tool"], r["latencies"], r["p99_ms"]) for r in after(*events)["tool_usage"]]
    assert sorted(found) == [("book", 1, 500.0), ("find", 1, 10.0), ("find", 1, 90.0)]


def test_percentiles_of_a_known_example() -> None:
    """Of 1 to 200 ms: half of them, 95 and 99 of a hundred are not over 100, 190 and 198."""
    events: list[object] = []
    for latency in reversed(range(1, 201)):
        events += [CALL, ToolResult(call_id="c1", latency_ms=latency)]
    usage = usage_of(after(*events))
    assert (usage["p50_ms"], usage["p95_ms"], usage["p99_ms"]) == (100.0, 190.0, 198.0)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_result_finds_its_call_in_a_later_batch(batch: int) -> None:
    """Calls that wait are remembered with the rows, not by who runs the projection."""
    events = [CALL, CALL, ToolResult(call_id="c1", latency_ms=1), ToolResult(call_id="c1")]
    with refold.open("memory:") as store:
        for start in range(0, len(events), batch):
            store.append("call-1", events[start : start + batch])
            caught_up(store)
        assert [row["latency_ms"] for row in caught_up(store)["tool_calls"]] == [1.0, None]
