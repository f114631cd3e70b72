"""`conversations`: one row a conversation."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import refold
from refold import Event
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    CallTransferred,
    DecisionRecorded,
    EffectCommitted,
    ModelFailed,
    ModelResponse,
    Party,
    PlaybackInterrupted,
    Prompt,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    ToolCall,
    ToolResult,
    Usage,
    UserUtterance,
)
from tests.readmodels.tables import after, caught_up

CALLER = Party(role="customer", name="Ada Park", address="+49 30 901820")
START = "2026-03-01T23:59:58Z"


def row_after(*events: object, **said: Any) -> dict[str, Any]:
    """The one row after these events."""
    (row,) = after(*events, **said)["conversations"]
    return row


def voice_call() -> dict[str, object]:
    """A call with everything in it: the moment it happened at, and the event."""
    usage = Usage(input_tokens=900, output_tokens=30, cached_tokens=512)
    answer = ModelResponse(
        usage=usage, cost=Decimal("0.0021"), latency_ms=800, first_token_ms=240.5
    )
    return {
        "2026-03-01T09:00:00.000001Z": SessionStarted(
            channel="voice", parties=[CALLER, Party(role="agent", name="desk")]
        ),
        "2026-03-01T09:00:00.000002Z": AgentConfigured(
            prompt=Prompt(text="Be kind.", id="desk-4"), model="m-1", provider="p", agent="desk"
        ),
        "2026-03-01T09:00:02Z": AgentUtterance(text="Clinic, how can I help you?"),
        "2026-03-01T09:00:03Z": UserUtterance(text="A plumber, please"),
        "2026-03-01T09:00:02.5Z": PlaybackInterrupted(played_text="Clinic, how"),
        "2026-03-01T09:00:04Z": ModelFailed(error="429"),
        "2026-03-01T09:00:05Z": answer,
        "2026-03-01T09:00:05.1Z": ToolCall(call_id="c1", name="look_up"),
        "2026-03-01T09:00:05.9Z": ToolResult(call_id="c1", is_error=True, latency_ms=750),
        "2026-03-01T09:00:07Z": ModelResponse(cost=Decimal("0.001"), currency="EUR"),
        "2026-03-01T09:00:08Z": CallTransferred(to_party="reception"),
        "2026-03-01T09:00:09Z": SessionEnded(reason="transferred"),
    }


def test_a_voice_call_from_the_first_ring_to_the_end() -> None:
    """Who, when, through what, with which agent, how it ended, what it took and cost."""
    call = voice_call()
    hash_of_prompt = Prompt(text="Be kind.").hash
    assert row_after(*call.values(), at=list(call)) == {
        "stream": "call-1",
        "channel": "voice",
        "direction": "inbound",
        "customer": "+49 30 901820",
        "customer_by": "party",
        "customer_name": "Ada Park",
        "parties": [
            {"role": "customer", "name": "Ada Park", "address": "+49 30 901820"},
            {"role": "agent", "name": "desk"},
        ],
        "agent": "desk",
        "agent_version": "desk-4",
        "prompt_id": "desk-4",
        "prompt_hash": hash_of_prompt,
        "model": "m-1",
        "provider": "p",
        "status": "ended",
        "started_at": "2026-03-01T09:00:00.000001Z",
        "last_at": "2026-03-01T09:00:09.000000Z",
        "ended_at": "2026-03-01T09:00:09.000000Z",
        "duration_ms": 8_999,
        "end_reason": "transferred",
        "error": None,
        "transferred_to": "reception",
        "decision_reference": None,
        "decision_amount": None,
        "decision_currency": None,
        "decision_reasons": None,
        "score_name": None,
        "score": None,
        "turns": 2,
        "user_turns": 1,
        "interruptions": 1,
        "tool_calls": 1,
        "tool_errors": 1,
        "answers": 2,
        "model_failures": 1,
        "cost": {"USD": Decimal("0.0021"), "EUR": Decimal("0.001")},
        "input_tokens": 900,
        "output_tokens": 30,
        "cached_tokens": 512,
        "model_latencies": 1,
        "model_latency_ms_sum": 800.0,
        "model_latency_ms_max": 800.0,
        "first_tokens": 1,
        "first_token_ms_sum": 240.5,
        "first_token_ms_max": 240.5,
        "tool_latencies": 1,
        "tool_latency_ms_sum": 750.0,
        "tool_latency_ms_max": 750.0,
        "last_version": 11,
        "last_position": 12,
    }


def test_a_conversation_lasts_from_its_earliest_to_its_latest_moment() -> None:
    """The log's order is not the clock's: who barges in spoke before what is recorded."""
    said = SessionStarted(), UserUtterance(text="Hi"), AgentUtterance(text="Yes?")
    row = row_after(*said, at=["2026-03-01T09:00:05Z", "2026-03-01T09:00:09Z", START])
    assert (row["started_at"], row["last_at"]) == (
        "2026-03-01T09:00:05.000000Z",
        "2026-03-01T23:59:58.000000Z",
    )
    assert row["duration_ms"] == 53_993_000


def test_what_is_said_about_a_conversation_later_does_not_lengthen_it() -> None:
    """A score and a decision leave its time as it was, and are in its row."""
    decided = DecisionRecorded(
        amount=Decimal("12.50"), currency="EUR", reasons=["late"], reference="r-1"
    )
    scored = ScoreRecorded(name="csat", value=0.5, rater="ann")
    row = row_after(SessionStarted(), decided, scored, at=[START, START, "2026-04-01T00:00:00Z"])
    assert row["last_at"] == "2026-03-01T23:59:58.000000Z"
    assert (row["score_name"], row["score"]) == ("csat", 0.5)
    assert (row["decision_amount"], row["decision_currency"]) == ("12.50", "EUR")
    assert (row["decision_reasons"], row["decision_reference"]) == (["late"], "r-1")


def test_a_score_alone_has_no_time() -> None:
    """A conversation of which only a rating is recorded has a row without a beginning."""
    row = row_after(ScoreRecorded(name="csat", value=1.0, rater="ann"), at=[START])
    assert (row["started_at"], row["last_at"], row["duration_ms"]) == (None, None, 0)


def test_a_session_that_starts_again_is_open() -> None:
    """What an end said is no longer so; what was counted goes on."""
    ended = SessionEnded(reason="error", error="lost line")
    row = row_after(SessionStarted(), UserUtterance(text="Hi"), ended, SessionStarted())
    assert (row["status"], row["ended_at"], row["end_reason"], row["error"]) == (
        *("open", None, None, None),
    )
    assert row["user_turns"] == 1


@pytest.mark.parametrize(
    "amounts",
    [
        pytest.param(["0.1"] * 10, id="tenths"),
        pytest.param(["1E+12", "0.000000000000001"], id="far apart"),
        pytest.param(["0.1234567890123456789012345678901234567", "1"], id="more digits than 28"),
    ],
)
def test_costs_are_exact(amounts: list[str]) -> None:
    """Sums are those of decimals, whatever Python's decimal context is."""
    answers = [ModelResponse(cost=Decimal(amount)) for amount in amounts]
    assert Fraction(row_after(*answers)["cost"]["USD"]) == sum(map(Fraction, amounts))


def test_the_model_is_the_configured_one_else_the_one_that_answered() -> None:
    """An answer names its model where the configuration in force does not."""
    first, second = ModelResponse(model="m-1-0304"), ModelResponse(model="m-2-0501")
    assert row_after(AgentConfigured(model="m-1"), first)["model"] == "m-1"
    assert row_after(AgentConfigured(), first, second)["model"] == "m-1-0304"
    assert row_after(AgentConfigured(model="m-1"), AgentConfigured(), second)["model"] == "m-2-0501"


@pytest.mark.parametrize(
    ("agent", "version"),
    [
        (AgentConfigured(version="7", prompt=Prompt(text="x", id="p")), "7"),
        (AgentConfigured(prompt=Prompt(text="x", id="p")), "p"),
        (AgentConfigured(prompt=Prompt(text="x")), Prompt(text="x").hash[:12]),
        (AgentConfigured(), None),
    ],
    ids=["named", "prompt id", "prompt hash", "nothing"],
)
def test_an_agents_version_is_the_best_name_it_has(
    agent: AgentConfigured, version: str | None
) -> None:
    """The version as configured, else the prompt's id, else the start of its hash."""
    assert row_after(agent)["agent_version"] == version


def test_a_subject_says_more_than_a_party() -> None:
    """From the first event that names its subject on, that is the customer."""
    known = Event.of(UserUtterance(text="It's me"), metadata={"subject": "person-9"})
    other = Event.of(UserUtterance(text="And me"), metadata={"subject": "person-10"})
    row = row_after(SessionStarted(parties=[CALLER]), known, other, SessionStarted(parties=[]))
    assert (row["customer"], row["customer_by"]) == ("person-9", "subject")


def test_a_name_alone_is_no_customer() -> None:
    """People share names: a customer is known by an id or an address."""
    row = row_after(SessionStarted(parties=[Party(role="customer", name="Ada Park")]))
    assert (row["customer"], row["customer_by"], row["customer_name"]) == (None, None, "Ada Park")


def test_other_streams_are_no_conversations() -> None:
    """Events of other vocabularies make no row, nor do effects of any agent."""
    assert after(Event("job.done", {}), EffectCommitted(reference="r-1"))["conversations"] == []


def test_a_what_if_that_was_saved_is_no_conversation() -> None:
    """A branch is left out of every table but its own, and its parent's rows stay as they were."""
    with refold.open("memory:") as store:
        store.append("call-1", list(voice_call().values()))
        before = caught_up(store)
        store.branch("call-1").without("call-1@8").save("call-1~calm")
        branch = {"stream": "call-1~calm", "parent": "call-1", "version": 7, "changed": None}
        assert caught_up(store) == {**before, "branches": [branch]}
