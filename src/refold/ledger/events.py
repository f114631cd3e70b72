"""What happens to an agent's money: one class an event type.

Amounts are `Decimal`, over 0, at most 40 digits before the point and 40 after it; an event says
which way the money goes. `asset` names what is moved (`USDC`); sums are never made across assets.
`reference` is the id of the transaction in the service outside that did it, where there is one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from refold.core.registry import event
from refold.ledger.money import is_asset, why_not_money

Receiver = Literal["owner", "counterparty"]
"""Who gets what is released from escrow."""


class Happened(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything here: immutable, fields by name, defaults are not stored."""

    reference: str | None = None


class Moved(Happened, frozen=True, kw_only=True):
    """Base of what moves an amount; raises ValueError for what is no amount or no asset."""

    amount: Decimal
    asset: str

    def __post_init__(self) -> None:
        reason = why_not_money(self.amount)
        if reason is not None:
            raise ValueError(f"amount {self.amount!r} is {reason.replace('_', ' ')}")
        if not is_asset(self.asset):
            raise ValueError(f"{self.asset!r} does not name an asset")


@event("agent.registered")
class AgentRegistered(Happened, frozen=True, kw_only=True):
    """The agent has an account at a service, under this id."""

    agent: str
    service: str | None = None


@event("funds.deposited")
class FundsDeposited(Moved, frozen=True, kw_only=True):
    """Money came in from outside."""


@event("funds.withdrawn")
class FundsWithdrawn(Moved, frozen=True, kw_only=True):
    """Money went out, to outside."""


@event("faucet.claimed")
class FaucetClaimed(Moved, frozen=True, kw_only=True):
    """The service gave the agent money to play with."""


@event("fee.charged")
class FeeCharged(Moved, frozen=True, kw_only=True):
    """The service took a fee; `reason` says what for."""

    reason: str | None = None


@event("bet.placed")
class BetPlaced(Moved, frozen=True, kw_only=True):
    """A stake was put on a bet, which is open from here on; `bet` is its id, unique in a stream."""

    bet: str
    game: str | None = None


@event("bet.won")
class BetWon(Moved, frozen=True, kw_only=True):
    """A bet paid: `amount` is all that came back, the stake included."""

    bet: str


@event("bet.lost")
class BetLost(Happened, frozen=True, kw_only=True):
    """A bet is settled, and its stake is gone."""

    bet: str


@event("bet.cancelled")
class BetCancelled(Happened, frozen=True, kw_only=True):
    """A bet was called off, and its whole stake came back."""

    bet: str


@event("escrow.locked")
class EscrowLocked(Moved, frozen=True, kw_only=True):
    """Money was set aside under an agreement, `escrow`: the agent's still, but not to be spent."""

    escrow: str


@event("escrow.released")
class EscrowReleased(Moved, frozen=True, kw_only=True):
    """Money left an escrow, all or a part: back to its owner, or to the counterparty for good."""

    escrow: str
    to: Receiver = "owner"


@event("transaction.unrecognized")
class UnrecognizedTransaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service reported a transaction of a type that has no meaning here; sums leave it out.

    `kind` is the type by the service's word, `text` the transaction as it came, JSON to the byte.
    """

    kind: str
    text: str
    reference: str | None = None
