"""The folds: the same entries, seen three ways."""

from __future__ import annotations

from typing import Any, Final

from refold.core.fold import Fold
from refold.ledger.events import AgentRegistered
from refold.ledger.posting import POSTED, post
from refold.ledger.states import (
    Account,
    Balance,
    BalancesState,
    PortfolioState,
    ProfitAndLossState,
    Result,
)

Balances: Final[Fold[BalancesState]] = Fold("ledger-balances", BalancesState)
"""Where the money is: ``store.fold("agent-1", Balances).state.of("USDC").available``."""

ProfitAndLoss: Final[Fold[ProfitAndLossState]] = Fold("ledger-profit", ProfitAndLossState)
"""How the bets went: ``store.fold("agent-1", ProfitAndLoss).state.of("USDC").roi``."""

Portfolio: Final[Fold[PortfolioState]] = Fold("ledger-portfolio", PortfolioState)
"""Everything: ``store.fold("agent-1", Portfolio).state.of("USDC").total``."""


@Balances.on(*POSTED)
def _balances(book: BalancesState, event: Any) -> BalancesState:
    return post(book, event, Balance)


@ProfitAndLoss.on(*POSTED)
def _results(book: ProfitAndLossState, event: Any) -> ProfitAndLossState:
    return post(book, event, Result)


@Portfolio.on(*POSTED)
def _accounts(book: PortfolioState, event: Any) -> PortfolioState:
    return post(book, event, Account)


@Portfolio.on(AgentRegistered)
def _registered(book: PortfolioState, event: AgentRegistered) -> PortfolioState:
    book.agent = event.agent
    return book
