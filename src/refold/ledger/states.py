"""What the folds of money give: plain values by asset, each sum exact."""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from refold.ledger.bets import Bets
from refold.ledger.money import ZERO, minus, plus, ratio

A = TypeVar("A", bound=msgspec.Struct)


class Wealth:
    """What an agent has of an asset, wherever it is."""

    __slots__ = ()
    available: Decimal
    escrow: Decimal
    staked: Decimal

    @property
    def total(self) -> Decimal:
        """Available, in escrow and in open bets together."""
        return plus(plus(self.available, self.escrow), self.staked)


class Success:
    """How the bets of an asset went."""

    __slots__ = ()
    won: Decimal
    settled: Decimal
    fees: Decimal
    wins: int
    losses: int

    @property
    def profit(self) -> Decimal:
        """What was won, less the stakes of bets that were won or lost, less fees.

        The stakes of open bets are in neither: they may yet come back.
        """
        return minus(minus(self.won, self.settled), self.fees)

    @property
    def win_rate(self) -> Decimal | None:
        """Bets won by bets won or lost, to 28 digits; None before the first."""
        return ratio(self.wins, self.wins + self.losses)

    @property
    def roi(self) -> Decimal | None:
        """Profit by the stakes of bets that were won or lost, to 28 digits; None before one."""
        return ratio(self.profit, self.settled)


class Balance(msgspec.Struct, Wealth):
    """Where an agent's money of one asset is: to be spent, in escrow, in open bets."""

    available: Decimal = ZERO
    escrow: Decimal = ZERO
    staked: Decimal = ZERO


class Result(msgspec.Struct, Success):
    """What came of the bets in one asset.

    ``wagered``: all stakes; ``settled``: those of bets won or lost; ``refunded``: those of bets
    cancelled; the rest is open. ``won``: all that was paid, also by bets that are not known.
    ``bets``, ``wins``, ``losses`` and ``cancelled`` count bets, each in the asset of its stake.
    """

    wagered: Decimal = ZERO
    won: Decimal = ZERO
    settled: Decimal = ZERO
    refunded: Decimal = ZERO
    fees: Decimal = ZERO
    bets: int = 0
    wins: int = 0
    losses: int = 0
    cancelled: int = 0


class Account(msgspec.Struct, Wealth, Success):
    """Everything about one asset: where it is, where it came from and went, how the bets went.

    ``total`` is always ``deposited + claimed + won - withdrawn - fees - settled - paid``, where
    ``paid`` left an escrow for good.
    """

    available: Decimal = ZERO
    escrow: Decimal = ZERO
    staked: Decimal = ZERO
    deposited: Decimal = ZERO
    withdrawn: Decimal = ZERO
    claimed: Decimal = ZERO
    paid: Decimal = ZERO
    wagered: Decimal = ZERO
    won: Decimal = ZERO
    settled: Decimal = ZERO
    refunded: Decimal = ZERO
    fees: Decimal = ZERO
    bets: int = 0
    wins: int = 0
    losses: int = 0
    cancelled: int = 0


class Book(msgspec.Struct, Generic[A]):
    """Base of the states: something by asset, the bets that are open, and what is odd.

    ``escrows``: what is locked, by escrow and asset. ``unrecognized``: transactions that no sum
    takes in, counted by the service's type.
    """

    assets: dict[str, A] = {}
    bets: Bets = msgspec.field(default_factory=Bets)
    escrows: dict[str, dict[str, Decimal]] = {}
    unrecognized: dict[str, int] = {}


class BalancesState(Book[Balance]):
    """Balances by asset."""

    def of(self, asset: str) -> Balance:
        """The balance of an asset: zeros where there never was any."""
        return self.assets.get(asset, Balance())


class ProfitAndLossState(Book[Result]):
    """Results by asset."""

    def of(self, asset: str) -> Result:
        """The result in an asset: zeros where there never was any."""
        return self.assets.get(asset, Result())


class PortfolioState(Book[Account]):
    """Accounts by asset; ``agent`` is the id the agent was registered under."""

    agent: str | None = None

    def of(self, asset: str) -> Account:
        """The account of an asset: zeros where there never was any."""
        return self.assets.get(asset, Account())
