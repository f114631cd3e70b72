"""The folds: the same entries, seen three ways; and what they give, plain values by asset.

An event is entries in an account, and every view is made from the same ones, so none can forget
escrow, a fee or an open bet. An account takes the entries that it has a field for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

import msgspec

from refold.core.fold import Fold
from refold.ledger import events as said
from refold.ledger.money import ZERO, minus, plus, ratio

A = TypeVar("A", bound=msgspec.Struct)
B = TypeVar("B", bound="Book[Any]")
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
        return self.assets.get(asset) or self.account()


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


# -- the entries of events -------------------------------------------------------------------------

Entry = tuple[str, str, Decimal | int]
"""Asset, field of its account, and what is added to it; a count is an ``int``."""

_TOTALLED: Final[dict[type, str]] = {
    said.FundsDeposited: "deposited",
    said.FundsWithdrawn: "withdrawn",
    said.FaucetClaimed: "claimed",
    said.FeeCharged: "fees",
}
"""The field that sums what came in, or went out, by each of these."""
OUTCOMES: Final[dict[type, tuple[Outcome, str]]] = {
    said.BetWon: ("won", "wins"),
    said.BetLost: ("lost", "losses"),
    said.BetCancelled: ("cancelled", "cancelled"),
}
"""How a bet ends, and the field that counts those that ended so."""
_COUNTED: Final = dict(OUTCOMES.values())


def post(book: B, event: Any) -> B:
    """Enter an event in a book; gives the same book."""
    for asset, field, amount in _ENTRIES[type(event)](event, book):
        held = book.assets.get(asset)
        if held is None:
            held = book.assets[asset] = book.account()
        before = getattr(held, field, None)
        if isinstance(before, Decimal):
            setattr(held, field, plus(before, amount))
        elif before is not None:
            setattr(held, field, before + amount)
    return book


def _noted(event: Any, book: Book[Any]) -> tuple[Entry, ...]:
    """Notes what moves nothing: whose the book is, and what nobody knows the meaning of."""
    if isinstance(event, said.UnrecognizedTransaction):
        book.unrecognized[event.kind] = book.unrecognized.get(event.kind, 0) + 1
    elif isinstance(book, PortfolioState):
        book.agent = event.agent
    return ()


def _moved(event: Any, _book: Book[Any]) -> Iterator[Entry]:
    goes_out = isinstance(event, said.FundsWithdrawn | said.FeeCharged)
    yield event.asset, "available", event.amount.copy_negate() if goes_out else event.amount
    yield event.asset, _TOTALLED[type(event)], event.amount


def _placed(event: said.BetPlaced, book: Book[Any]) -> Iterator[Entry]:
    is_new = event.bet not in book.bets.open
    outcome = book.bets.placed(event.bet, event.asset, event.amount)
    yield event.asset, "available", event.amount.copy_negate()
    yield event.asset, "staked", event.amount
    yield event.asset, "wagered", event.amount
    yield event.asset, "bets", int(is_new)
    if outcome is not None:
        yield from _closed({event.asset: event.amount}, outcome)


def _settled(event: Any, book: Book[Any]) -> Iterator[Entry]:
    outcome, _ = OUTCOMES[type(event)]
    paid = {event.asset: event.amount} if outcome == "won" else {}
    for asset, amount in paid.items():
        yield asset, "available", amount
        yield asset, "won", amount
    stake = book.bets.settled(event.bet, outcome, event.reference, paid)
    yield from _closed(stake or {}, outcome)


def _closed(stake: dict[str, Decimal], outcome: Outcome) -> Iterator[Entry]:
    """The stake of a bet goes where its outcome says; the bet counts once, in its first asset."""
    for asset, amount in stake.items():
        yield asset, "staked", amount.copy_negate()
        if outcome == "cancelled":
            yield asset, "refunded", amount
            yield asset, "available", amount
        else:
            yield asset, "settled", amount
    for asset in list(stake)[:1]:
        yield asset, _COUNTED[outcome], 1


def _in_escrow(event: said.EscrowLocked | said.EscrowReleased, book: Book[Any]) -> Iterator[Entry]:
    """Notes what an escrow holds; one that holds nothing is forgotten."""
    is_locked = isinstance(event, said.EscrowLocked)
    change = event.amount if is_locked else event.amount.copy_negate()
    held = book.escrows.setdefault(event.escrow, {})
    held[event.asset] = plus(held.get(event.asset, ZERO), change)
    if not held[event.asset]:
        del held[event.asset]
    if not held:
        del book.escrows[event.escrow]
    back = "paid" if isinstance(event, said.EscrowReleased) and event.to != "owner" else "available"
    yield event.asset, "escrow", change
    yield event.asset, back, change.copy_negate()


_ENTRIES: Final[dict[type, Callable[[Any, Book[Any]], Iterable[Entry]]]] = {
    **dict.fromkeys(_TOTALLED, _moved),
    **dict.fromkeys(OUTCOMES, _settled),
    said.AgentRegistered: _noted,
    said.BetPlaced: _placed,
    said.EscrowLocked: _in_escrow,
    said.EscrowReleased: _in_escrow,
    said.UnrecognizedTransaction: _noted,
}
"""The entries of an event; the book notes whose it is, and what bets and escrows are open."""
POSTED: Final = tuple(_ENTRIES)
"""The events that :func:`post` takes."""

Balances: Final[Fold[BalancesState]] = Fold("ledger-balances", BalancesState)
"""Where the money is: ``store.fold("agent-1", Balances).state.of("USDC").available``."""

ProfitAndLoss: Final[Fold[ProfitAndLossState]] = Fold("ledger-profit", ProfitAndLossState)
"""How the bets went: ``store.fold("agent-1", ProfitAndLoss).state.of("USDC").roi``."""

Portfolio: Final[Fold[PortfolioState]] = Fold("ledger-portfolio", PortfolioState)
"""Everything: ``store.fold("agent-1", Portfolio).state.of("USDC").total``."""

for _fold in (Balances, ProfitAndLoss, Portfolio):
    _fold.on(*POSTED)(post)
