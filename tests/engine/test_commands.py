"""Commands: done once by their id, decided on what they see, refused with a reason, and traced."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Append, Appended, Decider, Event, Fold, Query, Rejected
from refold.engine.commands import DECISIONS_MAX
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, OutcomeUnknown, Unavailable, UsageError
from refold.outbox import EffectRequested, Outbox
from tests.engine.budgets import BUDGETS, check_budgets, spend
from tests.faults.disk import Disk
from tests.house.tree import ROOT
from tests.support.stores import KINDS, url_of

WAIT_S = 60


class Withdraw(msgspec.Struct, frozen=True):
    """Take money out."""

    amount: int


class Deposit(msgspec.Struct, frozen=True):
    """Put money in."""

    amount: int


Command = Withdraw | Deposit
balance: Fold[int] = Fold("balance", int)


@balance.on("money.moved")
def _moved(state: int, event: dict[str, int]) -> int:
    return state + event["amount"]


def decide(command: Command, state: int) -> Sequence[object]:
    """Nothing for nothing, no for too much."""
    amount = command.amount if isinstance(command, Deposit) else -command.amount
    if state + amount < 0:
        raise Rejected("too_little", left=state)
    return [Event("money.moved", {"amount": amount})] if amount else []


raising: Decider[int, Command] = Decider(balance, decide)
recording: Decider[int, Command] = Decider(balance, decide, rejections="recorded")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


def done(outcome: Appended | None) -> Appended:
    """The outcome of a command that recorded something."""
    assert outcome is not None
    return outcome


def rejected(call: Callable[[], object]) -> Rejected:
    """How a command was rejected."""
    with pytest.raises(Rejected) as caught:
        call()
    return caught.value


# -- ids ------------------------------------------------------------------------------------------


def test_an_id_is_kept_for_ever(tmp_path: Path) -> None:
    """By another store, by another process, and when the append has been packed."""
    path = tmp_path / "log.db"
    with refold.open(path) as store:
        store.execute("wallet-1", raising, Deposit(10))
        first = done(store.execute("wallet-1", raising, Withdraw(10), command_id="cmd-1"))
        store.append("other-1", [Event("note.taken")])
    repeated = [None, "compact"]
    for step in repeated:
        with refold.open(path) as store:
            if step == "compact":
                assert store.compact().events
            again = store.execute("wallet-1", raising, Withdraw(10), command_id="cmd-1")
            assert again == first._replace(duplicate=True)
        script = (
            "import sys, refold; from tests.engine.test_commands import Withdraw, raising\n"
            "with refold.open(sys.argv[1]) as store:\n"
            "    print(tuple(store.execute('wallet-1', raising, Withdraw(10), command_id='cmd-1')))"
        )
        command = [sys.executable, "-c", script, str(path)]
        run = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=True
        )
        assert run.stdout.strip() == str(tuple(first._replace(duplicate=True)))


@pytest.mark.parametrize(
    ("stream", "command"),
    [
        ("wallet-1", Deposit(11)),
        ("wallet-1", Withdraw(10)),
        ("wallet-2", Deposit(10)),
    ],
)
def test_an_id_names_one_command(store: Store, stream: str, command: Command) -> None:
    """Other arguments, another kind of command, another stream: refused, nothing is recorded."""
    store.execute("wallet-1", raising, Deposit(10), command_id="cmd-1")
    with pytest.raises(UsageError) as caught:
        store.execute(stream, raising, command, command_id="cmd-1")
    assert (caught.value.code, caught.value.key) == ("key_reused", "cmd-1")
    assert (caught.value.stream, caught.value.version) == ("wallet-1", 0)
    assert store.log_head() == 1


def test_a_command_that_records_nothing_leaves_its_id_free(store: Store) -> None:
    """It gives None each time; so does a rejection that is not recorded."""
    assert store.execute("wallet-1", raising, Deposit(0), command_id="cmd-1") is None
    with pytest.raises(Rejected):
        store.execute("wallet-1", raising, Withdraw(5), command_id="cmd-2")
    store.execute("wallet-1", raising, Deposit(5))
    assert done(store.execute("wallet-1", raising, Withdraw(5), command_id="cmd-2")).version == 1


def test_whoever_comes_with_an_id_gets_one_outcome(store: Store) -> None:
    """Of many at once one records; the others are told the same."""
    barrier = threading.Barrier(8)

    def run(_: int) -> Appended:
        barrier.wait(WAIT_S)
        return done(store.execute("wallet-1", raising, Deposit(10), command_id="cmd-1"))

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(run, range(8), timeout=WAIT_S))
    assert sorted(outcome.duplicate for outcome in outcomes) == [False] + [True] * 7
    assert len({outcome._replace(duplicate=False) for outcome in outcomes}) == 1
    assert store.log_head() == 1


@pytest.mark.parametrize("over", [None, Query(types=["money.moved"], tags=["owner:ann"])])
@pytest.mark.parametrize("how", ["error", "late", "torn"])
def test_a_repetition_settles_an_unknown_outcome(
    tmp_path: Path, how: Any, over: Query | None
) -> None:
    """Whichever operation of the disk failed: again under the id, and it is done exactly once."""
    for number in range(40):
        with Disk() as disk, disk.open(tmp_path / f"{how}-{number}.db") as store:
            store.execute("wallet-1", raising, Deposit(10), over=over)
            disk.fail(at=len(disk.operations) + number, how=how)
            with suppress(OutcomeUnknown, Unavailable):
                store.execute("wallet-1", raising, Withdraw(10), command_id="cmd-1", over=over)
            disk.mend()
            store.execute("wallet-1", raising, Withdraw(10), command_id="cmd-1", over=over)
            assert store.fold("wallet-1", balance) == (0, 1, 2)
            if not disk.failed:
                assert number > 2
                return
    raise AssertionError("over 40 operations")


@pytest.mark.parametrize("command_id", ["", "x" * 256, "a\nb", 7])
def test_a_wrong_id_is_refused(store: Store, command_id: Any) -> None:
    """An id is a name."""
    with pytest.raises(InvalidEvent):
        store.execute("wallet-1", raising, Deposit(1), command_id=command_id)
    assert store.log_head() == 0


def test_a_command_with_an_id_must_be_json(store: Store) -> None:
    """Another one could not be told from a repetition; without an id anything will do."""
    anything: Decider[int, object] = Decider(balance, lambda *_: [Event("money.moved")])
    with pytest.raises(UsageError):
        store.execute("wallet-1", anything, object(), command_id="cmd-1")
    assert store.log_head() == 0
    empty: Decider[int, object] = Decider(Fold("none", int), lambda *_: [Event("note.taken")])
    assert store.execute("wallet-1", empty, object())


# -- rejections -----------------------------------------------------------------------------------


def test_a_recorded_rejection_is_an_event(store: Store) -> None:
    """It is raised all the same, and says what was refused and why."""
    call = lambda: store.execute("wallet-1", recording, Withdraw(5), command_id="cmd-1")  # noqa: E731
    assert rejected(call).facts == {"reason": "too_little", "left": 0}
    (event,) = store.read("wallet-1")
    assert event.type == "command.rejected"
    assert event.data == {
        "command": "Withdraw",
        "reason": "too_little",
        "code": "rejected",
        "facts": {"left": 0},
    }
    assert event.metadata["command"] == "cmd-1"


def test_a_rejection_without_an_id_is_recorded_each_time(store: Store) -> None:
    """And decided each time."""
    for _ in range(2):
        rejected(lambda: store.execute("wallet-1", recording, Withdraw(5)))
    assert [e.type for e in store.read("wallet-1")] == ["command.rejected"] * 2


def test_facts_of_a_rejection_come_back_as_json(store: Store) -> None:
    """Exact numbers as text; a code of its own stays."""
    facts = {"left": Decimal("1.50"), "limits": [1, 2], "at": "noon"}

    def refuse(command: Command, state: int) -> Rejected:
        return Rejected("no", code="over_limit", **facts)

    refusing: Decider[int, Command] = Decider(balance, refuse, rejections="recorded")
    call = lambda: store.execute("wallet-1", refusing, Deposit(5), command_id="cmd-1")  # noqa: E731
    first = rejected(call)
    assert (first.code, first.left) == ("over_limit", Decimal("1.50"))
    again = rejected(call)
    assert (again.code, again.reason) == ("over_limit", "no")
    assert again.facts == {"reason": "no", "left": "1.50", "limits": [1, 2], "at": "noon"}
    assert store.head("wallet-1") == 0


@pytest.mark.parametrize("fact", [object(), float("nan"), {1: object()}])
def test_a_fact_that_cannot_be_recorded_is_told(store: Store, fact: object) -> None:
    """Nothing is recorded; the error says where."""

    def refuse(command: Command, state: int) -> Rejected:
        return Rejected("no", odd=fact)

    refusing: Decider[int, Command] = Decider(balance, refuse, rejections="recorded")
    with pytest.raises(InvalidEvent) as caught:
        store.execute("wallet-1", refusing, Deposit(5))
    assert caught.value.path.startswith("/facts/odd")
    assert store.log_head() == 0


# -- causes ---------------------------------------------------------------------------------------


def test_the_chain_of_causes(store: Store) -> None:
    """From an event to the command that it caused, to its events, to an effect, to its outcome."""
    store.append("call-1", [Event("user.utterance", {"text": "Pay out!"})])
    (said,) = store.read("call-1")
    assert said.cause == {"causation": "call-1@0", "correlation": "call-1@0"}

    def pay(command: Withdraw, state: int) -> Sequence[object]:
        return [
            Event("money.moved", {"amount": -command.amount}),
            EffectRequested("transfer", {"amount": command.amount}),
        ]

    paying: Decider[int, Withdraw] = Decider(balance, pay)
    store.execute("wallet-1", paying, Withdraw(5), command_id="cmd-1", metadata=said.cause)
    Outbox(store, {"transfer": lambda effect, key: "tx-1"}).catch_up()
    moved, requested, committed = store.read("wallet-1")
    assert moved.metadata == requested.metadata
    assert moved.metadata == {
        "command": "cmd-1",
        "causation": "call-1@0",
        "correlation": "call-1@0",
    }
    assert committed.metadata == {"causation": "wallet-1@1", "correlation": "call-1@0"}
    assert committed.cause == {"causation": "wallet-1@2", "correlation": "call-1@0"}


def test_a_command_begins_a_correlation(store: Store) -> None:
    """One that nothing caused is what its consequences correlate with."""
    store.execute("wallet-1", raising, Deposit(5), command_id="cmd-1", metadata={"by": "ann"})
    (event,) = store.read("wallet-1")
    assert event.metadata == {"command": "cmd-1", "correlation": "cmd-1", "by": "ann"}
    store.execute("wallet-1", raising, Deposit(5), metadata={"by": "bob"})
    assert list(store.read("wallet-1"))[-1].metadata == {"by": "bob"}


# -- deciding again -------------------------------------------------------------------------------


def test_deciding_again_is_bounded(store: Store) -> None:
    """Who loses every race is told, after ten decisions."""
    seen: list[int] = []

    def late(command: Command, state: int) -> Sequence[object]:
        seen.append(state)
        store.append("wallet-1", [Event("money.moved", {"amount": 1})])
        return [Event("money.moved", {"amount": 100})]

    unlucky: Decider[int, Command] = Decider(balance, late)
    with pytest.raises(Conflict):
        store.execute("wallet-1", unlucky, Deposit(1), command_id="cmd-1")
    assert seen == list(range(DECISIONS_MAX))
    assert store.find("cmd-1") is None


def test_a_decision_over_a_query_is_made_again_for_its_events_alone(store: Store) -> None:
    """An append that matches the query makes it look again; another one does not."""
    query = Query(types=["money.moved"], tags=["owner:ann"])
    meanwhile = iter(
        [
            Append("wallet-9", [Event("money.moved", {"amount": 7})], tags=["owner:bob"]),
            Append("wallet-9", [Event("note.taken")], tags=["owner:ann"]),
            Append("wallet-9", [Event("money.moved", {"amount": 7})], tags=["owner:ann"]),
        ]
    )
    seen: list[int] = []

    def slow(command: Command, state: int) -> Sequence[object]:
        seen.append(state)
        if (append := next(meanwhile, None)) is not None:
            store.append(append.stream, append.events, tags=append.tags)
        return [Event("money.moved", {"amount": command.amount})]

    deciding: Decider[int, Command] = Decider(balance, slow)
    for amount in (1, 2, 3):
        store.execute("wallet-1", deciding, Deposit(amount), over=query)
    assert seen == [0, 1, 3, 10]
    assert store.fold(query, balance).state == 13
    tags = [e.metadata["tags"] for e in store.read("wallet-1")]
    assert tags == [["owner:ann"]] * 3


def test_tags_are_those_of_the_query_and_those_given(store: Store) -> None:
    """Without the query's, the next decision over it would not see the event."""
    query = Query(tags=["a:1"]) | Query(types=["money.moved"], tags=["b:1", "a:1"])
    store.execute("wallet-1", raising, Deposit(1), over=query)
    store.execute("wallet-1", raising, Deposit(1), over=query, tags=["c:1"])
    store.execute("wallet-1", raising, Deposit(1), tags=["d:1"])
    tags = [e.metadata["tags"] for e in store.read("wallet-1")]
    assert tags == [["a:1", "b:1"], ["c:1", "a:1", "b:1"], ["d:1"]]


def test_a_mistyped_way_with_rejections_is_refused() -> None:
    """It would have left them unrecorded without a word."""
    with pytest.raises(UsageError):
        Decider(balance, lambda _c, _s: [], rejections="record")  # type: ignore[arg-type]


def test_a_command_over_a_query_is_done_once_too(store: Store) -> None:
    """Its own event matches the query, and does not stand in the way of its repetition."""
    query = Query(types=["money.moved"], tags=["owner:ann"])
    first = done(store.execute("wallet-1", raising, Deposit(5), command_id="c", over=query))
    store.execute("wallet-2", raising, Withdraw(5), over=query)
    again = store.execute("wallet-1", raising, Deposit(5), command_id="c", over=query)
    assert again == first._replace(duplicate=True)
    call = lambda: store.execute("wallet-1", recording, Withdraw(9), command_id="d", over=query)  # noqa: E731
    assert rejected(call).facts == rejected(call).facts == {"reason": "too_little", "left": 0}


def test_a_branch_decides_on_its_own_history(store: Store) -> None:
    """What was shared counts, what came after the fork elsewhere does not."""
    store.execute("wallet-1", raising, Deposit(5))
    store.branch("wallet-1").adding(Event("money.moved", {"amount": 20})).save("wallet-1~b")
    store.execute("wallet-1", raising, Deposit(100))
    assert rejected(lambda: store.execute("wallet-1~b", raising, Withdraw(26))).left == 25
    assert done(store.execute("wallet-1~b", raising, Withdraw(25))).version == 3
    assert store.fold("wallet-1", balance).state == 105


def test_threads_share_a_budget(store: Store) -> None:
    """Agents with streams of their own never spend more than there is, nor less."""
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda worker: spend(store, worker), range(4), timeout=WAIT_S))
    check_budgets(store, told)
    assert all(set(spent.left) == set(BUDGETS) for spent in told)


@pytest.mark.parametrize("url", KINDS)
def test_the_same_in_tasks(tmp_path: Path, url: str) -> None:
    """``execute`` with an id, causes, a query and recorded rejections, awaited."""
    query = Query(types=["money.moved"], tags=["owner:ann"])

    async def run() -> None:
        where = url_of(url, tmp_path)
        async with refold.open_async(where, synchronous="NORMAL") as store:
            calls = [
                store.execute(
                    f"wallet-{n}", recording, Deposit(1), command_id=f"c-{n % 10}-{n}", over=query
                )
                for n in range(20)
            ]
            outcomes = [done(outcome) for outcome in await asyncio.gather(*calls)]
            assert len({outcome.position for outcome in outcomes}) == 20
            again = await store.execute(
                "wallet-3", recording, Deposit(1), command_id="c-3-3", over=query
            )
            assert again == outcomes[3]._replace(duplicate=True)
            with pytest.raises(Rejected):
                await store.execute("wallet-3", recording, Withdraw(21), over=query)
            assert (await store.fold(query, balance)).state == 20
            assert await store.find("c-3-3") == [again]

    asyncio.run(run())
