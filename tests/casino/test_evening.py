"""A whole evening: all faults, a thousand bets, and an agent that is killed again and again."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec
import pytest

import refold
from examples.casino.credentials import Credentials
from examples.casino.effects import ASSET
from examples.casino.faults import ALL, Faults
from examples.casino.reconcile import reconcile
from examples.casino.report import audit
from examples.casino.service import Casino
from refold.ledger import Portfolio
from refold.outbox import Outbox
from tests.house.tree import ROOT
from tests.support.soak import bound

BETS = bound(1_000, 10_000)
KILLS = bound(5, 60)
WAIT_S = 120
FAULTS = msgspec.structs.replace(ALL, silence_s=0.02)
PLAY = [sys.executable, "-m", "examples.casino", "play", "--synchronous", "NORMAL"]
QUICK = ["--timeout", "0.5", "--overlap", "1", "--at-once", "12", "--budget", "1000"]


def started(casino: Casino, path: Path) -> subprocess.Popen[str]:
    """The agent of the example, as its README starts it, at the same table as before."""
    where = ["--url", casino.url, "--db", str(path), "--bets", str(BETS)]
    return subprocess.Popen([*PLAY, *QUICK, *where], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def move_money(casino: Casino, random: Random) -> None:
    """The house does something of its own, and its clock may be set."""
    account = casino.books.accounts["001"]
    casino.books.move(account, "deposit", Decimal(random.randint(1, 9_999)).scaleb(-4))
    casino.books.move(account, "withdraw", Decimal(random.randint(1, 9_999)).scaleb(-6))
    casino.books.move(account, "escrow", Decimal("0.3"), escrow="e1")
    casino.books.move(account, "escrow", Decimal("-0.1"), escrow="e1")
    casino.books.move(account, "escrow", Decimal("-0.1"), escrow="e1", to="counterparty")
    skew_s = random.choice([FAULTS.skew_s, -40.0, 3_600.0, 0.0])
    casino.faults = msgspec.structs.replace(FAULTS, skew_s=skew_s)


def test_a_thousand_bets_agree_to_the_last_decimal(tmp_path: Path) -> None:
    """Failures, lost answers, repetitions, disorder, unknown types, lateness, wrong clocks, limits.

    And deaths at any moment. What is left at the end is what the casino has in its books, and
    every roll is one that it had committed to.
    """
    random = Random(5)
    path = tmp_path / "casino.db"
    with Casino(seed=5, faults=FAULTS) as casino:
        for number in range(KILLS):
            agent = started(casino, path)
            goal = casino.requests + random.randint(1, BETS // KILLS)
            try:
                assert casino.wait_for(goal, timeout_s=WAIT_S), "it asks for nothing"
            finally:
                agent.kill()
                agent.communicate(timeout=WAIT_S)
            assert agent.returncode == -9, f"death {number} came too late"
            if "001" in casino.books.accounts and casino.books.accounts["001"].balance > 10:
                move_money(casino, random)
        said, _ = started(casino, path).communicate(timeout=WAIT_S)
        assert "they agree to the last decimal" in said
        judge(casino, path)


def judge(casino: Casino, path: Path) -> None:
    """The log by itself: nothing lost, nothing doubled, nothing secret, nothing unfinished."""
    account = casino.books.accounts["001"]
    with refold.open(path) as store:
        found = reconcile(store, "agent-001", casino.books.statement(account))
        assert found.agrees, found
        assert found.ours.available == account.balance
        ours = store.fold("agent-001", Portfolio).state.of(ASSET)
        assert (ours.bets, ours.wins + ours.losses + ours.cancelled) == (BETS, BETS)
        keys = Counter(e.transaction.get("key") for e in account.entries if _is_bet(e.transaction))
        assert set(keys.values()) == {1}
        assert len(keys) == BETS - ours.cancelled
        status = Outbox(store, {}).status()
        assert (status.pending, status.committed + status.failed) == (0, status.requested)
        listed = store.fold("feed-casino-001", refold.feeds.Feed).state
        told = Counter(entry.transaction["type"] for entry in account.entries)
        assert listed.received | listed.unrecognized == dict(told)
        assert listed.unrecognized == {"badge": told["badge"]}
        assert audit(store, "dice-agent-001") == (ours.wins + ours.losses, [], 0)
        sizes = {part.part: part.size_bytes for part in store.sizes()}
        assert sizes["snapshots"] > 0, "it starts from the first event each time"
        log = b"".join(event.raw for event in store.read_all())
    key = msgspec.json.decode(path.with_name("casino.db.001.key").read_bytes(), type=Credentials)
    assert key.api_key.encode() not in log


def _is_bet(transaction: dict[str, str]) -> bool:
    return transaction["type"] == "bet"


def test_the_two_commands_of_the_readme(tmp_path: Path) -> None:
    """``serve`` says where it is, ``play`` plays there, twice, and both end as they should."""
    serve = [sys.executable, "-m", "examples.casino", "serve", "--port", "0", "--faults", "none"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, cwd=ROOT) as house:
        try:
            assert house.stdout is not None
            url = house.stdout.readline().split()[5].rstrip(",")
            where = ["--url", url, "--db", str(tmp_path / "casino.db")]
            for bets, played in ((5, "played 5 bets: done"), (8, "played 3 bets: done")):
                done = subprocess.run(
                    [*PLAY, *where, "--bets", str(bets)], capture_output=True, text=True, cwd=ROOT
                )
                assert done.returncode == 0, done.stderr
                assert done.stdout.startswith(played)
                assert "they agree to the last decimal" in done.stdout
                assert "as committed to" in done.stdout
        finally:
            house.kill()
    gone = subprocess.run([*PLAY, *where, "--timeout", "0.1"], capture_output=True, cwd=ROOT)
    assert (gone.returncode, gone.stderr.split(b":")[0]) == (3, b"unreachable")


def test_play_says_when_the_books_differ(tmp_path: Path) -> None:
    """Exit code 1, and each difference by its transaction."""
    path = tmp_path / "casino.db"
    with Casino(seed=5, faults=Faults()) as casino:
        where = ["--url", casino.url, "--db", str(path), "--bets", "2"]
        assert subprocess.run([*PLAY, *where], cwd=ROOT, capture_output=True).returncode == 0
        moved = casino.books.move(casino.books.accounts["001"], "cashback", Decimal("0.5"))
        done = subprocess.run([*PLAY, *where], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{moved['id']} (cashback): 0.5 there, 0 here" in done.stdout
    assert "theirs less ours is 0.500000, and these entries make 0.5" in done.stdout


def play(casino: Casino, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """``play`` to its end."""
    where = ["--url", casino.url, "--db", str(path), *options]
    return subprocess.run([*PLAY, *where], cwd=ROOT, capture_output=True, text=True)


def test_play_waits_for_what_is_listed_late(tmp_path: Path) -> None:
    """It reconciles when everything is listed, and the first run agrees.

    A newcomer's first run ended with a difference: fees that the casino had not listed yet.
    """
    with Casino(seed=5, faults=Faults(late_s=1.0)) as casino:
        done = play(casino, tmp_path / "casino.db", "--bets", "8")
    assert done.returncode == 0, done.stdout
    assert "not listed yet: polling on" in done.stdout
    assert "they agree to the last decimal" in done.stdout


def test_play_waits_no_longer_than_it_is_told(tmp_path: Path) -> None:
    """Then it says that they do not agree yet, and which transactions it has waited for."""
    path = tmp_path / "casino.db"
    with Casino(seed=5) as casino:
        assert play(casino, path, "--bets", "2").returncode == 0
        casino.faults = Faults(late_s=1e6)
        done = play(casino, path, "--bets", "4", "--patience", "0.2")
    assert done.returncode == 1
    assert done.stdout.count(" here: not listed yet") == 2
    assert "THEY DO NOT AGREE YET" in done.stdout


def test_play_keeps_to_its_budget(tmp_path: Path) -> None:
    """The option is what the agent may lose."""
    with Casino(seed=5) as casino:
        done = play(casino, tmp_path / "casino.db", "--bets", "100", "--budget", "0.5")
    assert "budget_exceeded" in done.stdout


@pytest.mark.parametrize(
    "option", ["--budget=x", "--budget=nan", "--budget=-1", "--overlap=x", "--patience=inf"]
)
def test_an_option_that_is_no_amount_is_a_usage_error(option: str) -> None:
    """Exit code 2 and one line that names the option; no traceback."""
    done = subprocess.run([*PLAY, option], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"argument {option.split('=')[0]}: " in done.stderr
    assert "Traceback" not in done.stderr
