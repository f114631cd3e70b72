"""What an agent may ask of its wallet: one class a command.

Each may say when it happens, ``at``: an aware datetime, RFC 3339 text, a date or microseconds. The
event then has that time; without one, it has the time at which the log records it.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from refold.core.clock import Instant
from refold.ledger.bets import Outcome
from refold.ledger.events import Receiver


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the commands; ``reference`` is the id of the outside transaction, if any."""

    at: Instant | None = None
    reference: str | None = None


class Moving(Command, frozen=True, kw_only=True):
    """Base of the commands that move an amount."""

    amount: Decimal
    asset: str


class Register(Command, frozen=True, kw_only=True):
    """Open an account; again under the same id is nothing to do."""

    agent: str
    service: str | None = None


class Deposit(Moving, frozen=True, kw_only=True):
    """Take money in."""


class Withdraw(Moving, frozen=True, kw_only=True):
    """Pay money out."""


class ClaimFaucet(Moving, frozen=True, kw_only=True):
    """Take the service's gift."""


class ChargeFee(Moving, frozen=True, kw_only=True):
    """Pay a fee."""

    reason: str | None = None


class PlaceBet(Moving, frozen=True, kw_only=True):
    """Put a stake on a new bet; ``bet`` is its id."""

    bet: str
    game: str | None = None


class SettleBet(Command, frozen=True, kw_only=True):
    """Close an open bet; ``payout`` is all that it paid, in the asset of its stake unless named."""

    bet: str
    outcome: Outcome
    payout: Decimal | None = None
    asset: str | None = None


class LockEscrow(Moving, frozen=True, kw_only=True):
    """Set money aside under an agreement."""

    escrow: str


class ReleaseEscrow(Moving, frozen=True, kw_only=True):
    """Let money out of an escrow, to its owner or to the counterparty."""

    escrow: str
    to: Receiver = "owner"
