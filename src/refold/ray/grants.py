"""Who may ask when, and for how much: kept in one place for all workers of a run.

It is an actor. One that is gone comes back with nothing known, so it does not come back: nobody
asks any more then, what is under way is recorded, and the run ends.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from time import monotonic
from typing import Any, Final, NamedTuple

from refold.errors import RefoldError, Unavailable
from refold.pacing import RateLimiter
from refold.replay.actions import total_cost
from refold.replay.budget import Budget, BudgetSpent, Held, Size
from refold.replay.decision import Action, Prices
from refold.replay.events import ReplayContained
from refold.replay.options import STAGGER_S, Bounds, RunOptions
from refold.replay.request import ChatRequest

TOLD_S: Final = 0.5
"""How often a worker says how far it is."""
UNDER_WAY_MAX: Final = 100_000
"""How many requests may wait at a time for their grant."""


class Granted(NamedTuple):
    """What is held for a request, and in how many seconds it may go; or why it may not."""

    held: Held
    wait_s: float = 0.0
    spent: str = ""
    error: RefoldError | None = None


class HowFar(NamedTuple):
    """How far a part of a run is: decisions done, what they cost, and those that failed."""

    done: int = 0
    cost: Decimal | None = None
    failed: int = 0


class Grants:
    """The bounds of a run. Of each part, by its ``holder``, what it holds and how far it is.

    Each ``service`` that is asked, by its number, has the rates for itself; the budget is one.
    """

    def __init__(self, how: RunOptions, prices: Prices) -> None:
        self._rates = defaultdict[int, Bounds](lambda: how.bounds(prices))
        self._budget = self._rates[0].budget
        self._held: dict[str, dict[int, Held]] = {}
        self._told: dict[str, HowFar] = {}
        self._contained: list[ReplayContained] = []
        self._lost = 0

    async def hold(self, holder: str, asked: Size, service: int = 0) -> Granted:
        """Grant one request, once there is room for it."""
        try:
            held = await self._budget.hold_size(asked)
        except BudgetSpent as spent:
            return Granted(Held(None), spent=str(spent))
        except RefoldError as error:
            return Granted(Held(None), error=error)
        self._held.setdefault(holder, {})[held.number] = held
        now_s, (limiter, tokens, _) = monotonic(), self._rates[service]
        at_s = max(limiter.reserve(now_s), tokens.reserve(now_s, held.tokens))
        return Granted(held, at_s - now_s)

    def settle(self, holder: str, held: Held, action: Action | None, is_free: bool) -> None:
        """A request is over: what it took is spent, the rest is free again."""
        if self._held.get(holder, {}).pop(held.number, None) is not None:
            self._budget.settle(held, action, is_free=is_free)

    def over(self, holder: str, contained: ReplayContained | None) -> None:
        """A part is over, and this is what it reached. What it still holds was never sent."""
        self._settle_all(holder, is_free=True)
        if contained is not None:
            self._contained.append(contained)

    def lost(self, holder: str) -> None:
        """A part is lost: what it held may have been sent, and what it reached is not known."""
        self._settle_all(holder, is_free=False)
        self._lost += 1

    def _settle_all(self, holder: str, *, is_free: bool) -> None:
        for held in self._held.pop(holder, {}).values():
            self._budget.settle(held, None, is_free=is_free)

    def pause(self, seconds: float, service: int = 0) -> None:
        """Let nobody ask for so long: the service wants it so."""
        self._rates[service].limiter.hold(monotonic() + seconds)

    def tell(self, holder: str, told: HowFar) -> None:
        """Take note of how far a part is."""
        self._told[holder] = told

    def so_far(self) -> HowFar:
        """How far all of it is."""
        every = [*self._told.values()]
        cost = total_cost(one.cost for one in every)
        return HowFar(sum(one.done for one in every), cost, sum(one.failed for one in every))

    def outcome(self) -> tuple[Budget, ReplayContained | None]:
        """The budget as it is by now, and what all parts reached, where they say so."""
        told = self._contained
        return self._budget, ReplayContained.of_all(told, self._lost) if told else None


class GrantedBudget(Budget):
    """The budget of a run, and its rates, as one part of it sees them."""

    def __init__(self, grants: Any, holder: str, counts: bool, service: int = 0) -> None:
        super().__init__(counts_tokens=counts)
        self._grants, self._holder, self._service = grants, holder, service

    def of_another(self) -> Budget:
        """The same budget, with the rates of another service."""
        return GrantedBudget(self._grants, self._holder, self.counts, self._service + 1)

    async def hold(self, request: ChatRequest) -> Held:
        """Wait until the request is granted, and for its moment."""
        from ray.exceptions import RayActorError

        asked = Size.of(request) if self.counts else Size(request.model, 0, None)
        try:
            granted: Granted = await self._grants.hold.remote(self._holder, asked, self._service)
        except RayActorError as error:
            raise gone(error) from error
        if granted.error is not None:
            raise granted.error
        if granted.spent:
            raise BudgetSpent(granted.spent)
        try:
            if granted.wait_s > 0:
                await asyncio.sleep(granted.wait_s)
        except BaseException:
            self.settle(granted.held, None, is_free=True)
            raise
        return granted.held

    def settle(self, held: Held, action: Action | None, *, is_free: bool = False) -> None:
        """Say what a request took."""
        if not held.number:
            return
        if action is not None:  # What it says is of no concern.
            action = Action(usage=action.usage, cost=action.cost, model=action.model)
        self._grants.settle.remote(self._holder, held, action, is_free)


class SharedPauses(RateLimiter):
    """The pauses that a service asks one part for, kept by all."""

    def __init__(self, grants: Any, service: int = 0) -> None:
        super().__init__(stagger_s=STAGGER_S)
        self._grants, self._service = grants, service

    def another(self) -> RateLimiter:
        """That of another service."""
        return SharedPauses(self._grants, self._service + 1)

    def hold(self, until_s: float) -> None:
        """Let nobody else go before a moment."""
        super().hold(until_s)
        self._grants.pause.remote(max(0.0, until_s - monotonic()), self._service)


def telling(grants: Any, holder: str) -> Callable[[int, int, Decimal | None, int], None]:
    """A progress that says now and then how far a part is; at its end, for certain."""
    told_s = 0.0

    def tell(done: int, total: int, cost: Decimal | None, failed: int) -> None:
        nonlocal told_s
        if done >= total or monotonic() - told_s >= TOLD_S:
            told_s = monotonic()
            with suppress(Exception):
                grants.tell.remote(holder, HowFar(done, cost, failed))

    return tell


def gone(error: Exception) -> Unavailable:
    """The error for a run whose grants nobody gives any more."""
    why = f"who grants requests is gone, and with it what was spent: {str(error).splitlines()[0]}"
    return Unavailable(
        f"{why}; what was answered is kept, and starting it again does what is missing, with the "
        "whole budget anew",
        code="grants_gone",
    )
