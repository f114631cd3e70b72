"""A budget in money and tokens, reserved before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec

from refold.conversation.events import Usage
from refold.errors import UsageError
from refold.replay.decision import Action, Prices, cost_of
from refold.replay.request import ChatRequest

LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""The parameters that bound an answer."""
BYTES_A_TOKEN: Final = 2
"""What a request is taken to hold at most, until enough answers say how much it was."""
ANSWER_TOKENS: Final = 1_024
"""How long an answer may be of which nobody says, until enough are known."""
KNOWN_MIN: Final = 20
"""So many answers are enough to go by what they took alone."""
AS_LONG_AGAIN: Final = 2
"""How much longer than the longest so far the next may be."""


class Held(NamedTuple):
    """What is set aside for a request under way: the most that it may take."""

    model: str | None
    tokens: int = 0
    cost: Decimal = Decimal(0)
    size: int = 0
    number: int = 0


NOTHING: Final = Held(None)


class Size(NamedTuple):
    """What a request may take is known by: its bytes, and the bound of its answer in tokens."""

    model: str | None
    size: int
    limit: int | None

    @classmethod
    def of(cls, request: ChatRequest) -> Size:
        """The size of a request."""
        limit = next((one for one in _limits(request) if type(one) is int), None)
        return cls(request.model, len(msgspec.json.encode(request.body())), limit)


class BudgetSpent(Exception):
    """What is left does not suffice for the next request; the words say of what."""


@dataclass
class Budget:
    """What may be spent: ``max_cost`` US dollars, ``max_tokens`` in and out; None for no bound.

    Each request is held before it is sent at the most that it may take, so that all that is under
    way together keeps within the budget; the first goes alone. A request is held as a token
    every two bytes, or as many as the densest before it, and an answer that no parameter bounds as
    1,024 tokens, or twice the longest before it; after twenty answers by those alone. What takes
    more than it was held at exceeds the budget by that. A request that may have been charged
    without a word counts as what was held for it.
    """

    max_cost: Decimal | None = None
    max_tokens: int | None = None
    prices: Prices = field(default_factory=dict)
    counts_tokens: bool = False
    spent: Held = NOTHING
    _held: dict[int, Held] = field(default_factory=dict)
    _longest: int = 0
    _density: float = 0.0
    _answers: int = 0
    _told: int = 0
    _dearest: Decimal | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __getstate__(self) -> dict[str, Any]:
        """What it is elsewhere: without what is under way here, and who waits."""
        own = ("_held", "_numbers", "_changed")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(vars(Budget()) | state)

    def take_over(self, other: Budget) -> None:
        """Go on from what was spent of it elsewhere."""
        vars(self).update(other.__getstate__())

    def of_another(self) -> Budget:
        """The budget, for who asks another service: it is the same."""
        return self

    @property
    def counts(self) -> bool:
        """Whether anything is counted at all."""
        return self.counts_tokens or (self.max_cost, self.max_tokens) != (None, None)

    async def hold(self, request: ChatRequest) -> Held:
        """Set aside what a request may take, once there is room for it.

        Raises :class:`BudgetSpent` where there will be none, and
        :class:`~refold.errors.UsageError` where nobody knows what the model costs.
        """
        return await self.hold_size(Size.of(request)) if self.counts else Held(request.model)

    async def hold_size(self, asked: Size) -> Held:
        """The same for a request that is known by its size alone."""
        if not self.counts:
            return Held(asked.model)
        while True:
            held = self._most(asked)
            short = self._short(held)
            if not short and (self._answers or not self._held):
                self._held[held.number] = held
                return held
            if short and not self._held:
                raise BudgetSpent(short)
            await self._changed.wait()

    def settle(self, held: Held, action: Action | None, *, is_free: bool = False) -> None:
        """Give back what was held, and spend what it took: all of it where nobody says."""
        if self._held.pop(held.number, None) is None:
            return
        tokens, cost = (0, Decimal(0)) if is_free else (held.tokens, held.cost)
        if action is not None and action.usage is not None:
            tokens = action.usage.input_tokens + action.usage.output_tokens
            self._told += 1
            self._longest = max(self._longest, action.usage.output_tokens)
            self._density = max(self._density, action.usage.input_tokens / held.size)
        if action is not None:
            self._answers += 1
            told = action.cost
            if told is None:
                told = cost_of(action.usage, (action.model, held.model), self.prices)
            elif self._dearest is None or told > self._dearest:
                self._dearest = told
            cost = cost if told is None else told
        self.spent = Held(None, self.spent.tokens + tokens, self.spent.cost + cost)
        self._changed.set()
        self._changed = asyncio.Event()

    def _most(self, asked: Size) -> Held:
        longest, density = AS_LONG_AGAIN * self._longest, self._density
        if self._told < KNOWN_MIN:
            longest, density = max(longest, ANSWER_TOKENS), max(density, 1 / BYTES_A_TOKEN)
        given = ceil(asked.size * density)
        usage = Usage(input_tokens=given, output_tokens=asked.limit or longest)
        cost = cost_of(usage, (asked.model,), self.prices)
        if cost is None and self.max_cost is not None:
            if self._dearest is None and self.spent.tokens:
                raise UsageError(
                    f"nobody says what {asked.model} costs, so max_cost= cannot be kept: give "
                    "its price, --price NAME=IN,OUT",
                    argument="max_cost",
                )
            cost = AS_LONG_AGAIN * (self._dearest or Decimal(0))
        tokens = usage.input_tokens + usage.output_tokens
        return Held(asked.model, tokens, cost or Decimal(0), asked.size, next(self._numbers))

    def _short(self, held: Held) -> str:
        """What does not suffice for this beside all that is held; "" where it does."""
        every = [self.spent, *self._held.values(), held]
        cost, tokens = sum(one.cost for one in every), sum(one.tokens for one in every)
        if self.max_cost is not None and cost > self.max_cost:
            spent = f"of {self.max_cost} US dollars {self.spent.cost:.6f} are spent"
            return f"{spent}, and the next may cost {held.cost:.6f}"
        if self.max_tokens is not None and tokens > self.max_tokens:
            spent = f"of {self.max_tokens:,} tokens {self.spent.tokens:,} are spent"
            return f"{spent}, and the next may take {held.tokens:,}"
        return ""


def _limits(request: ChatRequest) -> list[Any]:
    return [request.params.get(name) for name in LIMITS]
