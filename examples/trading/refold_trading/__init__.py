"""Trading agents: their events and books, and an importer of AI-Trader's position logs."""

from refold_trading.book import (
    Book,
    PortfolioOpened,
    PositionsReported,
    Traded,
    TradeExecuted,
    TradeSkipped,
    TradingBook,
    in_common,
    oversold,
    traded,
)

__all__ = [
    "Book",
    "PortfolioOpened",
    "PositionsReported",
    "TradeExecuted",
    "TradeSkipped",
    "Traded",
    "TradingBook",
    "in_common",
    "oversold",
    "traded",
]
