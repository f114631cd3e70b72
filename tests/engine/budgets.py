"""Budgets that several agents share: the decision rests on the streams of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import msgspec

from refold.core.event import Event
from refold.core.fold import Decider, Fold
from refold.core.query import Query
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Conflict, Rejected

BUDGETS = ("red", "blue")
LIMIT = 60
TRIES_MAX = 200
COMMANDS = 30


class Spend(msgspec.Struct, frozen=True):
    """A command: spend so much from a budget."""

    budget: str
    amount: int


spent: Fold[int] = Fold("spent", lambda: 0)


@spent.on("budget.spent")
def _spent(state: int, event: dict[str, int]) -> int:
    return state + event["amount"]


def _decide(command: Spend, state: int) -> Sequence[object]:
    if state + command.amount > LIMIT:
        raise Rejected("over the budget", left=LIMIT - state)
    return [Event("budget.spent", {"amount": command.amount, "before": state})]


spending = Decider(spent, _decide)
audited = Decider(spent, _decide, rejections="recorded")


def over(budget: str) -> Query:
    """What a decision about a budget rests on."""
    return Query(types=["budget.spent"], tags=[f"budget:{budget}"])


class Spent(NamedTuple):
    """What one worker was told: by budget, its accepted amounts, and what was left at the end."""

    amounts: dict[str, list[int]]
    left: dict[str, int]


def spend(store: Store, worker: int) -> Spent:
    """Spend small amounts until each budget is used up."""
    random = Random(worker)
    told = Spent({budget: [] for budget in BUDGETS}, {})
    for _ in range(TRIES_MAX):
        open_budgets = [budget for budget in BUDGETS if budget not in told.left]
        if not open_budgets:
            return told
        command = Spend(random.choice(open_budgets), random.randint(1, 3))
        try:
            store.execute(f"agent-{worker}", spending, command, over=over(command.budget))
            told.amounts[command.budget].append(command.amount)
        except Conflict:
            continue
        except Rejected as rejected:
            if rejected.left == 0:
                told.left[command.budget] = 0
    raise AssertionError(f"a budget is not used up after {TRIES_MAX} tries")


def check_budgets(store: Store, told: Sequence[Spent]) -> None:
    """No budget is overspent, each decision saw all before it, and the answers are the log."""
    log = Counter[tuple[str, str]]()
    for budget in BUDGETS:
        total = 0
        for event in store.read_all(matching=over(budget)):
            assert event.data["before"] == total, event.id
            total += event.data["amount"]
            log[event.stream, budget] += event.data["amount"]
        assert total == LIMIT
    for worker, spent in enumerate(told):
        for budget, amounts in spent.amounts.items():
            assert sum(amounts) == log[f"agent-{worker}", budget]


def carry_out(store: Store, worker: int) -> dict[str, list[str] | int]:
    """Commands by their ids, in any order: what each was told, ids of events or what was left.

    Every id comes twice. Together they ask for more than there is.
    """
    random = Random(worker)
    told: dict[str, list[str] | int] = {}
    command_ids = [f"{budget}-{n}" for budget in BUDGETS for n in range(COMMANDS)] * 2
    random.shuffle(command_ids)
    for command_id in command_ids:
        budget, _, number = command_id.partition("-")
        command = Spend(budget, 1 + int(number) % 7)
        answer = _answer(store, command_id, command)
        assert told.setdefault(command_id, answer) == answer
    return told


def _answer(store: Store, command_id: str, command: Spend) -> list[str] | int:
    stream, query = f"agent-{command_id}", over(command.budget)
    for _ in range(TRIES_MAX):
        try:
            done = store.execute(stream, audited, command, command_id=command_id, over=query)
            assert done is not None
            return done.ids
        except Rejected as rejected:
            assert rejected.reason == "over the budget"
            return int(rejected.left)
        except Conflict:
            continue
    raise AssertionError(f"{command_id} is not decided after {TRIES_MAX} tries")


def check_commands(store: Store, told: Sequence[dict[str, list[str] | int]]) -> None:
    """Everybody was told the same of each id, and the log holds it once; nothing is overspent."""
    log: dict[str, list[Recorded]] = {}
    for event in store.read_all():
        log.setdefault(event.metadata["command"], []).append(event)
    assert all(answers == told[0] for answers in told)
    assert log.keys() == told[0].keys()
    for command_id, answer in told[0].items():
        (event,) = log[command_id]
        if isinstance(answer, int):
            assert (event.type, event.data["facts"]) == ("command.rejected", {"left": answer})
        else:
            assert (event.type, [event.id]) == ("budget.spent", answer)
    for budget in BUDGETS:
        assert store.fold(over(budget), spent).state <= LIMIT
    outcomes = {event.type for (event,) in log.values()}
    assert outcomes == {"budget.spent", "command.rejected"}
