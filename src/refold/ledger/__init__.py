"""Money that an agent moves: events, folds, and decisions that never overdraw.

::

    from refold.ledger import Balances
    from refold.ledger.events import FundsDeposited

    store.append("agent-1", [FundsDeposited(amount=Decimal("10"), asset="USDC")])
    store.fold("agent-1", Balances).state.of("USDC").available

What happens to money is a class of ``refold.ledger.events``, what a wallet is asked for one of
``refold.ledger.commands``.
"""

from refold.ledger import commands, events
from refold.ledger.folds import Account, Balances, Portfolio, ProfitAndLoss
from refold.ledger.hindsight import balances_at, impossible, local_day, profit_and_loss, what_if
from refold.ledger.limits import (
    Limit,
    bets_per,
    bets_per_hour,
    loss_up_to,
    stake_per,
    stake_per_day,
    stake_per_hour,
)
from refold.ledger.wallet import SharedBudget, WalletState, wallet, wallet_with

__all__ = [
    "Account",
    "Balances",
    "Limit",
    "Portfolio",
    "ProfitAndLoss",
    "SharedBudget",
    "WalletState",
    "balances_at",
    "bets_per",
    "bets_per_hour",
    "commands",
    "events",
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
