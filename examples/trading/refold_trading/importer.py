"""AI-Trader position logs: JSON lines, one an action, with the whole book after it.

A line is ``{date, id, this_action: {action, symbol, amount}, positions}``, the first without an
action (https://github.com/HKUDS/AI-Trader). Numbers are taken as ``Decimal`` from their text. The
dates have no time zone and are taken as UTC. A log in which runs overwrote each other's work is
told apart into the history that goes on and its forks: see :mod:`refold_trading.forked`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from refold import Event
from refold.conversation.chat_export import Loss
from refold.conversation.importers.base import Found, FoundFork, Importer, Options, Problem
from refold.conversation.importers.json_array import checked
from refold.conversation.importers.source import STDIN, ImportSource, named
from refold.core.jsonvalue import pointer
from refold.errors import UsageError
from refold.times import to_us
from refold_trading.book import (
    NO_SHARES,
    PortfolioOpened,
    PositionsReported,
    TradeExecuted,
    TradeSkipped,
)
from refold_trading.forked import Entry, Lines, abandoned, follow, main_line

CATEGORY: Final = "trader"
CASH: Final = "CASH"
_KNOWN: Final = {"date", "id", "this_action", "positions"}
_KNOWN_OF_ACTION: Final = {"action", "symbol", "amount", "price"}


class Action(msgspec.Struct):
    """What the agent did."""

    action: Literal["buy", "sell", "buy_crypto", "sell_crypto", "no_trade"]
    symbol: str = ""
    amount: Decimal = NO_SHARES
    price: Decimal | None = None


class Record(msgspec.Struct):
    """A line of a log."""

    date: str
    id: int
    positions: dict[str, Decimal]
    this_action: Action | None = None


def read_ai_trader(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import position logs of AI-Trader: a JSON line an action, with the book after it.

    A log that forks is reported line by line: the history that it ends with becomes the stream,
    what would have been lost is kept in branches beside it. The streams are called CATEGORY-FILE;
    by default trader-FOLDER-FILE, for the same agents trade in several places.

        refold import ai-trader gpt-5.positions.jsonl
    """
    lines = Lines(source.name)
    loss: list[Loss] = []
    for line in source.lines():
        try:
            follow(lines, _entry(line.number, checked(line.read()), lines, loss))
        except (ValueError, ArithmeticError, RecursionError, UsageError) as error:
            yield Problem(source.name, line.number, str(error))
    if lines.entries:
        agent = source.stem.removesuffix(".positions")
        folder = "" if source.name == STDIN else named(Path(source.name).resolve().parent.name)
        rest = agent if options.category else f"{folder}-{agent}".lstrip("-")
        yield _found(lines, f"{options.category or CATEGORY}-{rest}", agent, loss)


def _entry(number: int, whole: Any, lines: Lines, loss: list[Loss]) -> Entry:
    record = msgspec.convert(whole, Record)
    _check_numbers(record)
    lost = [[key] for key in whole if key not in _KNOWN]
    action = whole.get("this_action") or {}
    lost += [["this_action", key] for key in action if key not in _KNOWN_OF_ACTION]
    shares = dict(record.positions)
    cash = shares.pop(CASH, None)
    is_opening = record.this_action is None and not lines.entries
    events = _opened(record, shares, cash) if is_opening else _acted(record, shares, cash)
    loss += [Loss(f"{lines.file}:{number}", "ai-trader", pointer(path)) for path in lost]
    return Entry(number, record.id, shares, events)


def _check_numbers(record: Record) -> None:
    done = record.this_action
    numbers = [*record.positions.values(), *([] if done is None else [done.amount, done.price])]
    if not all(number is None or number.is_finite() for number in numbers):
        raise ValueError("a number in it is not finite")


def _opened(record: Record, shares: dict[str, Decimal], cash: Decimal | None) -> list[Event]:
    return [_at(record, PortfolioOpened(positions=shares, cash=cash))]


def _acted(record: Record, shares: dict[str, Decimal], cash: Decimal | None) -> list[Event]:
    reported = _at(record, PositionsReported(positions=shares, cash=cash))
    done = record.this_action
    if done is None:
        return [reported]
    if done.action == "no_trade":
        return [_at(record, TradeSkipped(symbol=done.symbol, amount=done.amount)), reported]
    trade = TradeExecuted(
        action=done.action, symbol=done.symbol, amount=done.amount, price=done.price
    )
    return [_at(record, trade), reported]


def _at(record: Record, typed: Any) -> Event:
    said = {"ai_trader": {"id": record.id, "date": record.date}}
    return Event.of(typed, metadata=said, occurred_at=_us(record.date))


def _us(date: str) -> int:
    moment = datetime.fromisoformat(date)
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _found(lines: Lines, stream: str, agent: str, loss: Sequence[Loss]) -> Found:
    main = main_line(lines)
    first = main[0]
    events = [_of_agent(event, agent) for event in first.events]
    events += [event for entry in main[1:] for event in entry.events]
    places = {}
    version = -1
    for entry in main:
        version += len(entry.events)
        places[entry.line] = (stream, version)
    forks: list[FoundFork] = []
    problems = list(lines.problems)
    for number, chain in enumerate(abandoned(lines, main), 1):
        fork = _fork(f"{stream}~fork-{number}", places, chain)
        forks.append(fork)
        problems += _left_behind(lines, chain, fork)
    problems = [problem._replace(stream=stream) for problem in problems]
    return Found(stream, events, lines.file, first.line, {}, problems, loss, forks)


def _of_agent(event: Event, agent: str) -> Event:
    if not isinstance(event.data, PortfolioOpened):
        return event
    opened = msgspec.structs.replace(event.data, agent=agent)
    return Event.of(opened, metadata=event.metadata, occurred_at=event.occurred_at)


def _fork(name: str, places: dict[int, tuple[str, int]], chain: Sequence[Entry]) -> FoundFork:
    """A chain of abandoned lines as a branch; notes where each of its lines stands in it."""
    parent = chain[0].parent
    assert parent is not None, "only the first line follows none, and it is in the main history"
    of, at = places[parent.line]
    # The branch's own events come after its session.forked.
    version = at + 1
    for entry in chain:
        version += len(entry.events)
        places[entry.line] = (name, version)
    events = [event for entry in chain for event in entry.events]
    variant = {"left_behind_lines": [entry.line for entry in chain]}
    return FoundFork(name, of, at, events, variant)


def _left_behind(lines: Lines, chain: Sequence[Entry], fork: FoundFork) -> Iterator[Problem]:
    for entry in chain:
        yield Problem(
            lines.file,
            entry.line,
            f"id {entry.id}, {entry.said}: not in the history that the log ends with, "
            f"so it would have been lost; kept in {fork.stream}",
        )


def looks_like(values: Sequence[Any], /) -> str:
    """By what the first lines are known to be a position log; "" where they are not."""
    for value in values:
        match value:
            case {"date": str(), "id": int() | float(), "positions": dict()}:
                return "its lines have a date, an id and positions"
    return ""


AI_TRADER: Final = Importer("ai-trader", read_ai_trader, looks_like)
