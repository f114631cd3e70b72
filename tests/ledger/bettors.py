"""Many who bet with one agent's money at once, in threads or in processes of their own."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, Final

import refold
from refold.errors import Conflict
from refold.ledger import Portfolio, SharedBudget, loss_up_to, wallet
from refold.ledger.commands import PlaceBet, SettleBet, WalletCommand
from refold.ledger.events import BetPlaced, FundsDeposited

AGENT: Final = "agent-1"
AGENTS: Final = ("agent-1", "agent-2", "agent-3", "agent-4")
BUDGET: Final = SharedBudget("budget:desk", loss_up_to(Decimal(10), "USDC"))
STAKE: Final = Decimal("0.7")
PAYOUT: Final = Decimal("1.1")
TRIES_MAX: Final = 100


def tried(store: refold.Store, stream: str, command: WalletCommand) -> str:
    """What came of a command: ``done``, or the reason why not. Conflicts are tried again."""
    for _ in range(TRIES_MAX):
        try:
            store.execute(stream, wallet, command)
        except Conflict:
            continue
        except refold.Rejected as rejected:
            return str(rejected.reason)
        return "done"
    raise AssertionError(f"{command} lost {TRIES_MAX} times ten races")


def bet_for_all_it_is_worth(store: refold.Store, bettor: str, *, bets: int) -> Counter[str]:
    """Bet and settle, over and over: each third bet wins; gives how often what came of it."""
    outcomes: Counter[str] = Counter()
    for number in range(bets):
        bet = f"{bettor}-{number}"
        outcome = tried(store, AGENT, PlaceBet(bet=bet, amount=STAKE, asset="USDC"))
        outcomes[outcome] += 1
        if outcome == "done":
            won = number % 3 == 2
            settle = SettleBet(
                bet=bet, outcome="won" if won else "lost", payout=PAYOUT if won else None
            )
            outcomes["won" if won else "lost"] += 1
            assert tried(store, AGENT, settle) == "done"
    return outcomes


def bet_in_threads(store: refold.Store, name: str, *, bettors: int, bets: int) -> Counter[str]:
    """So many bettors at once; what came of all of them."""
    with ThreadPoolExecutor(bettors) as pool:
        each = [
            pool.submit(bet_for_all_it_is_worth, store, f"{name}-{bettor}", bets=bets)
            for bettor in range(bettors)
        ]
    return sum((future.result() for future in each), Counter())


def run_bettors(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """A process that opens the log when all the others do, and bets; sends what came of it."""
    barrier.wait(60)
    try:
        with refold.open(path, synchronous="NORMAL") as store:
            outcomes = bet_in_threads(store, f"w{worker}", bettors=4, bets=6)
        answers.put((worker, dict(outcomes)))
    except Exception as error:
        answers.put((worker, repr(error)))


def bet_under_budget(store: refold.Store, bettor: str, agent: str, *, bets: int) -> Counter[str]:
    """Bet with one agent's money under the shared budget; all is lost."""
    outcomes: Counter[str] = Counter()
    for number in range(bets):
        bet = f"{bettor}-{number}"
        placed = under_budget(store, agent, PlaceBet(bet=bet, amount=STAKE, asset="USDC"))
        outcomes[placed] += 1
        if placed == "done":
            settle = SettleBet(bet=bet, outcome="lost")
            assert under_budget(store, agent, settle) == "done"
    return outcomes


def under_budget(store: refold.Store, agent: str, command: WalletCommand) -> str:
    """What came of a command under the budget; it is repeated once, under its id."""
    name = f"{type(command).__name__} {getattr(command, 'bet', '')}"
    for _ in range(TRIES_MAX):
        try:
            first = BUDGET.execute(store, agent, command, command_id=name)
            again = BUDGET.execute(store, agent, command, command_id=name)
        except Conflict:
            continue
        except refold.Rejected as rejected:
            return str(rejected.reason)
        assert first is not None
        assert again is not None
        assert (again.ids, again.duplicate) == (first.ids, True)
        return "done"
    raise AssertionError(f"{command} lost {TRIES_MAX} times ten races")


def run_under_budget(path: str, worker: int, barrier: Any, answers: Any) -> None:
    """A process with four threads, one for each agent; sends what came of it."""
    barrier.wait(60)
    try:
        with refold.open(path, synchronous="NORMAL") as store, ThreadPoolExecutor(4) as pool:
            each = [
                pool.submit(bet_under_budget, store, f"w{worker}-{agent}", agent, bets=4)
                for agent in AGENTS
            ]
            outcomes = sum((future.result() for future in each), Counter[str]())
        answers.put((worker, dict(outcomes)))
    except Exception as error:
        answers.put((worker, repr(error)))


def check_never_overdrawn(store: refold.Store, outcomes: Counter[str]) -> None:
    """At every version nothing is under zero; the sums are those of what the bettors were told."""
    state, counts = Portfolio.initial(), Counter[str]()
    for recorded in store.read(AGENT):
        state = Portfolio.step(state, recorded)
        account = state.of("USDC")
        assert min(account.available, account.staked) >= 0, recorded.id
        counts[recorded.type] += 1
    assert counts["bet.placed"] == outcomes["done"]
    assert (counts["bet.won"], counts["bet.lost"]) == (outcomes["won"], outcomes["lost"])
    placed = [e.event for e in store.read(AGENT) if e.type == "bet.placed"]
    assert len({event.bet for event in placed}) == len(placed)
    assert state == store.fold(AGENT, Portfolio).state
    account = state.of("USDC")
    deposited = sum(
        (e.event.amount for e in store.read(AGENT) if isinstance(e.event, FundsDeposited)),
        Decimal(0),
    )
    staked = sum((e.amount for e in placed if isinstance(e, BetPlaced)), Decimal(0))
    assert account.available == deposited - staked + PAYOUT * counts["bet.won"]
    assert account.staked == STAKE * (counts["bet.placed"] - counts["bet.won"] - counts["bet.lost"])
