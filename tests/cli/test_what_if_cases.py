"""`what-if` on what agents did: a tool's answer, a purchase, a payment that was not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.ledger.events import BetPlaced, BetWon, FundsDeposited, FundsWithdrawn
from tests.cli.running import Refold
from tests.conversation.importers.inputs import real
from tests.ledger.money import usdc


def named(run: Refold, stream: str, *changed: str) -> tuple[list[str], dict[str, str]]:
    """What loses its ground, and what cannot have happened, by id."""
    (found,) = run("what-if", stream, *changed, "--json").lines
    return [one["id"] for one in found["groundless"]], {
        one["id"]: one["reason"] for one in found["impossible"]
    }


TRADER = "trader-us-hourly-claude-3.7-sonnet"


def test_sales_of_shares_that_were_never_bought(run: Refold) -> None:
    """Without a purchase each later sale of what is no longer held is named, and no other.

    Whichever purchase it is, and where less was bought; where as much was, nothing is otherwise.
    """
    path = real("ai-trader", "us-hourly", "claude-3.7-sonnet.positions.jsonl")
    run("import", "ai-trader", str(path))
    why = named(run, TRADER, "--without", "11")[1]
    assert {int(one.partition("@")[2]): reason for one, reason in why.items()} == {
        357: "sells 3 NVDA where 0 are held",
        369: "sells 1 NVDA where -3 are held",
        455: "sells 2 NVDA where -4 are held",
    }
    assert named(run, TRADER, "--without", "45")[1] == {}
    both = named(run, TRADER, "--without", "11", "--without", "45")[1]
    assert [int(one.partition("@")[2]) for one in both] == [253, 351, 357, 369, 455]
    (bought,) = (one for one in run("show", TRADER, "--json").lines if one["version"] == 11)
    for amount, count in (("10", 0), ("6", 0), ("5", 1), ("3", 2)):
        less = {"type": "trade.executed", "data": {**bought["data"], "amount": amount}}
        found = named(run, TRADER, "--replace", f"11={json.dumps(less)}")[1]
        assert len(found) == count, amount
    sold = {**bought["data"], "action": "sell", "amount": "16"}
    added = json.dumps({"type": "trade.executed", "data": sold})
    assert len(named(run, TRADER, "--add", f"103={added}")[1]) == 7
    assert "cannot have happened: sells" in run("what-if", TRADER, "--without", "11").out


@pytest.fixture
def tau(run: Refold) -> list[str]:
    """The first conversations of the airline's agent, imported: no cause is on record."""
    file = real("tau-bench", "gpt-4o-airline.json")
    Path("few.json").write_text(json.dumps(json.loads(file.read_text())[:3]))
    run("import", "tau-bench", "few.json")
    return [line["stream"] for line in run("streams", "--json").lines]


def test_without_a_result_what_was_made_of_it_is_named(run: Refold, tau: list[str]) -> None:
    """Of each result of imported conversations, the answer that follows it; each event once.

    Without the last event nothing is, and one that is replaced by itself takes nothing away.
    """
    looked = 0
    for stream in tau:
        events = run("show", stream, "--json").lines
        for at, one in enumerate(events[:-1]):
            if one["type"] != "tool.result":
                continue
            looked += 1
            ids, impossible = named(run, stream, "--without", str(one["version"]))
            assert events[at + 1]["id"] in ids
            assert len(ids) == len(set(ids))
            assert impossible == {}
        assert named(run, stream, "--without", str(events[-1]["version"]))[0] == []
        first = next((one for one in events if one["type"] == "tool.result"), events[0])
        same = json.dumps({"type": first["type"], "data": first["data"]})
        assert named(run, stream, "--replace", f"{first['id']}={same}")[0] == []
    assert looked > 10


def test_each_groundless_event_is_named_once_and_all_that_follow(run: Refold) -> None:
    """A call left out, or both it and its result: what was made of it, up to the booking."""
    events = [
        ("user.utterance", {"text": "Book Ann Lee."}),
        ("tool.call", {"call_id": "a", "name": "find_patient", "arguments": '{"n": "Ann Lee"}'}),
        ("tool.result", {"call_id": "a", "result": {"id": "P-77"}}),
        ("agent.utterance", {"text": "When?"}),
        ("user.utterance", {"text": "At nine."}),
        ("tool.call", {"call_id": "b", "name": "book", "arguments": '{"who": "P-77"}'}),
        ("tool.result", {"call_id": "b", "result": "ok"}),
        ("agent.utterance", {"text": "Done."}),
    ]
    with refold.open("refold.db") as store:
        store.append("call-1", [refold.Event(kind, data) for kind, data in events])
    rest = [f"call-1@{n}" for n in (3, 5, 6, 7)]
    assert named(run, "call-1", "--without", "1")[0] == ["call-1@2", *rest]
    assert named(run, "call-1", "--without", "2")[0] == rest
    assert named(run, "call-1", "--without", "1", "--without", "call-1@2")[0] == rest
    assert named(run, "call-1", "--without", "2", "--without", "2")[0] == rest


LEDGER: list[Any] = [
    FundsDeposited(**usdc("10")),
    FundsDeposited(**usdc("5")),
    BetPlaced(bet="b", **usdc("6")),
    BetWon(bet="b", **usdc("12")),
    FundsWithdrawn(**usdc("20")),
]


@pytest.mark.parametrize(
    ("changed", "impossible"),
    [
        (["--without", "0"], ["call-1@2", "call-1@3", "call-1@4"]),
        (["--without", "1"], ["call-1@4"]),
        (["--without", "2"], ["call-1@3", "call-1@4"]),
        (["--without", "3"], ["call-1@4"]),
        (["--without", "4"], []),
        (["--add", '1={"type": "funds.withdrawn", "data": {"amount": "2", "asset": "USDC"}}'],
         ["call-1@4"]),
        (["--replace", '0={"type": "funds.deposited", "data": {"amount": "10", "asset": "USDC"}}'],
         []),
        (["--replace", '0={"type": "funds.deposited", "data": {"amount": "9", "asset": "USDC"}}'],
         []),
        (["--replace", '0={"type": "funds.deposited", "data": {"amount": "8", "asset": "USDC"}}'],
         ["call-1@4"]),
    ],
)  # fmt: skip
def test_payments_that_the_wallet_would_have_refused(
    run: Refold, changed: list[str], impossible: list[str]
) -> None:
    """Whatever is otherwise, and wherever: what could not have been paid then, in order."""
    with refold.open("refold.db") as store:
        store.append("call-1", LEDGER)
    assert list(named(run, "call-1", *changed)[1]) == impossible
