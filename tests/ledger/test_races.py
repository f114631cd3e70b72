"""However many bet at once, nobody bets money that is not there."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

import refold
from refold.errors import Conflict
from refold.ledger import wallet
from refold.ledger.commands import PlaceBet
from refold.ledger.events import AgentRegistered, FundsDeposited
from tests.ledger.bettors import (
    AGENT,
    STAKE,
    TRIES_MAX,
    bet_in_threads,
    check_never_overdrawn,
    run_bettors,
)
from tests.support.stores import KINDS, url_of

WORKERS = 4
WAIT_S = 120


def opened_with(store: refold.Store, amount: str) -> None:
    """The agent has this much in USDC."""
    events = [
        AgentRegistered(agent="a1"),
        FundsDeposited(amount=Decimal(amount), asset="USDC"),
    ]
    store.append(AGENT, events)


@pytest.mark.parametrize("where", KINDS)
def test_sixty_four_bettors_share_an_agent(where: str, tmp_path: Path) -> None:
    """In threads: each bet that was accepted was covered, and the money adds up to the last cent.

    There is money for less than half of what they want to bet, so many are refused, for want of it
    and for no other reason.
    """
    with refold.open(url_of(where, tmp_path)) as store:
        opened_with(store, "30")
        outcomes = bet_in_threads(store, "t", bettors=64, bets=3)
        assert set(outcomes) <= {"done", "insufficient_funds", "won", "lost"}
        assert outcomes["done"] >= 42
        assert outcomes["insufficient_funds"] > 0
        check_never_overdrawn(store, outcomes)


@pytest.mark.parametrize("where", KINDS[1:])
def test_sixty_four_tasks_share_an_agent(where: str, tmp_path: Path) -> None:
    """On one event loop: exactly as many bets as the money is enough for."""
    url = url_of(where, tmp_path)
    with refold.open(url) as store:
        opened_with(store, "30")

    async def bet(store: refold.AsyncStore, number: int) -> str:
        command = PlaceBet(bet=f"b{number}", amount=STAKE, asset="USDC")
        for _ in range(TRIES_MAX):
            try:
                await store.execute(AGENT, wallet, command)
            except Conflict:
                continue
            except refold.Rejected as rejected:
                return str(rejected.reason)
            return "done"
        return "never its turn"

    async def bet_all() -> Counter[str]:
        async with refold.open_async(url) as store:
            return Counter(await asyncio.gather(*(bet(store, number) for number in range(64))))

    assert asyncio.run(bet_all()) == {"done": 42, "insufficient_funds": 22}
    with refold.open(url) as store:
        check_never_overdrawn(store, Counter(done=42))


@pytest.mark.parametrize("where", KINDS[1:])
def test_processes_share_an_agent(where: str, tmp_path: Path) -> None:
    """The same over four processes of four threads each, on one log."""
    path = url_of(where, tmp_path)
    with refold.open(path) as store:
        opened_with(store, "20")
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(WORKERS), context.Queue()
    processes = [
        context.Process(target=run_bettors, args=(path, worker, barrier, answers))
        for worker in range(WORKERS)
    ]
    for process in processes:
        process.start()
    reports = [answers.get(timeout=WAIT_S)[1] for _ in processes]
    for process in processes:
        process.join(WAIT_S)
        assert process.exitcode == 0
    assert [report for report in reports if isinstance(report, str)] == []
    outcomes: Counter[str] = sum((Counter(report) for report in reports), Counter())
    assert set(outcomes) <= {"done", "insufficient_funds", "won", "lost"}
    assert outcomes["insufficient_funds"] > 0
    with refold.open(path, mode="read") as store:
        check_never_overdrawn(store, outcomes)
