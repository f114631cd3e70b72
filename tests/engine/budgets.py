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
from refold.engine.store import Store
from refold.errors import Conflict, Rejected

BUDGETS = ("red", "blue")
LIMIT = 60
TRIES_MAX = 200


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
