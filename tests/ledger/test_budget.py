"""A budget that several agents share holds for all of them together, whoever comes first."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

import refold
from refold.ledger import Portfolio, SharedBudget, bets_per_hour, loss_up_to
from refold.ledger.commands import Deposit, PlaceBet, Register, SettleBet, Withdraw
from refold.ledger.events import FundsDeposited
from tests.ledger.bettors import AGENTS, BUDGET, STAKE, bet_under_budget, run_under_budget
from tests.ledger.money import usdc
from tests.support.stores import KINDS, url_of

WAIT_S = 120
PLACEABLE = 14
"""Stakes of 0.7 that a budget of 10 has room for."""


def funded(store: refold.Store, *, first: str = "100") -> None:
    """Every agent has money under the budget, the first so much."""
    for agent in AGENTS:
        amount = first if agent == AGENTS[0] else "100"
        BUDGET.execute(store, agent, Deposit(**usdc(amount)))


def check_budget(store: refold.Store, outcomes: Counter[str]) -> None:
    """At every position the losses and open stakes of all are within the budget."""
    state = BUDGET.fold.initial()
    for recorded in store.read_all(matching=BUDGET.query):
        state = BUDGET.fold.step(state, recorded)
        assert state.spent("USDC") <= 10, recorded.id
        for each in state.wallets.values():
            assert min(each.of("USDC").available, each.of("USDC").staked) >= 0
    assert outcomes["done"] == PLACEABLE
    assert state.spent("USDC") == PLACEABLE * STAKE
    placed = store.read_all(types=["bet.placed"])
    assert sum(e.event.amount for e in placed) == PLACEABLE * STAKE
    for agent in AGENTS:
        assert store.fold(agent, Portfolio).state.of("USDC") == state.wallets[agent].of("USDC")


def test_the_agents_are_limited_together() -> None:
    """What one has staked, another cannot; what one wins, another may stake."""
    with refold.open("memory:") as store:
        funded(store)
        BUDGET.execute(store, "agent-1", PlaceBet(bet="b1", **usdc("8")))
        with pytest.raises(refold.Rejected) as caught:
            BUDGET.execute(store, "agent-2", PlaceBet(bet="b1", **usdc("2.01")))
        rejected = caught.value
        assert (rejected.reason, rejected.used, rejected.needed, rejected.most) == (
            "budget_exceeded",
            Decimal(8),
            Decimal("2.01"),
            Decimal(10),
        )
        settle = SettleBet(bet="b1", outcome="won", payout=Decimal(5))
        BUDGET.execute(store, "agent-1", settle)
        placed = BUDGET.execute(store, "agent-2", PlaceBet(bet="b1", **usdc("2.01")))
        assert placed is not None
        assert placed.ids == ["agent-2@1"]
        assert store.event("agent-2@1").metadata["tags"] == ["budget:desk"]


def test_each_agent_has_its_own_money_and_bets() -> None:
    """A shared budget is no shared purse, nor are the ids of bets shared."""
    with refold.open("memory:") as store:
        funded(store, first="1")
        for command, reason in [
            (PlaceBet(bet="b1", **usdc("1.01")), "insufficient_funds"),
            (SettleBet(bet="b2", outcome="lost"), "bet_not_open"),
            (Withdraw(**usdc("2")), "insufficient_funds"),
        ]:
            with pytest.raises(refold.Rejected) as caught:
                BUDGET.execute(store, "agent-1", command)
            assert caught.value.reason == reason
        BUDGET.execute(store, "agent-2", PlaceBet(bet="b1", **usdc("1.01")))
        BUDGET.execute(store, "agent-1", PlaceBet(bet="b1", **usdc("1")))
        BUDGET.execute(store, "agent-1", Register(agent="a1"))
        assert BUDGET.execute(store, "agent-1", Register(agent="a1")) is None


def test_a_rate_is_of_all_agents() -> None:
    """Two bets an hour are two bets of all together."""
    desk = SharedBudget("budget:two", bets_per_hour(2), loss_up_to(Decimal(100), "USDC"))
    with refold.open("memory:") as store:
        for agent in AGENTS:
            store.append(agent, [FundsDeposited(**usdc("10"))], tags=[desk.tag])
        for agent, at in (("agent-1", "10:00"), ("agent-2", "10:30"), ("agent-3", "11:00")):
            bet = PlaceBet(bet="b", **usdc("1"), at=f"2026-03-01T{at}:00Z")
            desk.execute(store, agent, bet)
        with pytest.raises(refold.Rejected) as caught:
            late = PlaceBet(bet="b", **usdc("1"), at="2026-03-01T11:29:59Z")
            desk.execute(store, "agent-4", late)
        assert (caught.value.reason, caught.value.free_at) == (
            "bet_limit",
            "2026-03-01T11:30:00Z",
        )


@pytest.mark.parametrize("where", KINDS)
def test_threads_race_for_a_budget(where: str, tmp_path: Path) -> None:
    """Sixteen threads over four agents: as many bets as the budget has room for, and no more."""
    with refold.open(url_of(where, tmp_path)) as store:
        funded(store)
        with ThreadPoolExecutor(16) as pool:
            each = [
                pool.submit(bet_under_budget, store, f"t{n}", AGENTS[n % 4], bets=3)
                for n in range(16)
            ]
        outcomes = sum((future.result() for future in each), Counter[str]())
        assert outcomes == {"done": PLACEABLE, "budget_exceeded": 48 - PLACEABLE}
        check_budget(store, outcomes)


@pytest.mark.parametrize("where", KINDS[1:])
def test_processes_race_for_a_budget(where: str, tmp_path: Path) -> None:
    """The same over four processes with a thread for each agent, on one log."""
    path = url_of(where, tmp_path)
    with refold.open(path) as store:
        funded(store)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=run_under_budget, args=(path, worker, barrier, answers))
        for worker in range(4)
    ]
    for process in processes:
        process.start()
    reports = [answers.get(timeout=WAIT_S)[1] for _ in processes]
    for process in processes:
        process.join(WAIT_S)
        assert process.exitcode == 0
    assert [report for report in reports if isinstance(report, str)] == []
    outcomes: Counter[str] = sum((Counter(report) for report in reports), Counter())
    assert outcomes == {"done": PLACEABLE, "budget_exceeded": 64 - PLACEABLE}
    with refold.open(path, mode="read") as store:
        check_budget(store, outcomes)
