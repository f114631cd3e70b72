"""Through an outage: everyone waits, one probes, and the run goes on where the service is back."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

import refold
from refold.breaker import NEVER_ANSWERED_MAX_S, CircuitBreaker
from refold.conversation.events import Usage
from refold.errors import Unavailable, UsageError
from refold.pacing import RateLimiter
from refold.replay import Action, ChatRequest, ModelFailure, Price, Variant, replay
from refold.replay.budget import Budget, BudgetSpent
from refold.replay.candidate import FailureKind
from refold.replay.requests import Asker, Outcome
from tests.replay.stories import VARIANT, as_recorded, record, run
from tests.replay.test_requests import StillPace

REQUEST = ChatRequest(messages=[{"role": "user", "content": "x" * 2_000}], model="m")


class Moving(StillPace):
    """A clock that moves as far as the one who waits longest least."""

    async def sleep(self, seconds: float) -> None:
        until_s = self.at_s + seconds
        while self.at_s < until_s:
            await asyncio.sleep(0)
            self.at_s += min(0.25, until_s - self.at_s)


class Service:
    """Away from a second on, for so long; notes when it was asked."""

    def __init__(self, pace: StillPace, away_s: tuple[float, float]) -> None:
        self.pace, self.away_s = pace, away_s
        self.asked_s: list[float] = []
        self.status: int | None = 503

    async def __call__(self, request: ChatRequest) -> Action:
        now_s = self.pace.at_s - 100.0
        self.asked_s.append(now_s)
        if self.away_s[0] <= now_s < self.away_s[1]:
            raise ModelFailure("overloaded", kind="busy", status=self.status)
        return Action(text="ok")


def asked(
    service: Service, *, many: int = 8, first: bool = True, outage_max_s: float = 600.0
) -> list[Outcome]:
    """The outcomes of many decisions at once, one before them."""

    async def all_of_them() -> list[Outcome]:
        asker = Asker(service, limiter=RateLimiter(), pace=service.pace, outage_max_s=outage_max_s)
        if first:
            await asker.ask(REQUEST)
            service.pace.at_s = 100.0 + service.away_s[0]
        return await asyncio.gather(*(asker.ask(REQUEST) for _ in range(many)))

    return asyncio.run(all_of_them())


def test_an_outage_of_minutes_costs_no_decision_its_answer() -> None:
    """Nobody gives up, and few ask while it is on."""
    service = Service(Moving(), (1.0, 240.0))
    outcomes = asked(service)
    assert [outcome.action is not None for outcome in outcomes] == [True] * 8
    meanwhile = [at_s for at_s in service.asked_s if 20.0 < at_s < 240.0]
    assert len(meanwhile) < 40


def test_an_outage_has_a_bound() -> None:
    """The user's own, from the first failure on; the run ends and says how to go on."""
    service = Service(Moving(), (1.0, 1e9))
    with pytest.raises(Unavailable, match="starting it again"):
        asked(service, outage_max_s=120.0)
    assert 121.0 < service.asked_s[-1] < 160.0


def test_a_service_that_never_answered_is_waited_for_less() -> None:
    """It is more likely an account without a quota."""
    service = Service(Moving(), (0.0, 1e9))
    with pytest.raises(Unavailable):
        asked(service, first=False)
    assert service.asked_s[-1] < NEVER_ANSWERED_MAX_S + 30.0


def test_one_decision_that_fails_is_no_outage() -> None:
    """It has its tries, and no more."""
    service = Service(Moving(), (1.0, 1e9))
    (outcome,) = asked(service, many=1)
    assert (outcome.action, outcome.attempts) == (None, 5)


def test_who_waited_goes_one_after_another() -> None:
    """Not all at once, which would be the next outage."""
    limiter = RateLimiter(stagger_s=0.5)
    limiter.hold(5.0)
    assert [limiter.reserve(1.0) for _ in range(6)] == [5.0, 5.5, 6.0, 6.5, 7.0, 7.0]
    assert (limiter.is_held(4.9), limiter.is_held(5.0)) == (True, False)


def test_what_the_service_failed_is_asked_again_when_it_is_back(store: refold.Store) -> None:
    """By few workers an outage is seen late: what they gave up is not left as failed."""
    streams = [record(store, f"call-{n}") for n in range(3)]
    times: list[str] = []

    def away_at_first(request: ChatRequest) -> Action:
        times.append(request.at)
        if request.at == "call-0@2" and times.count("call-0@2") <= 2:
            raise ModelFailure("away", kind="busy", status=503, retry_after_s=0.0)
        return as_recorded(request)

    said = run(store, away_at_first, *streams, workers=1, attempts_max=2)
    assert (said.answered, said.failed, said.requests) == (6, 0, 8)


@pytest.fixture
def store() -> refold.Store:
    return refold.open("memory:")


# -- money and tokens ------------------------------------------------------------------------------

PRICES = {"m": Price(input=Decimal(100), output=Decimal(1_000))}


def used(request: ChatRequest) -> Action:
    """An answer that says what it took: two tokens a byte, and 20 for what it says."""
    size = len(msgspec.json.encode(request.body()))
    return Action(text="ok", usage=Usage(input_tokens=2 * size, output_tokens=20), model="m")


@pytest.mark.parametrize("workers", [1, 8])
def test_a_budget_is_never_overspent_by_what_is_under_way(
    store: refold.Store, workers: int
) -> None:
    """Each request is held at the most that it may take; the run ends and says so."""
    streams = [record(store, f"call-{n}") for n in range(20)]
    variant = Variant(model="m", params={"max_tokens": 20})
    options: dict[str, Any] = {"workers": workers, "prices": PRICES, "max_cost": "1.00"}
    said = replay(store, streams, variant, used, **options)
    assert said.cost is not None
    assert Decimal("0.70") <= said.cost <= Decimal(1)
    assert said.failed == 0
    assert said.stopped.startswith("the budget is spent: of 1.00 US dollars")
    assert said.answered < said.decisions == 40
    again = replay(store, streams, variant, used, workers=workers, prices=PRICES)
    assert (again.kept, again.answered, again.stopped) == (said.answered, 40 - said.answered, "")


def test_tokens_have_a_budget_too(store: refold.Store) -> None:
    """Both ways, without any price."""
    streams = [record(store, f"call-{n}") for n in range(20)]
    variant = Variant(model="m", params={"max_tokens": 20})
    said = replay(store, streams, variant, used, max_tokens=10_000)
    assert said.usage is not None
    assert 8_000 <= said.usage.input_tokens + said.usage.output_tokens <= 10_000


def test_money_that_nobody_can_count_is_not_spent_on(store: refold.Store) -> None:
    """Without a price and without the provider's word a bound cannot be kept."""
    record(store, "call-1")
    with pytest.raises(UsageError, match="--price"):
        replay(store, ["call-1"], Variant(model="x"), used, max_cost=1, workers=1)


def test_a_request_that_may_have_been_charged_counts_as_what_was_held() -> None:
    """A time-out gave no answer, and may be on the bill; what was turned away is not."""

    async def spent() -> list[Decimal]:
        budget = Budget(max_cost=Decimal(10), prices=PRICES)
        found, held = [], await budget.hold(REQUEST)
        budget.settle(held, None, is_free=True)
        for is_free in (True, False):
            held = await budget.hold(REQUEST)
            budget.settle(held, None, is_free=is_free)
            found.append(budget.spent.cost)
        assert found[1] == held.cost > 0
        with pytest.raises(BudgetSpent):
            budget.max_cost = held.cost
            await budget.hold(REQUEST)
        return found

    assert asyncio.run(spent())[0] == 0


def test_lost_tries_are_part_of_what_an_answer_cost(store: refold.Store) -> None:
    """Stored with it: how many, how long in all; unknown where one may have been charged."""
    record(store, "call-1")
    asked = []

    def late(request: ChatRequest) -> Action:
        asked.append(request.at)
        if len(asked) == 1:
            raise ModelFailure("slow", kind="timeout")
        return used(request)

    said = run(store, late, workers=1, prices=PRICES)
    assert (said.answered, said.requests, said.cost_known) == (2, 3, 1)
    stored = [e.data for e in store.read(f"call-1~replay-{VARIANT.id}-0")]
    responses = [data for data in stored if "latency_ms" in data]
    assert responses[-2]["attempts"] == 2
    assert responses[-2]["lost_unknown"] == 1
    assert responses[-2]["wait_ms"] >= responses[-2]["latency_ms"]
    assert "attempts" not in responses[-1]


# -- what the first answer does not tell -----------------------------------------------------------


def spent_on(budget: Budget, usages: list[Usage | None]) -> tuple[int, int]:
    """The tokens spent, and how many were under way at most; a request to each usage, at once."""
    under_way, most, left = 0, 0, iter(usages)

    async def candidate(request: ChatRequest) -> Action:
        nonlocal under_way, most
        under_way, usage = under_way + 1, next(left)
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return Action(text="ok", usage=usage)

    async def every() -> None:
        asker = Asker(candidate, limiter=RateLimiter(), budget=budget)
        await asyncio.gather(*(asker.ask(REQUEST) for _ in usages), return_exceptions=True)

    asyncio.run(every())
    return budget.spent.tokens, most


def test_a_budget_does_not_go_by_the_first_answer() -> None:
    """One that is short, to a request of few tokens, says nothing of those that come with it."""
    first, others = Usage(input_tokens=20, output_tokens=5), Usage(1_000, 900)
    tokens, most = spent_on(Budget(max_tokens=30_000), [first, *[others] * 100])
    assert 25_000 < tokens <= 30_000
    assert 10 < most < 20


def test_a_service_that_tells_no_usage_is_asked_by_all_workers() -> None:
    """After the first answer nobody waits to be told how many tokens a byte is."""
    assert spent_on(Budget(max_tokens=10**9), [None] * 32)[1] == 31


def test_a_longer_pause_than_a_run_waits_ends_it_at_once() -> None:
    """A day of Retry-After is not slept through, to end the run after it."""
    pace = Moving()

    async def over(request: ChatRequest) -> Action:
        raise ModelFailure("slow down", kind="busy", status=429, retry_after_s=86_400.0)

    async def all_of_them() -> None:
        asker = Asker(over, limiter=RateLimiter(), pace=pace)
        await asyncio.gather(*(asker.ask(REQUEST) for _ in range(4)))

    with pytest.raises(Unavailable, match="asks for a pause of 86400 s"):
        asyncio.run(all_of_them())
    assert pace.at_s < 110.0


def test_dropped_connections_are_an_outage_too() -> None:
    """A service that goes down drops what is under way; that is not to be there again."""
    service = Service(Moving(), (1.0, 120.0))
    service.status = None
    assert all(outcome.action is not None for outcome in asked(service))


def test_a_probe_that_runs_out_of_time_does_not_end_an_outage() -> None:
    """Nothing came of it, so all the others go on waiting; nor does it begin one."""
    breaker = CircuitBreaker("it", Moving(), has_answered=True)
    late = ModelFailure("late", kind="timeout")
    assert not any(breaker.failed(late, number) for number in range(10))
    away = ModelFailure("away", kind="busy", status=503)
    assert [breaker.failed(away, number) for number in range(3)] == [False, False, True]
    assert breaker.failed(late, 3)
    assert breaker.since_s is not None
    assert not breaker.failed(ModelFailure("no", kind="refused", status=400), 4)
    assert breaker.since_s is None


@pytest.mark.parametrize(
    ("kind", "status", "is_free"),
    [
        *(("busy", 429, True), ("refused", 400, True), ("busy", 503, True), ("busy", 529, True)),
        *(("unreachable", None, True), ("busy", 500, False), ("busy", 504, False)),
        *(("busy", 408, False), ("busy", None, False), ("error", None, False)),
        *(("timeout", None, False), ("garbage", None, False)),
    ],
)
def test_what_may_have_been_charged_is_not_free(
    kind: FailureKind, status: int | None, is_free: bool
) -> None:
    """Only what was turned away, or never came there, surely cost nothing."""
    assert ModelFailure("no", kind=kind, status=status).is_free is is_free
