"""The agent loses and doubles nothing, whatever fails, and says why it stops."""

from __future__ import annotations

import json
import multiprocessing
import signal
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import refold
from examples.casino import meaning
from examples.casino.agent import Agent
from examples.casino.client import CasinoClient
from examples.casino.credentials import registered
from examples.casino.effects import ASSET, BET, DiceRolled
from examples.casino.faults import Faults
from examples.casino.reconcile import Difference, Reconciliation, reconcile
from examples.casino.report import audit, report, revealed
from examples.casino.service import Casino
from refold.errors import Rejected, Unavailable
from refold.ledger import Portfolio
from refold.ledger.events import FundsDeposited
from refold.outbox import EffectRequested, Outbox
from tests.casino import killed
from tests.support.soak import bound

WAIT_S = 60
BETS = bound(1, 4)
OVERLAP_S = 1.0


class Table:
    """A casino, an account there, and the log of who plays at it."""

    def __init__(self, casino: Casino, store: refold.Store, agent_id: str = "001") -> None:
        self.casino, self.store, self.agent_id = casino, store, agent_id
        self.api_key = casino.books.register(agent_id, "registration", "client")["api_key"]
        self.client = CasinoClient(casino.url, self.api_key, timeout_s=0.5)
        self.account = casino.books.accounts[agent_id]

    def agent(self, **options: Any) -> Agent:
        """An agent that has just been started."""
        defaults: dict[str, Any] = {
            "first_delay_s": 0.001,
            "overlap_s": OVERLAP_S,
            "agent_id": self.agent_id,
        }
        return Agent(self.store, self.client, **(defaults | options))

    def move(self, kind: str, amount: str, **more: str) -> str:
        """A transaction of the house's; its id."""
        moved = self.casino.books.move(self.account, kind, Decimal(amount), **more)
        return str(moved["id"])

    def reconciled(self) -> Reconciliation:
        """The ledger and the books, side by side."""
        statement = self.casino.books.statement(self.account)
        return reconcile(self.store, f"agent-{self.agent_id}", statement)

    def keys(self) -> Counter[str]:
        """How many bets the casino has for each idempotency key."""
        entries = (entry.transaction for entry in self.account.entries)
        return Counter(t["key"] for t in entries if t["type"] == "bet")


@pytest.fixture
def casino() -> Iterator[Casino]:
    with Casino(seed=3) as casino:
        yield casino


@pytest.fixture
def table(casino: Casino) -> Iterator[Table]:
    with refold.open("memory:") as store:
        table = Table(casino, store)
        yield table
        table.client.close()


def types(store: refold.Store, stream: str = "agent-001") -> Counter[str]:
    """How many events of each type."""
    return Counter(event.type for event in store.read(stream))


# -- a quiet evening ----------------------------------------------------------------------------


def test_it_registers_claims_bets_and_agrees_with_the_house(table: Table) -> None:
    """From nothing to forty bets: every event is there, and the ledger is that of the casino."""
    played = table.agent().play(bets=40)
    assert played == (40, "done")
    counts = types(table.store)
    assert counts["agent.registered"] == counts["faucet.claimed"] == 1
    assert counts["bet.placed"] == counts["bet.won"] + counts["bet.lost"] == 40
    assert counts["effect.requested"] == counts["effect.committed"] == 41
    assert counts["fee.charged"] == 40
    assert table.reconciled().agrees
    assert set(table.keys().values()) == {1}


def test_a_decision_and_its_request_are_one_append(table: Table) -> None:
    """There is no bet without a request, and the stake is in both to the last decimal."""
    table.agent().play(bets=5)
    events = list(table.store.read("agent-001"))
    for placed, asked in pairwise(events):
        if placed.type == "bet.placed":
            assert asked.type == "effect.requested"
            assert asked.recorded_at_us == placed.recorded_at_us
            assert asked.data["arguments"]["amount"] == placed.data["amount"]
            assert asked.metadata["command"] == placed.metadata["command"] == placed.data["bet"]


def test_it_goes_on_from_where_it_was(table: Table) -> None:
    """``bets`` counts those of its whole life; having enough, it places none."""
    assert table.agent().play(bets=10).bets == 10
    assert table.agent().play(bets=15).bets == 5
    assert table.agent().play(bets=15) == (0, "done")
    assert table.reconciled().agrees


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"budget": Decimal("3")}, "budget_exceeded"),
        ({"hourly_bets_max": 7}, "bet_limit"),
    ],
)
def test_a_guard_ends_the_evening_with_its_reason(
    table: Table, options: dict[str, Any], reason: str
) -> None:
    """What is under way is brought to its end first."""
    played = table.agent(**options).play(bets=1_000)
    assert played.reason == reason
    found = table.reconciled()
    assert found.agrees
    spent = 100 - found.ours.available
    assert spent <= 3 + Decimal("0.1") if reason == "budget_exceeded" else played.bets == 7


def test_all_other_money_comes_from_the_casinos_list(table: Table) -> None:
    """Deposits, withdrawals, escrow both ways, and bets placed by other hands."""
    agent = table.agent()
    agent.play(bets=4)
    table.move("deposit", "10.000001")
    table.move("withdraw", "2.5")
    table.move("escrow", "7", escrow="e1")
    table.move("escrow", "-3", escrow="e1")
    table.move("escrow", "-1", escrow="e1", to="counterparty")
    table.move("bet", "1", bet_id="by-hand")
    table.move("win", "2", bet_id="by-hand")
    agent.play(bets=8)
    found = table.reconciled()
    assert found.agrees
    assert found.ours.escrow == 3
    account = table.store.fold("agent-001", Portfolio).state.of(ASSET)
    assert (account.deposited, account.withdrawn, account.paid) == (
        Decimal("10.000001"),
        Decimal("2.5"),
        Decimal(1),
    )


def test_the_dice_are_checked_and_loaded_ones_are_found(table: Table) -> None:
    """Every roll is made again from the revealed seed; one that is another is named."""
    agent = table.agent()
    agent.play(bets=10)
    stream = "dice-agent-001"
    assert audit(table.store, stream) == (0, [], 10)
    assert revealed(table.store, agent, table.client) == (10, [], 0)
    first: DiceRolled = next(table.store.read(stream)).event
    loaded = {"roll": (first.roll + 1) % 10_000, "bet_id": "bet-x"}
    said = {name: getattr(first, name) for name in first.__struct_fields__} | loaded
    table.store.append(stream, [DiceRolled(**said)])
    assert audit(table.store, stream) == (11, ["bet-x"], 0)


def test_it_reports_money_bets_and_the_feed(table: Table) -> None:
    """The report says what there is, what is open, and how it went."""
    agent = table.agent()
    agent.play(bets=10)
    text = "\n".join(report(table.store, agent))
    account = table.store.fold("agent-001", Portfolio).state.of(ASSET)
    for said in (str(account.available), "bets        10:", "open bets   0", "ROI ", "1 faucet"):
        assert said in text


# -- the casino is unwell -------------------------------------------------------------------------


def test_an_answer_that_was_lost_is_asked_for(casino: Casino, table: Table) -> None:
    """Each bet of an evening on which every second answer is lost is played once."""
    table.client = CasinoClient(casino.url, table.api_key, timeout_s=0.2)
    table.agent().play(bets=2)
    casino.faults = Faults(lose=0.5, silence_s=0.01)
    table.agent().play(bets=20)
    casino.faults = Faults()
    table.agent().play(bets=20)
    assert table.reconciled().agrees
    assert (len(table.keys()), set(table.keys().values())) == (20, {1})


def test_a_bet_that_is_refused_gives_the_stake_back(table: Table) -> None:
    """The casino knows of a withdrawal that the agent has not heard of: 402, and no loss."""
    agent = table.agent()
    agent.play(bets=1)
    table.move("withdraw", str(table.account.balance))
    agent._place_some(agent.state().of(ASSET), 2)
    agent.finish()
    counts = types(table.store)
    assert (counts["bet.cancelled"], counts["effect.failed"]) == (1, 1)
    assert table.reconciled().agrees


def test_a_refused_bet_is_not_played_after_a_crash(table: Table) -> None:
    """Between the cancellation and the end of the effect the agent dies; meanwhile money came."""
    agent = table.agent()
    agent.begin()
    refused = EffectRequested(name=BET, arguments={"bet": "b", "amount": "500", "chance": "49.50"})
    (key,) = table.store.append("agent-001", [refused]).ids
    placed = refold.Event("bet.placed", {"bet": "b", "amount": "500", "asset": ASSET})
    table.store.append("agent-001", [placed])
    effects = agent._outbox._handlers
    with pytest.raises(Rejected):
        effects[BET](refused, key)
    table.move("deposit", "1000")
    table.agent().begin()
    assert table.keys() == {}
    assert types(table.store)["effect.failed"] == 1


def test_a_request_that_was_given_up_is_taken_up_again(casino: Casino, table: Table) -> None:
    """Under the key it had: played or not before, it is one bet."""
    agent = table.agent()
    agent.begin()
    casino.faults = Faults(fail=1.0)
    impatient = Outbox(table.store, agent._outbox._handlers, attempts_max=1)
    agent._place_some(agent.state().of(ASSET), 4)
    impatient.catch_up()
    assert [types(table.store)["effect.failed"], len(agent.state().bets.open)] == [4, 4]
    casino.faults = Faults()
    table.agent().play(bets=4)
    assert table.reconciled().agrees
    assert set(table.keys().values()) == {1}


def test_no_bet_is_placed_at_a_casino_that_gives_no_answer(casino: Casino, table: Table) -> None:
    """Neither at the start nor after some that were not answered: the budget is not for those."""
    agent = table.agent()
    agent.play(bets=4)
    casino.faults = Faults(fail=1.0)
    with pytest.raises(Unavailable):
        table.agent().play(bets=8)
    assert types(table.store)["bet.placed"] == 4
    agent.begin = lambda: None  # type: ignore[method-assign]
    agent._outbox = Outbox(table.store, agent._outbox._handlers, attempts_max=1)
    assert agent.play(bets=100) == (4, "no answer")
    casino.faults = Faults()
    assert table.agent().play(bets=8).reason == "done"
    assert table.reconciled().agrees


def test_a_casino_that_is_down_stops_no_log(casino: Casino, table: Table) -> None:
    """A poll that fails is made good by a later one."""
    agent = table.agent()
    agent.play(bets=4)
    casino.faults = Faults(fail=1.0)
    agent._poll()
    with pytest.raises(Unavailable):
        agent.poller.poll()
    casino.faults = Faults()
    table.move("deposit", "1")
    agent._poll()
    assert table.reconciled().agrees


# -- what reconciling finds ---------------------------------------------------------------------


def test_every_difference_is_named_by_its_transaction(table: Table) -> None:
    """Too much, too little, missing here, missing there, and twice: each with both amounts."""
    agent = table.agent()
    agent.play(bets=20)
    assert table.reconciled().differences == []
    missing = table.move("deposit", "3")
    ours = FundsDeposited(amount=Decimal(4), asset=ASSET, reference="tx-none")
    table.store.append("agent-001", [ours])
    fee = next(e for e in table.store.read("agent-001") if e.type == "fee.charged")
    table.store.append("agent-001", [refold.Event(fee.type, fee.data)])
    win = next(e.transaction for e in table.account.entries if e.transaction["type"] == "win")
    right, win["amount"] = Decimal(win["amount"]), "9.99"
    stake = next(e.transaction for e in table.account.entries if e.transaction["type"] == "bet")
    owed = -Decimal(stake["amount"])
    stake["key"] += "0000"
    found = {difference.id: difference for difference in table.reconciled().differences}
    charged = -Decimal(fee.data["amount"])
    assert found.pop(missing) == Difference(missing, "deposit", Decimal(3), Decimal(0))
    assert found.pop("tx-none").ours == 4
    assert found.pop(fee.data["reference"])[2:] == (charged, 2 * charged)
    assert found.pop(win["id"])[2:] == (Decimal("9.99"), right)
    assert found.pop(stake["id"])[2:] == (owed, Decimal(0))
    assert [difference[2:] for difference in found.values()] == [(Decimal(0), owed)]
    assert not table.reconciled().agrees


def test_money_of_an_unknown_type_is_a_difference_until_it_is_understood(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The casino invents cashback: kept, reported by its id, made good once it has a meaning."""
    agent = table.agent()
    agent.play(bets=4)
    cashback = table.move("cashback", "1.25")
    agent.play(bets=8)
    assert agent.poller.status().unrecognized == {"cashback": 1}
    found = table.reconciled()
    (difference,) = found.differences
    assert difference == Difference(cashback, "cashback", Decimal("1.25"), Decimal(0))
    assert found.theirs.available - found.ours.available == Decimal("1.25")
    monkeypatch.setitem(meaning.PLAIN, "cashback", FundsDeposited)
    assert agent.poller.reconsider() == 1
    assert table.reconciled().agrees


def test_an_open_bet_is_no_agreement(casino: Casino, table: Table) -> None:
    """A bet that was decided and not yet asked for is reported as open."""
    agent = table.agent()
    agent.begin()
    agent._place_some(agent.state().of(ASSET), 1)
    found = table.reconciled()
    assert (found.open_bets, found.agrees) == (1, False)
    assert [(d.kind, d.theirs) for d in found.differences] == [("bet.placed", Decimal(0))]


# -- the agent dies -----------------------------------------------------------------------------


def test_it_may_be_killed_at_any_line(casino: Casino, tmp_path: Path) -> None:
    """Before every commit and every request of an evening, one death each.

    The next agent finishes what was begun, and the books agree: each bet was played once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.casino.killed", "httpx2", "refold.backends.sqlite"])
    for line in range(1_000):
        path = tmp_path / f"{line}.db"
        with refold.open(path, synchronous="NORMAL") as store:
            table = Table(casino, store, f"{line}")
            args = (str(path), casino.url, table.api_key, table.agent_id, BETS, line)
            process = context.Process(target=killed.play, args=args)
            process.start()
            process.join(WAIT_S)
            assert process.exitcode in (-signal.SIGKILL, 0)
            table.agent().play(bets=BETS)
            table.client.close()
            found = table.reconciled()
            assert found.agrees, (line, found)
            assert list(table.keys().values()) == [1] * BETS
            assert types(store, f"agent-{line}")["bet.placed"] == BETS
        if process.exitcode == 0:
            assert line > 15, "it came to no lines"
            return
    raise AssertionError("it never ends")


def test_two_agents_on_one_ledger_play_each_bet_once(casino: Casino, tmp_path: Path) -> None:
    """One was taken for dead and another started: they take turns, and neither doubles a bet."""
    with refold.open(tmp_path / "log.db", synchronous="NORMAL") as store:
        table = Table(casino, store)
        failures: list[BaseException] = []

        def play() -> None:
            try:
                table.agent().play(bets=30)
            except BaseException as error:
                failures.append(error)

        agents = [threading.Thread(target=play) for _ in range(2)]
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.join()
        assert failures == []
        table.agent().play(bets=30)
        assert table.reconciled().agrees
        assert (len(table.keys()), set(table.keys().values())) == (30, {1})
        counts = types(store)
        assert counts["bet.placed"] == counts["bet.won"] + counts["bet.lost"] == 30
        table.client.close()


def test_the_api_key_is_kept_beside_the_log_for_its_owner_alone(
    casino: Casino, tmp_path: Path
) -> None:
    """It is in no event; a second start finds it; a registration whose answer was lost, too."""
    path = tmp_path / "key"
    casino.faults = Faults(lose=1.0, silence_s=0.01)
    with pytest.raises(Unavailable):
        registered(path, casino.url, "001", timeout_s=0.05)
    casino.faults = Faults()
    credentials = registered(path, casino.url, "001", timeout_s=1)
    assert registered(path, "http://127.0.0.1:1", "001", timeout_s=1) == credentials
    assert credentials.api_key == casino.books.accounts["001"].api_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["api_key"] == credentials.api_key
    with refold.open("memory:") as store:
        client = CasinoClient(casino.url, credentials.api_key)
        Agent(store, client, overlap_s=OVERLAP_S).play(bets=2)
        client.close()
        log = b"".join(event.raw for event in store.read_all())
    assert credentials.api_key.encode() not in log
