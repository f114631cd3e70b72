"""What an agent may ask of its wallet: one class a command.

Each may say when it happens, ``at``: an aware datetime, RFC 3339 text, a date or microseconds. The
event then has that time; without one, it has the time at which the log records it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from refold.core.clock import Instant
from refold.ledger import events
from refold.ledger.folds import Outcome


class WalletCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the commands; ``reference`` is the id of the outside transaction, if any."""

    at: Instant | None = None
    reference: str | None = None


class Moving(WalletCommand, frozen=True, kw_only=True):
    """Base of the commands that move an amount."""

    amount: Decimal
    asset: str


class Spending(Moving, frozen=True, kw_only=True):
    """Base of those that take it from what is available."""


class Register(WalletCommand, frozen=True, kw_only=True):
    """Open an account; again under the same id is nothing to do."""

    agent: str
    service: str | None = None


class Deposit(Moving, frozen=True, kw_only=True):
    """Take money in."""


class Withdraw(Spending, frozen=True, kw_only=True):
    """Pay money out."""


class ClaimFaucet(Moving, frozen=True, kw_only=True):
    """Take the service's gift."""


class ChargeFee(Spending, frozen=True, kw_only=True):
    """Pay a fee."""

    reason: str | None = None


class PlaceBet(Spending, frozen=True, kw_only=True):
    """Put a stake on a new bet; ``bet`` is its id."""

    bet: str
    game: str | None = None


class SettleBet(WalletCommand, frozen=True, kw_only=True):
    """Close an open bet; ``payout`` is all that it paid, in the asset of its stake unless named."""

    bet: str
    outcome: Outcome
    payout: Decimal | None = None
    asset: str | None = None


class LockEscrow(Spending, frozen=True, kw_only=True):
    """Set money aside under an agreement."""

    escrow: str


class ReleaseEscrow(Moving, frozen=True, kw_only=True):
    """Let money out of an escrow, to its owner or to the counterparty."""

    escrow: str
    to: events.Receiver = "owner"


ANSWERED: Final[dict[type[events.Happened], type[WalletCommand]]] = {
    events.AgentRegistered: Register,
    events.FundsDeposited: Deposit,
    events.FundsWithdrawn: Withdraw,
    events.FaucetClaimed: ClaimFaucet,
    events.FeeCharged: ChargeFee,
    events.BetPlaced: PlaceBet,
    events.BetWon: SettleBet,
    events.BetLost: SettleBet,
    events.BetCancelled: SettleBet,
    events.EscrowLocked: LockEscrow,
    events.EscrowReleased: ReleaseEscrow,
}
"""The command that each event is the answer to; but for bets settled, they have the same fields."""
