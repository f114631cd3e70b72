"""The vocabulary of a trading agent, and the book that its trades make.

Share counts are ``Decimal``. A book is folded from the trades alone; what the agent's own engine
reported is compared with it, never taken over, so a difference shows as one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from refold.conversation.events import Fields
from refold.conversation.exact import add
from refold.core.event import event
from refold.core.fold import Fold

Trade = Literal["buy", "sell", "buy_crypto", "sell_crypto"]
NO_SHARES: Final = Decimal(0)


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


TradingBook: Final[Fold[Book]] = Fold("trading-book", Book)
"""The book of a trading agent: ``store.fold("trader-x", TradingBook)``."""


def change(trade: TradeExecuted) -> Decimal:
    """How many shares of its symbol a trade adds; negative for a sale."""
    return trade.amount if trade.action.startswith("buy") else trade.amount.copy_negate()


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
    add(book.shares, trade.symbol, change(trade))
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
