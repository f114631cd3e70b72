"""What the folds of money give: plain values by asset, each sum exact, and the bets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from refold.ledger.money import ZERO, minus, plus, ratio

A = TypeVar("A", bound=msgspec.Struct)
Outcome = Literal["won", "lost", "cancelled"]
Stake = dict[str, Decimal]
"""What stands on a bet, by asset."""


class Unmatched(msgspec.Struct):
    """A bet that was settled without having been placed: its last outcome, and what it paid."""

    outcome: Outcome
    paid: dict[str, Decimal] = {}
    references: list[str] = []


class Bets(msgspec.Struct):
    """``open``: the stakes of open bets, by bet. ``unmatched``: settlements without an open bet.

    A settled bet is forgotten, so the size of this is that of what is open or odd. A settlement
    waits as unmatched until its bet comes, and is then as if it had come after it.
    """

    open: dict[str, Stake] = {}
    unmatched: dict[str, Unmatched] = {}

    def placed(self, bet: str, asset: str, amount: Decimal) -> Outcome | None:
        """Take a stake; gives the outcome where that is known already, and the bet is then over.

        A second stake on an open bet adds to it.
        """
        if (early := self.unmatched.pop(bet, None)) is not None:
            return early.outcome
        stake = self.open.setdefault(bet, {})
        stake[asset] = plus(stake.get(asset, ZERO), amount)
        return None

    def settled(
        self, bet: str, outcome: Outcome, reference: str | None, paid: Stake
    ) -> Stake | None:
        """Close a bet and give its stake; None where it is not open: it then waits as unmatched."""
        stake = self.open.pop(bet, None)
        if stake is None:
            early = self.unmatched.setdefault(bet, Unmatched(outcome))
            early.outcome = outcome
            early.references += [] if reference is None else [reference]
            for asset, amount in paid.items():
                early.paid[asset] = plus(early.paid.get(asset, ZERO), amount)
        return stake


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


class Balance(msgspec.Struct):
    """Where an agent's money of one asset is: to be spent, in escrow, in open bets."""

    available: Decimal = ZERO
    escrow: Decimal = ZERO
    staked: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """Available, in escrow and in open bets together."""
        return plus(plus(self.available, self.escrow), self.staked)


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


class Account(Balance, Success):
    """Everything about one asset: where it is, where it came from and went, how the bets went.

    ``total`` is always ``deposited + claimed + won - withdrawn - fees - settled - paid``, where
    ``paid`` left an escrow for good.
    """

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
    """Base of the states: an account by asset, the bets that are open, and what is odd.

    ``account`` makes the account of an asset. ``escrows``: what is locked, by escrow and asset.
    ``unrecognized``: transactions that no sum takes in, counted by the service's type.
    """

    account: ClassVar[type[Any]]
    assets: dict[str, A] = {}
    bets: Bets = msgspec.field(default_factory=Bets)
    escrows: dict[str, dict[str, Decimal]] = {}
    unrecognized: dict[str, int] = {}

    def of(self, asset: str) -> A:
        """What there is of an asset: zeros where there never was any."""
        nothing: A = self.account()
        return self.assets.get(asset, nothing)


class BalancesState(Book[Balance]):
    """Balances by asset."""

    account = Balance


class ProfitAndLossState(Book[Result]):
    """Results by asset."""

    account = Result


class PortfolioState(Book[Account]):
    """Accounts by asset; ``agent`` is the id the agent was registered under."""

    account = Account
    agent: str | None = None
