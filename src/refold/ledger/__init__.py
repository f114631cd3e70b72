"""Money that an agent moves: events, folds, and decisions that never overdraw.

::

    from refold.ledger import Balances, FundsDeposited

    store.append("agent-1", [FundsDeposited(amount=Decimal("10"), asset="USDC")])
    store.fold("agent-1", Balances).state.of("USDC").available
"""

from refold.ledger.bets import (
    Bets,
    Outcome,
    Unmatched,
)
from refold.ledger.budget import SharedBudget, SharedState
from refold.ledger.commands import (
    ChargeFee,
    ClaimFaucet,
    Command,
    Deposit,
    LockEscrow,
    PlaceBet,
    Register,
    ReleaseEscrow,
    SettleBet,
    Withdraw,
)
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
from refold.ledger.folds import (
    Balances,
    Portfolio,
    ProfitAndLoss,
)
from refold.ledger.hypothetical import (
    Impossible,
    WhatIf,
    impossible,
    what_if,
)
from refold.ledger.limits import (
    Limit,
    bets_per,
    bets_per_hour,
    loss_up_to,
    stake_per,
    stake_per_day,
    stake_per_hour,
)
from refold.ledger.moments import (
    balances_at,
    local_day,
    profit_and_loss,
)
from refold.ledger.states import (
    Account,
    Balance,
    BalancesState,
    PortfolioState,
    ProfitAndLossState,
    Result,
)
from refold.ledger.wallet import (
    WalletState,
    wallet,
    wallet_with,
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
    "ChargeFee",
    "ClaimFaucet",
    "Command",
    "Deposit",
    "EscrowLocked",
    "EscrowReleased",
    "FaucetClaimed",
    "FeeCharged",
    "FundsDeposited",
    "FundsWithdrawn",
    "Impossible",
    "Limit",
    "LockEscrow",
    "Outcome",
    "PlaceBet",
    "Portfolio",
    "PortfolioState",
    "ProfitAndLoss",
    "ProfitAndLossState",
    "Register",
    "ReleaseEscrow",
    "Result",
    "SettleBet",
    "SharedBudget",
    "SharedState",
    "Unmatched",
    "UnrecognizedTransaction",
    "WalletState",
    "WhatIf",
    "Withdraw",
    "balances_at",
    "bets_per",
    "bets_per_hour",
    "impossible",
    "local_day",
    "loss_up_to",
    "profit_and_loss",
    "stake_per",
    "stake_per_day",
    "stake_per_hour",
    "wallet",
    "wallet_with",
    "what_if",
]
