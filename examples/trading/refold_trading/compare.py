"""Compare trading agents over the same hours: what they held, traded and had in common.

Give the position logs of AI-Trader (https://github.com/HKUDS/AI-Trader), one an agent::

    python -m refold_trading.compare us-hourly/*.positions.jsonl --at 2025-10-15T12:00:00Z

Without ``--at`` the last hour that all of them reached is looked at. Imports into memory: nothing
is written.
"""

import argparse
from collections.abc import Iterable, Mapping
from itertools import combinations

import refold
from refold.conversation.importers import Importer, import_files
from refold.times import rfc3339
from refold_trading import Book, Traded, TradingBook, in_common, traded
from refold_trading.importer import read_ai_trader


def names_of(store: refold.Store) -> dict[str, str]:
    """The stream of each agent, by the agent's name; forks of their logs are left out."""
    streams = [info.stream for info in store.streams(category="trader")]
    books = {stream: store.fold(stream, TradingBook).state for stream in streams}
    return {book.agent or stream: stream for stream, book in books.items()}


def last_hour(store: refold.Store, streams: Iterable[str]) -> int:
    """The last moment that all of the agents reached, in microseconds UTC."""
    lasts = [next(store.read(stream, direction="backward", limit=1)) for stream in streams]
    return min(last.occurred_at_us for last in lasts)


def books_at(store: refold.Store, agents: Mapping[str, str], hour: int | str) -> dict[str, Book]:
    """The book of each agent as it was when an hour had happened."""
    return {
        agent: store.fold(stream, TradingBook, occurred_until=hour).state
        for agent, stream in agents.items()
    }


def traded_by(store: refold.Store, agents: Mapping[str, str], hour: int | str) -> dict[str, Traded]:
    """What each agent had traded by then."""
    return {agent: traded(store.read(stream), until=hour) for agent, stream in agents.items()}


def held(book: Book) -> dict[str, str]:
    """The shares in a book, largest first."""
    shares = {symbol: count for symbol, count in book.shares.items() if count}
    return {
        symbol: f"{shares[symbol]:f}" for symbol in sorted(shares, key=lambda s: (-shares[s], s))
    }


def report(books: Mapping[str, Book], trades: Mapping[str, Traded]) -> Iterable[str]:
    """The comparison, a line at a time."""
    wide = max(map(len, books))
    yield f"{'':{wide}}  trades  bought   sold  turnover  looked on  symbols held  shares held"
    for agent, book in books.items():
        done, symbols = trades[agent], held(book)
        shares = sum(book.shares.values())
        yield (
            f"{agent:{wide}}  {done.trades:>6}  {done.bought:>6}  {done.sold:>5}"
            f"  {done.turnover:>8}  {done.skipped:>9}  {len(symbols):>12}  {shares:>11}"
        )
    yield ""
    for agent, book in books.items():
        yield f"{agent} held {', '.join(f'{s} {n}' for s, n in held(book).items()) or 'nothing'}"
    yield ""
    for first, second in combinations(books, 2):
        both = in_common(books[first], books[second])
        said = ", ".join(f"{symbol} {shares:f}" for symbol, shares in both.items())
        yield f"{first} and {second} both held {said or 'nothing'}"
    everyone = in_common(*books.values())
    said = ", ".join(f"{symbol} {shares:f}" for symbol, shares in everyone.items())
    yield f"all of them held {said or 'nothing'}"


def main() -> None:
    """Import, compare, print."""
    parser = argparse.ArgumentParser(description="Compare trading agents over the same hours.")
    parser.add_argument("logs", nargs="+", help="position logs, one an agent")
    parser.add_argument("--at", help="the hour to look at, RFC 3339")
    given = parser.parse_args()
    with refold.open("memory:") as store:
        import_files(store, Importer("ai-trader", read_ai_trader), given.logs)
        agents = names_of(store)
        hour = given.at or last_hour(store, agents.values())
        print("at", hour if isinstance(hour, str) else rfc3339(hour))
        for line in report(books_at(store, agents, hour), traded_by(store, agents, hour)):
            print(line)


if __name__ == "__main__":
    main()
