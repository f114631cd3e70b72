"""Trading logs: folded to the books they report, and forked ones told apart."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.conversation.importers import ImportReport, import_files
from refold.core.encode import copied
from refold_trading import PositionsReported, TradeExecuted, TradingBook, oversold
from tests.conversation.importers.inputs import real

AGENTS = ["claude-3.7-sonnet", "gemini-2.5-flash", "gpt-5"]


def crypto(store: refold.Store, *agents: str) -> ImportReport:
    folder = real("ai-trader", "crypto")
    paths = [folder / f"{agent}.positions.jsonl" for agent in agents]
    return import_files(store, "ai-trader", paths)


def entry(id: int, action: str | None, amount: str = "0", held: str = "0", more: Any = None) -> str:
    """A line of a log with one symbol, X; ``held`` is its count afterwards."""
    did = f'"this_action": {{"action": "{action}", "symbol": "X", "amount": {amount}}}, '
    rest = "".join(f', "{key}": {json.dumps(value)}' for key, value in (more or {}).items())
    return (
        f'{{"date": "2025-11-01 10:00:00", "id": {id}, {did if action else ""}'
        f'"positions": {{"X": {held}, "CASH": 10.5}}{rest}}}\n'
    )


def write(tmp_path: Path, *lines: str) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir(exist_ok=True)
    path = folder / "m-1.positions.jsonl"
    path.write_text("".join(lines))
    return path


def test_the_fold_of_actions_gives_every_recorded_share_count(store: refold.Store) -> None:
    """676 records of three agents: after each, the folded counts are those in the file."""
    folder = real("ai-trader", "us-hourly")
    paths = sorted(folder.glob("*.jsonl"))
    assert import_files(store, "ai-trader", paths).ok
    records = mismatches = 0
    for path in paths:
        agent = path.name.removesuffix(".positions.jsonl")
        stream = f"trader-us-hourly-{agent}"
        book, after = TradingBook.initial(), []
        for recorded in store.read(stream):
            book = TradingBook.step(book, recorded)
            if recorded.type in ("portfolio.opened", "positions.reported"):
                after.append((dict(book.shares), book.cash))
        lines = path.read_bytes().splitlines()
        assert len(after) == len(lines)
        for line, (shares, cash) in zip(lines, after, strict=True):
            expected = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            positions = msgspec.json.decode(expected["positions"], type=dict[str, Decimal])
            records += 1
            mismatches += positions != {**shares, "CASH": cash}
        assert store.fold(stream, TradingBook).state.mismatches == 0
    assert (records, mismatches) == (676, 0)


def test_numbers_are_those_of_the_text(store: refold.Store, tmp_path: Path) -> None:
    """No number passes through a float: 0.1 + 0.2 is 0.3, and long ones stay long."""
    long = "0.4485060000000001000000001"
    path = write(
        tmp_path,
        entry(0, None, held="0.1"),
        entry(1, "buy", "0.2", "0.3"),
        entry(2, "buy_crypto", long, "0.7485060000000001000000001"),
    )
    assert import_files(store, "ai-trader", [path]).ok
    book = store.fold("trader-desk-m-1", TradingBook).state
    assert book.shares == {"X": Decimal("0.7485060000000001000000001")}
    assert (book.cash, book.agent, book.trades) == (Decimal("10.5"), "m-1", 2)
    [_, bought] = store.read_all(types=["trade.executed"])
    assert bought.data["amount"] == long


def test_times_ids_and_prices_are_kept(store: refold.Store, tmp_path: Path) -> None:
    """A line's date is when its events happened; its id and text of the date stand beside."""
    action = '{"action": "sell", "symbol": "X", "amount": 2, "price": 26.09}'
    line = (
        f'{{"date": "2025-10-01 10:00:00", "id": 1, "this_action": {action}, "positions": {{}}}}\n'
    )
    import_files(store, "ai-trader", [write(tmp_path, entry(0, None, held="2"), line)])
    sold = store.event("trader-desk-m-1@1")
    assert sold.event == TradeExecuted(
        action="sell", symbol="X", amount=Decimal(2), price=Decimal("26.09")
    )
    assert sold.occurred_at.isoformat() == "2025-10-01T10:00:00+00:00"
    assert sold.metadata["ai_trader"] == {"id": 1, "date": "2025-10-01 10:00:00"}


def test_forked_logs_are_found_line_by_line(store: refold.Store) -> None:
    """Six forks in three real logs: where each began again, and each line left behind."""
    report = crypto(store, *AGENTS)
    assert (report.imported, report.branches, report.failed) == (3, 6, 0)
    assert not report.ok
    told: dict[str, dict[str, list[int]]] = {}
    for problem in report.problems:
        kind = "began" if "again" in problem.message else "left"
        agent = Path(problem.file).name.removesuffix(".positions.jsonl")
        told.setdefault(agent, {}).setdefault(kind, []).append(problem.line)
    assert told == {
        "claude-3.7-sonnet": {"began": [35, 39], "left": [*range(30, 39)]},
        "gemini-2.5-flash": {"began": [16, 18], "left": [15, 16, 17]},
        "gpt-5": {"began": [23, 25], "left": [22, 23, 24]},
    }
    lost = next(p.message for p in report.problems if p.line == 34)
    assert "buy_crypto 400.0 ADA-USDT" in lost
    assert "trader-crypto-claude-3.7-sonnet~fork-1" in lost


def test_every_line_of_a_forked_log_is_somewhere(store: refold.Store) -> None:
    """Main history and forks together hold each line's trade once, none merged, none dropped."""
    crypto(store, *AGENTS)
    for agent in AGENTS:
        lines = real("ai-trader", "crypto", f"{agent}.positions.jsonl").read_text().splitlines()
        expected = sorted(
            (str(d["action"]), d["symbol"], Decimal(str(d["amount"])))
            for d in (json.loads(line).get("this_action") for line in lines)
            if d and d["action"] != "no_trade"
        )
        stored = [
            e.event
            for e in store.read_all(types=["trade.executed"])
            if e.stream.partition("~")[0] == f"trader-crypto-{agent}"
        ]
        assert sorted((t.action, t.symbol, t.amount) for t in stored) == expected


def test_the_main_history_ends_as_the_log_ends(store: refold.Store) -> None:
    """The last line's book is that of the main history, but for the log's own rounding."""
    crypto(store, *AGENTS)
    for agent in AGENTS:
        path = real("ai-trader", "crypto", f"{agent}.positions.jsonl")
        last = json.loads(path.read_text().splitlines()[-1], parse_float=Decimal)
        book = store.fold(f"trader-crypto-{agent}", TradingBook).state
        for symbol, count in book.shares.items():
            assert abs(count - last["positions"][symbol]) < Decimal("0.002")


def test_a_fork_is_a_branch_from_where_it_left(store: refold.Store) -> None:
    """It shares the history up to its origin, and folds to the book of its own last line."""
    crypto(store, "claude-3.7-sonnet")
    line = real("ai-trader", "crypto", "claude-3.7-sonnet.positions.jsonl").read_text().splitlines()
    reported = json.loads(line[33], parse_float=Decimal)["positions"]
    fork = "trader-crypto-claude-3.7-sonnet~fork-1"
    book = store.fold(fork, TradingBook).state
    assert book.mismatches == 0
    assert {**book.shares, "CASH": book.cash} == reported
    main, branch = store.read(fork.partition("~")[0]), list(store.read(fork))
    shared = [a.raw for a, b in zip(main, branch, strict=False) if a.raw == b.raw and a.id == b.id]
    assert len(shared) == 57  # line 1 is one event, lines 2 to 29 are two each
    assert branch[57].event.variant == {"left_behind_lines": [30, 31, 32, 33, 34]}


def test_importing_forked_logs_again_changes_nothing(store: refold.Store) -> None:
    """Main histories and forks are unchanged; the forks are still told."""
    first = crypto(store, *AGENTS)
    head = store.log_head()
    again = crypto(store, *AGENTS)
    assert (again.imported, again.unchanged, again.branches, again.events) == (0, 3, 0, 0)
    assert again.problems == first.problems
    assert store.log_head() == head


def test_a_fork_that_a_stopped_import_left_out_is_added(store: refold.Store) -> None:
    """Main history there, a fork not yet: importing again stores what is missing alone."""
    with refold.open("memory:") as whole:
        crypto(whole, "gpt-5")
        main = [copied(recorded) for recorded in whole.read("trader-crypto-gpt-5")]
        metadata = {"source": "ai-trader", "origin": "imported"}
        key = "import:ai-trader:trader-crypto-gpt-5"
        own = [replace(e, metadata={"ai_trader": (e.metadata or {})["ai_trader"]}) for e in main]
        store.append(
            "trader-crypto-gpt-5", own, expected=refold.NO_STREAM, key=key, metadata=metadata
        )
    report = crypto(store, "gpt-5")
    assert (report.imported, report.unchanged, report.branches) == (0, 1, 2)


def test_a_fork_that_is_there_with_other_events_is_a_problem(store: refold.Store) -> None:
    """A branch that someone else saved under the fork's name is told and left as it is."""
    path = real("ai-trader", "crypto", "gpt-5.positions.jsonl")
    fork = "trader-crypto-gpt-5~fork-1"
    store.append("x", [refold.Event("x.y")])
    store.branch("x").adding(refold.Event("x.z")).save(fork)
    report = import_files(store, "ai-trader", [path])
    assert (report.imported, report.branches, report.failed) == (1, 1, 1)
    assert fork in [p.stream for p in report.problems]
    assert [e.type for e in store.read(fork)] == ["x.y", "session.forked", "x.z"]


def test_a_fork_of_a_fork_hangs_on_its_own_parent(store: refold.Store, tmp_path: Path) -> None:
    """Lines 3 to 5 leave line 2, line 6 leaves line 4: the second fork branches off the first."""
    path = write(
        tmp_path,
        entry(0, None, held="0"),
        entry(1, "buy", "1", "1"),
        entry(2, "buy", "2", "3"),
        entry(3, "buy", "4", "7"),
        entry(4, "buy", "8", "15"),
        entry(4, "buy", "16", "23"),
        entry(2, "buy", "32", "33"),
    )
    report = import_files(store, "ai-trader", [path])
    assert (report.imported, report.branches) == (1, 2)
    held = {
        name: store.fold(f"trader-desk-m-1{name}", TradingBook).state.shares["X"]
        for name in ("", "~fork-1", "~fork-2")
    }
    assert held == {"": Decimal(33), "~fork-1": Decimal(15), "~fork-2": Decimal(23)}
    assert [p.line for p in report.problems if "again" in p.message] == [6, 7]
    assert [p.line for p in report.problems if "again" not in p.message] == [3, 4, 5, 6]


def test_a_repeated_id_whose_book_goes_on_is_no_fork(store: refold.Store, tmp_path: Path) -> None:
    """When the book continues, only the numbering is told: nothing is left behind."""
    path = write(
        tmp_path,
        entry(0, None, held="0"),
        entry(1, "buy", "1", "1"),
        entry(1, "buy", "2", "3"),
    )
    report = import_files(store, "ai-trader", [path])
    assert (report.branches, [p.line for p in report.problems]) == (0, [3])
    assert store.fold("trader-desk-m-1", TradingBook).state.shares["X"] == 3


def test_missing_lines_and_books_that_do_not_follow_are_told(
    store: refold.Store, tmp_path: Path
) -> None:
    """A gap in the ids and a book that the trade does not explain are told with their lines."""
    path = write(
        tmp_path,
        entry(0, None, held="0"),
        entry(1, "buy", "1", "1"),
        entry(3, "buy", "1", "3"),
        entry(4, "buy", "1", "7"),
    )
    report = import_files(store, "ai-trader", [path])
    assert [p.line for p in report.problems] == [3, 4]
    assert report.imported == 1
    book = store.fold("trader-desk-m-1", TradingBook).state
    assert (book.shares["X"], book.differences["X"].reported) == (Decimal(3), Decimal(7))
    assert book.mismatches == 2


@pytest.mark.parametrize(
    "broken",
    [
        "{\n",
        "12\n",
        entry(2, "borrow", "1", "2"),
        entry(2, "buy", '"a lot"', "2"),
        entry(2, "buy", '"NaN"', "2"),
        entry(2, "buy", "1", '"Infinity"'),
        entry(2, "buy", "1", "2").replace("2025-11-01", "2025-13-01"),
        entry(2, "buy", "1", "2").replace("2025-11-01 10:00:00", "0001-01-01T00:00:00+14:00"),
        entry(2, "buy", "1", "2").replace('"id": 2', '"id": "2"'),
        entry(-7, "buy", "1", "2"),
    ],
)
def test_a_broken_line_is_told_and_the_rest_goes_on(
    store: refold.Store, tmp_path: Path, broken: str
) -> None:
    """The other lines are imported; that the next does not follow is told as well."""
    path = write(
        tmp_path,
        entry(0, None, held="0"),
        entry(1, "buy", "1", "1"),
        broken,
        entry(3, "buy", "1", "3"),
    )
    report = import_files(store, "ai-trader", [path])
    assert (report.imported, report.failed) == (1, 1)
    assert [p.line for p in report.problems] == [3, 4]
    assert store.fold("trader-desk-m-1", TradingBook).state.trades == 2


def test_fields_without_a_place_are_listed(store: refold.Store, tmp_path: Path) -> None:
    """A field that is not known is a loss with file, line and pointer."""
    path = write(tmp_path, entry(0, None, more={"a/b": 1}))
    report = import_files(store, "ai-trader", [path])
    assert [(loss.where, loss.pointer) for loss in report.loss] == [(f"{path}:1", "/a~1b")]


def test_a_category_of_ones_own(store: refold.Store, tmp_path: Path) -> None:
    """With a category the stream is named by it and the file."""
    import_files(store, "ai-trader", [write(tmp_path, entry(0, None))], category="desk")
    assert store.head("desk-m-1") == 0


def test_a_skipped_trade_changes_no_book(store: refold.Store, tmp_path: Path) -> None:
    """no_trade is recorded as an event of its own, and counted."""
    path = write(tmp_path, entry(0, None, held="1"), entry(1, "no_trade", "0", "1"))
    assert import_files(store, "ai-trader", [path]).ok
    book = store.fold("trader-desk-m-1", TradingBook).state
    assert (book.skipped, book.trades, book.reports, book.mismatches) == (1, 0, 1, 0)


def test_a_report_that_omits_a_symbol_says_that_none_is_held() -> None:
    """What a report does not name counts as zero, so a missing holding is a difference."""
    book = TradingBook.initial()
    for event in (
        TradeExecuted(action="buy", symbol="X", amount=Decimal(2)),
        PositionsReported(positions={}),
    ):
        book = TradingBook.evolve(book, event)
    assert (book.mismatches, book.differences["X"].folded) == (1, Decimal(2))


def test_what_is_sold_and_not_held_cannot_have_happened() -> None:
    """Without a purchase, the sales of what it bought are named; an installed guard of what-if."""
    store = refold.open("memory:")
    bought, sold = (
        TradeExecuted(action=a, symbol="X", amount=Decimal(10)) for a in ("buy", "sell")
    )
    store.append("trader-1", [bought, sold, bought, sold, sold])
    history = store.branch("trader-1")
    assert oversold(history, history) == []
    found = oversold(history, history.without("trader-1@2"))
    assert [(one.id, why) for one, why in found] == [("trader-1@3", "sells 10 X where 0 are held")]
