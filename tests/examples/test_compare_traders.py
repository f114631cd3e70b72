"""The comparison of trading agents: its figures are those of the logs, counted another way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.importers import import_files
from refold_trading import Book, compare, in_common, traded
from tests.conversation.importers.inputs import real

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "trading" / "README.md"
AGENTS = ["claude-3.7-sonnet", "deepseek-chat-v3.1", "gpt-5"]
HOURS = ["2025-10-01 10:00:00", "2025-10-02 11:00:00", "2025-10-15 12:00:00", "2025-11-07 15:00:00"]


def lines_of(agent: str) -> list[dict[str, Any]]:
    """The lines of a log, as JSON alone reads them."""
    path = real("ai-trader", "us-hourly", f"{agent}.positions.jsonl")
    return [json.loads(line, parse_float=Decimal) for line in path.read_text().splitlines()]


def until(agent: str, hour: str, *, after: str = "") -> list[dict[str, Any]]:
    """The lines of a period; their dates sort as text."""
    return [line for line in lines_of(agent) if after < line["date"] <= hour]


def held_by(agent: str, hour: str) -> dict[str, int]:
    """The book that the log itself reports at an hour."""
    book = until(agent, hour)[-1]["positions"]
    return {symbol: n for symbol, n in book.items() if n and symbol != "CASH"}


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    """The three logs, imported."""
    paths = [real("ai-trader", "us-hourly", f"{agent}.positions.jsonl") for agent in AGENTS]
    with refold.open("memory:") as store:
        assert import_files(store, "ai-trader", paths).ok
        yield store


def instant(hour: str) -> str:
    """The hour of a log as the library takes it."""
    return hour.replace(" ", "T") + "Z"


@pytest.mark.parametrize("hour", HOURS)
def test_the_books_are_those_that_the_logs_report(store: refold.Store, hour: str) -> None:
    """At any hour; and what two or all of them hold in common is the least of each."""
    agents = compare.names_of(store)
    assert sorted(agents) == AGENTS
    books = compare.books_at(store, agents, instant(hour))
    reported = {agent: held_by(agent, hour) for agent in AGENTS}
    for agent in AGENTS:
        assert {s: int(n) for s, n in books[agent].shares.items() if n} == reported[agent]
    for group in [*combinations(AGENTS, 2), tuple(AGENTS)]:
        least: Counter[str] = Counter(reported[group[0]])
        for agent in group[1:]:
            least &= Counter(reported[agent])
        found = in_common(*(books[agent] for agent in group))
        assert found == {symbol: Decimal(n) for symbol, n in least.items()}


@pytest.mark.parametrize("after", ["", *HOURS[:-1]])
@pytest.mark.parametrize("hour", HOURS)
def test_trades_and_turnover_are_those_of_the_lines(
    store: refold.Store, after: str, hour: str
) -> None:
    """Over any period, by when they occurred; its first moment is out, its last is in."""
    agents = compare.names_of(store)
    for agent in AGENTS:
        done = [line.get("this_action", {}) for line in until(agent, hour, after=after)]
        by: dict[str, list[Any]] = {"buy": [], "sell": [], "no_trade": []}
        for action in done:
            if action:
                by[action["action"]].append(action["amount"])
        found = traded(
            store.read(agents[agent]), after=instant(after) if after else None, until=instant(hour)
        )
        assert (found.buys, found.sells) == (len(by["buy"]), len(by["sell"]))
        assert (found.bought, found.sold) == (sum(by["buy"]), sum(by["sell"]))
        assert (found.trades, found.skipped) == (found.buys + found.sells, len(by["no_trade"]))
        assert found.turnover == sum(by["buy"]) + sum(by["sell"])
        traded_in = {a["symbol"] for a in done if a and a["action"] != "no_trade"}
        assert found.symbols == tuple(sorted(traded_in))


def test_the_example_prints_the_figures_of_the_page() -> None:
    """As a program of its own, over the real logs; the page's table is what it prints."""
    logs = [str(real("ai-trader", "us-hourly", f"{agent}.positions.jsonl")) for agent in AGENTS]
    program = [sys.executable, "-m", "refold_trading.compare", *logs]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120)
    printed = [line.split() for line in done.stdout.splitlines()]
    for agent in AGENTS:
        row = re.search(rf"^\| {re.escape(agent)} \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
        assert row is not None
        assert [agent, *re.findall(r"\d+", row[1])] in printed
    assert "all of them held AMD 3, MSFT 1, NVDA 5" in done.stdout
    noon = subprocess.run(
        [*program, "--at", "2025-10-15T12:00:00Z"], capture_output=True, text=True, check=True
    )
    assert "all of them held NVDA 3\n" in noon.stdout
    assert sum(len(lines_of(agent)) for agent in AGENTS) == 676
    assert all(len({line["date"] for line in lines_of(agent)}) == 168 for agent in AGENTS)


def test_nothing_is_in_common_with_nothing() -> None:
    """An empty book, a short position, and no books at all."""
    some = Book(shares={"A": Decimal(2), "B": Decimal(-1)})
    assert in_common() == {}
    assert in_common(some, Book()) == {}
    assert in_common(some) == {"A": Decimal(2)}
    assert in_common(some, Book(shares={"A": Decimal(1), "B": Decimal(5)})) == {"A": Decimal(1)}
