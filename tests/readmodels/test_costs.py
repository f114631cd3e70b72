"""`costs`: cost and tokens by agent, model, currency and day."""

from decimal import Decimal

import refold
from refold import Event
from refold.conversation import AgentConfigured, ModelResponse, Usage, UserUtterance
from tests.readmodels.tables import after, caught_up


def answer(cost: str | None = None, **said: object) -> ModelResponse:
    """An answer with a price."""
    return ModelResponse(cost=None if cost is None else Decimal(cost), **said)  # type: ignore[arg-type]


def test_answers_of_a_day_add_up_exactly() -> None:
    """Three times ten cents are thirty cents, and tokens are summed beside them."""
    usage = Usage(input_tokens=100, output_tokens=7, cached_tokens=64)
    agent = AgentConfigured(agent="desk", model="m-1")
    at = ["2026-03-01T09:00:00Z"] * 4
    assert after(agent, *[answer("0.1", usage=usage)] * 3, at=at)["costs"] == [
        {
            "day": "2026-03-01",
            "agent": "desk",
            "model": "m-1",
            "currency": "USD",
            "answers": 3,
            "unpriced_answers": 0,
            "cost": Decimal("0.3"),
            "input_tokens": 300,
            "output_tokens": 21,
            "cached_tokens": 192,
        }
    ]


def test_a_day_is_that_of_the_event_in_utc() -> None:
    """When it happened counts, wherever the clock stood, and not when it was recorded."""
    at = ["2026-03-01T23:59:59.999999Z", "2026-03-02T00:00:00Z", "2026-03-02T01:30:00+02:00"]
    rows = after(answer("1"), answer("2"), answer("4"), at=at)["costs"]
    assert [(row["day"], row["cost"]) for row in rows] == [
        ("2026-03-01", Decimal(5)),
        ("2026-03-02", Decimal(2)),
    ]


def test_currencies_are_not_added_up() -> None:
    """Each has a row; an answer without a price counts where it would have been charged."""
    rows = after(answer("1"), answer("2", currency="EUR"), answer())["costs"]
    assert [(r["currency"], r["cost"], r["answers"], r["unpriced_answers"]) for r in rows] == [
        ("EUR", Decimal(2), 1, 0),
        ("USD", Decimal(1), 2, 1),
    ]


def test_an_answer_belongs_to_the_agent_in_force() -> None:
    """A new configuration counts from there on; a model that an answer names goes before it."""
    first, second = AgentConfigured(agent="a", model="m"), AgentConfigured(agent="b", model="m")
    said = answer("1"), first, answer("2"), second, answer("4"), answer("8", model="m-0304")
    rows = after(*said)["costs"]
    assert [(row["agent"], row["model"], row["cost"]) for row in rows] == [
        ("", "", Decimal(1)),
        ("a", "m", Decimal(2)),
        ("b", "m", Decimal(4)),
        ("b", "m-0304", Decimal(8)),
    ]


def test_a_branch_costs_nothing() -> None:
    """What a replay's candidate answered is in the report of the replay, not in the costs."""
    assert after(answer("1"), stream="call-1~v2")["costs"] == []


def test_what_was_recorded_in_a_branch_was_paid() -> None:
    """As a captured conversation goes on in one; by the agent that it has at the fork."""
    with refold.open("memory:", clock=lambda: 1_772_355_600_000_000) as store:
        store.append("call-1", [AgentConfigured(agent="a", model="m"), answer("1")])
        for name, origin in (("call-1~b", "recorded"), ("call-1~replay-1", "replay")):
            store.branch("call-1", at=0).save(name)
            store.append(name, [answer("2")], metadata={"origin": origin})
        store.append("call-1~b", [AgentConfigured(agent="b")], metadata={"origin": "recorded"})
        store.append("call-1~b", [answer("4", model="m-2")], metadata={"origin": "recorded"})
        rows = caught_up(store)["costs"]
    assert [(row["agent"], row["model"], row["cost"]) for row in rows] == [
        ("a", "m", Decimal(3)),
        ("b", "m-2", Decimal(4)),
    ]


def test_a_branch_is_of_the_agent_at_its_fork() -> None:
    """Not of one that its stream got later; a branch of a branch, too."""
    with refold.open("memory:", clock=lambda: 1_772_355_600_000_000) as store:
        store.append("call-1", [AgentConfigured(agent="a", model="m")])
        store.append("call-1", [UserUtterance("hi"), AgentConfigured(agent="b", model="n")])
        for left, at, name in (("call-1", 1, "call-1~b"), ("call-1~b", 2, "call-1~c")):
            store.branch(left, at=at).save(name)
            store.append(name, [answer("1")], metadata={"origin": "recorded"})
        rows = caught_up(store)["costs"]
    assert [(row["agent"], row["model"], row["cost"]) for row in rows] == [("a", "m", Decimal(2))]


def test_events_without_a_price_are_no_answers() -> None:
    """Only `model.response` costs."""
    assert after(Event("model.failed", {"error": "429"}), AgentConfigured())["costs"] == []
