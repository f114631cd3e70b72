"""The folds: the same entries, seen three ways.

An event is entries in an account, and every view is made from the same ones, so none can forget
escrow, a fee or an open bet. An account takes the entries that it has a field for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Final, TypeVar

from refold.core.fold import Fold
from refold.ledger import events as said
from refold.ledger.accounts import BalancesState, Book, Outcome, PortfolioState, ProfitAndLossState
from refold.ledger.money import ZERO, plus

B = TypeVar("B", bound=Book[Any])
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
