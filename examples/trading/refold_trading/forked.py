"""Logs whose later lines continue from an older state: which line follows which.

Lines carry ids that should count up. A line that repeats an id continues from the line whose id
is one less, in the history of the line before it: some run began there again, and what came after
it in that history is left behind. The history that the log ends with is the main one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from refold import Event
from refold.conversation.importers.base import Problem
from refold_trading.book import NO_SHARES, TradeExecuted
from refold_trading.book import change as change_of

ROUNDING: Final = Decimal("0.0001")
"""Share counts in these logs are rounded to four decimals after each trade."""


@dataclass(eq=False)
class Entry:
    """A line: its number and id, the book after it, its events, and the line it follows."""

    line: int
    id: int
    shares: Mapping[str, Decimal]
    events: Sequence[Event]
    parent: Entry | None = None

    @property
    def trade(self) -> TradeExecuted | None:
        """What was traded."""
        traded = (e.data for e in self.events if isinstance(e.data, TradeExecuted))
        return next(traded, None)

    @property
    def said(self) -> str:
        """What was done, in words."""
        trade = self.trade
        return f"{trade.action} {trade.amount} {trade.symbol}" if trade else "no trade"


@dataclass
class Lines:
    """The lines of a log so far, each with the one it follows, and what was odd about them."""

    file: str
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def follow(lines: Lines, entry: Entry) -> None:
    """Add a line behind the one that it follows; ValueError when there is none."""
    if lines.entries:
        entry.parent = _parent(lines, entry, lines.entries[-1])
    lines.entries.append(entry)


def main_line(lines: Lines) -> list[Entry]:
    """The history that the log ends with, from its first line."""
    return _history(lines.entries[-1])[::-1]


def abandoned(lines: Lines, main: Sequence[Entry]) -> list[list[Entry]]:
    """The other lines, in chains of one following the next, in the order of the log."""
    kept = {entry.line for entry in main}
    chains: dict[int, list[Entry]] = {}
    for entry in lines.entries:
        if entry.line in kept:
            continue
        # A chain is found by the line at its end, which this one is from here on.
        chain = chains.pop(entry.parent.line, []) if entry.parent else []
        chains[entry.line] = [*chain, entry]
    return sorted(chains.values(), key=lambda chain: chain[0].line)


def fits(parent: Entry, entry: Entry) -> bool:
    """Whether a line's book is that of another after the line's trade, but for rounding."""
    expected = dict(parent.shares)
    if trade := entry.trade:
        expected[trade.symbol] = expected.get(trade.symbol, NO_SHARES) + change_of(trade)
    symbols = expected.keys() | entry.shares.keys()
    return all(
        abs(expected.get(symbol, NO_SHARES) - entry.shares.get(symbol, NO_SHARES)) <= ROUNDING
        for symbol in symbols
    )


def _parent(lines: Lines, entry: Entry, last: Entry) -> Entry:
    if entry.id == last.id + 1:
        _note_unless_fits(lines, last, entry)
        return last
    if entry.id > last.id:
        _note(lines, entry, f"id {entry.id} follows id {last.id}: lines are missing between them")
        return last
    history = _history(last)
    origin = next((older for older in history if older.id == entry.id - 1), None)
    if origin is None:
        raise ValueError(f"id {entry.id} follows no line of the history before it")
    if fits(last, entry) and not fits(origin, entry):
        _note(lines, entry, f"id {entry.id} again, though its book continues from line {last.line}")
        return last
    left = [older for older in history if older.line > origin.line]
    trades = sum(older.trade is not None for older in left)
    _note(
        lines,
        entry,
        f"id {entry.id} again: the log goes on from line {origin.line} (id {origin.id}) and leaves "
        f"behind {_span(left[-1].line, left[0].line)}, trades among them: {trades}",
    )
    _note_unless_fits(lines, origin, entry)
    return origin


def _span(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"


def _history(entry: Entry) -> list[Entry]:
    """A line and all that it follows from, backwards."""
    history = [entry]
    while history[-1].parent is not None:
        history.append(history[-1].parent)
    return history


def _note_unless_fits(lines: Lines, parent: Entry, entry: Entry) -> None:
    if not fits(parent, entry):
        _note(lines, entry, f"its book is not that of line {parent.line} after its trade")


def _note(lines: Lines, entry: Entry, message: str) -> None:
    lines.problems.append(Problem(lines.file, entry.line, message))
