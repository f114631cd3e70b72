"""Money that an agent moves: events, folds, and decisions that never overdraw.

::

    from refold.ledger import Balances, FundsDeposited

    store.append("agent-1", [FundsDeposited(amount=Decimal("10"), asset="USDC")])
    store.fold("agent-1", Balances).state.of("USDC").available
"""

from refold.ledger.bets import Bets, Outcome, Unmatched
from refold.ledger.events import (
    AgentRegistered,
    BetCancelled,
    BetLost,
    BetPlaced,
    BetWon,
    EscrowLocked,
    EscrowReleased,
    FaucetClaimed,
    FeeCharged,
    FundsDeposited,
    FundsWithdrawn,
    UnrecognizedTransaction,
)
from refold.ledger.folds import Balances, Portfolio, ProfitAndLoss
from refold.ledger.states import (
    Account,
    Balance,
    BalancesState,
    PortfolioState,
    ProfitAndLossState,
    Result,
)

__all__ = [
    "Account",
    "AgentRegistered",
    "Balance",
    "Balances",
    "BalancesState",
    "BetCancelled",
    "BetLost",
    "BetPlaced",
    "BetWon",
    "Bets",
    "EscrowLocked",
    "EscrowReleased",
    "FaucetClaimed",
    "FeeCharged",
    "FundsDeposited",
    "FundsWithdrawn",
    "Outcome",
    "Portfolio",
    "PortfolioState",
    "ProfitAndLoss",
    "ProfitAndLossState",
    "Result",
    "Unmatched",
    "UnrecognizedTransaction",
]
