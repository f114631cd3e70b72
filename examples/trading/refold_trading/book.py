"""The vocabulary of a trading agent, and the book that its trades make.

Share counts are ``Decimal``. A book is folded from the trades alone; what the agent's own engine
reported is compared with it, never taken over, so a difference shows as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Final, Literal

import msgspec

from refold import Fold, Recorded, event
from refold.times import to_us

Moment = datetime | str | int
"""An aware datetime, RFC 3339 text or microseconds UTC."""
Trade = Literal["buy", "sell", "buy_crypto", "sell_crypto"]
NO_SHARES: Final = Decimal(0)
_TRADING: Final = ("trade.executed", "trade.skipped")
# A fold must not depend on how Python's own context is set; no share count has as many digits.
_EXACT: Final = Context(prec=100, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


class Fields(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the events: immutable, and defaults are not stored."""


@event("portfolio.opened")
class PortfolioOpened(Fields, frozen=True):
    """Trading begins with these share counts by symbol, and with this cash."""

    positions: dict[str, Decimal]
    cash: Decimal | None = None
    agent: str | None = None


@event("trade.executed")
class TradeExecuted(Fields, frozen=True):
    """Shares were bought or sold; ``price`` is that of one share."""

    action: Trade
    symbol: str
    amount: Decimal
    price: Decimal | None = None


@event("trade.skipped")
class TradeSkipped(Fields, frozen=True):
    """The agent looked and did not trade."""

    symbol: str = ""
    amount: Decimal = NO_SHARES


@event("positions.reported")
class PositionsReported(Fields, frozen=True):
    """The whole book as the agent's own engine had it at this point."""

    positions: dict[str, Decimal]
    cash: Decimal | None = None


class Difference(msgspec.Struct, frozen=True):
    """A share count that was reported and the one that the trades give."""

    reported: Decimal
    folded: Decimal


class Book(msgspec.Struct):
    """A portfolio: share counts by symbol from the trades, and the cash that was last reported.

    ``differences`` are those of the last report, by symbol; ``reports`` counts the reports and
    ``mismatches`` those with a difference.
    """

    agent: str | None = None
    shares: dict[str, Decimal] = {}
    cash: Decimal | None = None
    trades: int = 0
    skipped: int = 0
    reports: int = 0
    mismatches: int = 0
    differences: dict[str, Difference] = {}


class Traded(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent traded in a period; ``bought`` and ``sold`` are shares of any symbol.

    A trade of no shares is one, as in the book. ``skipped`` is how often it looked and did not
    trade, ``symbols`` what it traded, sorted.
    """

    buys: int = 0
    sells: int = 0
    bought: Decimal = NO_SHARES
    sold: Decimal = NO_SHARES
    skipped: int = 0
    symbols: tuple[str, ...] = ()

    @property
    def trades(self) -> int:
        """How many trades."""
        return self.buys + self.sells

    @property
    def turnover(self) -> Decimal:
        """Shares that changed hands, whichever way."""
        return self.bought + self.sold


TradingBook: Final[Fold[Book]] = Fold("trading-book", Book)
"""The book of a trading agent: ``store.fold("trader-x", TradingBook)``."""


def change(trade: TradeExecuted) -> Decimal:
    """How many shares of its symbol a trade adds; negative for a sale."""
    return trade.amount if trade.action.startswith("buy") else trade.amount.copy_negate()


def traded(
    history: Iterable[Recorded], *, after: Moment | None = None, until: Moment | None = None
) -> Traded:
    """What was traded over ``after`` and up to ``until``, by when it occurred.

    So a book at ``until`` is that at ``after`` with these trades in it.
    """
    first = None if after is None else to_us(after)
    last = None if until is None else to_us(until)
    trades: list[TradeExecuted] = []
    skipped = 0
    for recorded in history:
        at_us = recorded.occurred_at_us
        if (first is not None and at_us <= first) or (last is not None and at_us > last):
            continue
        for part in recorded.parts(among=_TRADING):
            if part.type == "trade.skipped":
                skipped += 1
            else:
                trades.append(part.to_class(TradeExecuted))
    bought = [trade.amount for trade in trades if trade.action.startswith("buy")]
    sold = [trade.amount for trade in trades if not trade.action.startswith("buy")]
    return Traded(
        buys=len(bought),
        sells=len(sold),
        bought=sum(bought, NO_SHARES),
        sold=sum(sold, NO_SHARES),
        skipped=skipped,
        symbols=tuple(sorted({trade.symbol for trade in trades})),
    )


def in_common(*books: Book) -> dict[str, Decimal]:
    """The shares that each of these books holds at least, by symbol; what one has none of is out.

    A short position is none.
    """
    symbols = set.intersection(*(set(book.shares) for book in books)) if books else set()
    least = {symbol: min(book.shares[symbol] for book in books) for symbol in sorted(symbols)}
    return {symbol: shares for symbol, shares in least.items() if shares > 0}


def differences(reported: dict[str, Decimal], folded: dict[str, Decimal]) -> dict[str, Difference]:
    """Where two books differ; a symbol that one does not name counts as none held."""
    pairs = {
        symbol: Difference(reported.get(symbol, NO_SHARES), folded.get(symbol, NO_SHARES))
        for symbol in sorted(reported.keys() | folded.keys())
    }
    return {symbol: pair for symbol, pair in pairs.items() if pair.reported != pair.folded}


@TradingBook.on(PortfolioOpened)
def _opened(book: Book, opened: PortfolioOpened) -> Book:
    book.agent, book.cash = opened.agent, opened.cash
    book.shares = dict(opened.positions)
    return book


@TradingBook.on(TradeExecuted)
def _executed(book: Book, trade: TradeExecuted) -> Book:
    held = book.shares.get(trade.symbol, NO_SHARES)
    book.shares[trade.symbol] = _EXACT.add(held, change(trade))
    book.trades += 1
    return book


@TradingBook.on(TradeSkipped)
def _skipped(book: Book, _trade: TradeSkipped) -> Book:
    book.skipped += 1
    return book


@TradingBook.on(PositionsReported)
def _reported(book: Book, report: PositionsReported) -> Book:
    book.cash = report.cash
    book.reports += 1
    book.differences = differences(report.positions, book.shares)
    book.mismatches += bool(book.differences)
    return book


def oversold(
    happened: Iterable[Recorded], branch: Iterable[Recorded]
) -> list[tuple[Recorded, str]]:
    """The sales of a branch that sell more than is held there, though not in what happened."""
    known = {recorded.id for recorded, _ in _oversold(happened)}
    return [(recorded, why) for recorded, why in _oversold(branch) if recorded.id not in known]


def _oversold(history: Iterable[Recorded]) -> Iterator[tuple[Recorded, str]]:
    held: dict[str, Decimal] = {}
    for recorded in history:
        for part in recorded.parts(among=("portfolio.opened", "trade.executed")):
            if part.type == "portfolio.opened":
                held = dict(part.to_class(PortfolioOpened).positions)
                continue
            trade = part.to_class(TradeExecuted)
            had, more = held.get(trade.symbol, NO_SHARES), change(trade)
            held[trade.symbol] = _EXACT.add(had, more)
            if more < 0 and held[trade.symbol] < 0:
                yield recorded, f"sells {trade.amount} {trade.symbol} where {had} are held"
