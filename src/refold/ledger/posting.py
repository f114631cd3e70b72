"""One event as entries in an account: the arithmetic that all folds of money share.

Every view is made from the same entries, so none can forget escrow, a fee or an open bet. An
account takes the entries that it has a field for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import singledispatch
from typing import Any, Final, TypeVar

from refold.ledger.bets import Outcome, Stake
from refold.ledger.events import (
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
from refold.ledger.money import ZERO, plus
from refold.ledger.states import Book

B = TypeVar("B", bound=Book[Any])
Entry = tuple[str, str, Decimal | int]
"""Asset, field of its account, and what is added to it; a count is an ``int``."""

POSTED: Final = (
    FundsDeposited,
    FundsWithdrawn,
    FaucetClaimed,
    FeeCharged,
    BetPlaced,
    BetWon,
    BetLost,
    BetCancelled,
    EscrowLocked,
    EscrowReleased,
    UnrecognizedTransaction,
)
"""The events that :func:`post` takes."""

_TALLY: Final[dict[Outcome, str]] = {"won": "wins", "lost": "losses", "cancelled": "cancelled"}


def post(book: B, event: object, account: Callable[[], Any]) -> B:
    """Enter an event in a book whose accounts are made by ``account``; gives the same book."""
    for asset, field, amount in entries(event, book):
        held = book.assets.get(asset)
        if held is None:
            held = book.assets[asset] = account()
        before = getattr(held, field, None)
        if isinstance(before, Decimal):
            setattr(held, field, plus(before, Decimal(amount)))
        elif before is not None:
            setattr(held, field, before + amount)
    return book


@singledispatch
def entries(event: object, _book: Book[Any]) -> Iterator[Entry]:
    """The entries of an event; notes in the book which bets and escrows it opens and closes."""
    raise TypeError(f"{type(event).__name__} moves no money")


@entries.register
def _deposited(event: FundsDeposited, _book: Book[Any]) -> Iterator[Entry]:
    yield event.asset, "available", event.amount
    yield event.asset, "deposited", event.amount


@entries.register
def _withdrawn(event: FundsWithdrawn, _book: Book[Any]) -> Iterator[Entry]:
    yield event.asset, "available", event.amount.copy_negate()
    yield event.asset, "withdrawn", event.amount


@entries.register
def _claimed(event: FaucetClaimed, _book: Book[Any]) -> Iterator[Entry]:
    yield event.asset, "available", event.amount
    yield event.asset, "claimed", event.amount


@entries.register
def _charged(event: FeeCharged, _book: Book[Any]) -> Iterator[Entry]:
    yield event.asset, "available", event.amount.copy_negate()
    yield event.asset, "fees", event.amount


@entries.register
def _locked(event: EscrowLocked, book: Book[Any]) -> Iterator[Entry]:
    _in_escrow(book, event.escrow, event.asset, event.amount)
    yield event.asset, "available", event.amount.copy_negate()
    yield event.asset, "escrow", event.amount


@entries.register
def _released(event: EscrowReleased, book: Book[Any]) -> Iterator[Entry]:
    _in_escrow(book, event.escrow, event.asset, event.amount.copy_negate())
    yield event.asset, "escrow", event.amount.copy_negate()
    yield event.asset, "available" if event.to == "owner" else "paid", event.amount


@entries.register
def _placed(event: BetPlaced, book: Book[Any]) -> Iterator[Entry]:
    is_new = event.bet not in book.bets.open
    outcome = book.bets.placed(event.bet, event.asset, event.amount)
    yield event.asset, "available", event.amount.copy_negate()
    yield event.asset, "staked", event.amount
    yield event.asset, "wagered", event.amount
    yield event.asset, "bets", int(is_new)
    if outcome is not None:
        yield from _closed({event.asset: event.amount}, outcome)


@entries.register
def _won(event: BetWon, book: Book[Any]) -> Iterator[Entry]:
    yield event.asset, "available", event.amount
    yield event.asset, "won", event.amount
    stake = book.bets.settled(event.bet, "won", event.reference)
    if stake is None:
        book.bets.paid_unmatched(event.bet, event.asset, event.amount)
    else:
        yield from _closed(stake, "won")


@entries.register
def _lost(event: BetLost, book: Book[Any]) -> Iterator[Entry]:
    yield from _closed(book.bets.settled(event.bet, "lost", event.reference) or {}, "lost")


@entries.register
def _cancelled(event: BetCancelled, book: Book[Any]) -> Iterator[Entry]:
    stake = book.bets.settled(event.bet, "cancelled", event.reference)
    yield from _closed(stake or {}, "cancelled")


@entries.register
def _unrecognized(event: UnrecognizedTransaction, book: Book[Any]) -> Iterator[Entry]:
    book.unrecognized[event.kind] = book.unrecognized.get(event.kind, 0) + 1
    yield from ()


def _closed(stake: Stake, outcome: Outcome) -> Iterator[Entry]:
    """The stake of a bet goes where its outcome says; the bet counts once, in its first asset."""
    for asset, amount in stake.items():
        yield asset, "staked", amount.copy_negate()
        if outcome == "cancelled":
            yield asset, "refunded", amount
            yield asset, "available", amount
        else:
            yield asset, "settled", amount
    for asset in list(stake)[:1]:
        yield asset, _TALLY[outcome], 1


def _in_escrow(book: Book[Any], escrow: str, asset: str, change: Decimal) -> None:
    """Note what an escrow holds; one that holds nothing is forgotten."""
    held = book.escrows.setdefault(escrow, {})
    held[asset] = plus(held.get(asset, ZERO), change)
    if not held[asset]:
        del held[asset]
    if not held:
        del book.escrows[escrow]
