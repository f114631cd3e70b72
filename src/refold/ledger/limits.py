"""Limits on betting: so many bets, or so much stake, in any stretch of time; so much lost at all.

A stretch is not an hour of the clock but any hour, so no change of the clocks matters and no two
hours can be joined at their border.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from decimal import Decimal
from functools import reduce
from typing import Final, Protocol

import msgspec

from refold.core.clock import rfc3339, to_us
from refold.core.recorded import Recorded
from refold.errors import Rejected, UsageError, refuse_unless, shown
from refold.ledger.commands import PlaceBet
from refold.ledger.events import BetPlaced
from refold.ledger.money import ZERO, minus, plus, why_not_money

_US: Final = 1_000_000


class PastBet(msgspec.Struct, frozen=True, order=True):
    """A bet that was placed: when, in microseconds UTC, and the stake."""

    at_us: int
    asset: str
    amount: Decimal


class Bettors(Protocol):
    """Those whose bets the limits look at: one agent, or several under a budget.

    ``past``: their bets of the last two windows, oldest first.
    """

    past: list[PastBet]

    def spent(self, asset: str) -> Decimal:
        """Stakes, open and lost, and fees, less winnings."""
        ...


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """At most so many bets, or so much stake of an asset, in any stretch of ``window_s`` seconds.

    The stretch begins after its first moment and holds its last. Cancelled bets count.
    """

    most: Decimal
    window_s: int
    asset: str | None = None

    def __post_init__(self) -> None:
        if type(self.window_s) is not int or self.window_s < 1:
            raise UsageError(f"{shown(self.window_s)} seconds is no stretch of time")

    def check(self, bet: PlaceBet, at_us: int, bettors: Bettors) -> None:
        """Raise :class:`~refold.errors.Rejected` where the bet would break the rule."""
        if self.asset not in (None, bet.asset):
            return
        mine = [each for each in bettors.past if self.asset in (None, each.asset)]
        times, window_us = [each.at_us for each in mine], self.window_s * _US
        # A bet may be placed as of an earlier moment: then later stretches hold it too.
        later = times[bisect_right(times, at_us) : bisect_right(times, at_us + window_us - 1)]
        for end in (at_us, *later):
            held = mine[bisect_right(times, end - window_us) : bisect_right(times, end)]
            self._check_stretch(bet, held)

    def _check_stretch(self, bet: PlaceBet, held: Sequence[PastBet]) -> None:
        used = reduce(plus, (self._weight(each.amount) for each in held), ZERO)
        needed = self._weight(bet.amount)
        if plus(used, needed) > self.most:
            raise Rejected(
                "bet_limit" if self.asset is None else "stake_limit",
                bet=bet.bet,
                asset=self.asset,
                window_s=self.window_s,
                most=self.most,
                used=used,
                needed=needed,
                free_at=self._free_at(held, needed, used),
            )

    def _weight(self, amount: Decimal) -> Decimal:
        return Decimal(1) if self.asset is None else amount

    def _free_at(self, held: Sequence[PastBet], needed: Decimal, used: Decimal) -> str | None:
        """When the bet would be within the limit, if nothing else comes; None for never."""
        for each in held:
            used = minus(used, self._weight(each.amount))
            if plus(used, needed) <= self.most:
                return rfc3339(each.at_us + self.window_s * _US)
        return None


class LossMax(msgspec.Struct, frozen=True, kw_only=True):
    """Stakes and fees, less winnings, never come to more than this: a budget."""

    most: Decimal
    asset: str
    window_s: int = 0

    def check(self, bet: PlaceBet, _at_us: int, bettors: Bettors) -> None:
        """Raise :class:`~refold.errors.Rejected` where the bet would go over the budget."""
        used = bettors.spent(self.asset)
        if bet.asset == self.asset and plus(used, bet.amount) > self.most:
            raise Rejected(
                "budget_exceeded",
                bet=bet.bet,
                asset=self.asset,
                most=self.most,
                used=used,
                needed=bet.amount,
            )


Limit = Rate | LossMax
"""A rule on bets; ``window_s`` is how many seconds back it looks, 0 where it asks for no time."""


def bets_per_hour(most: int) -> Limit:
    """At most so many bets in any hour."""
    return bets_per(3_600, most)


def bets_per(window_s: int, most: int) -> Limit:
    """At most so many bets in any stretch of so many seconds."""
    if type(most) is not int or most < 0:
        raise UsageError(f"{shown(most)} bets is no limit: give a whole number, 0 or more")
    return Rate(most=Decimal(most), window_s=window_s)


def stake_per_hour(most: Decimal, asset: str) -> Limit:
    """At most so much staked in any hour."""
    return stake_per(3_600, most, asset)


def stake_per_day(most: Decimal, asset: str) -> Limit:
    """At most so much staked in any 24 hours."""
    return stake_per(86_400, most, asset)


def stake_per(window_s: int, most: Decimal, asset: str) -> Limit:
    """At most so much staked in any stretch of so many seconds."""
    return Rate(most=_checked(most), window_s=window_s, asset=asset)


def loss_up_to(most: Decimal, asset: str) -> Limit:
    """A budget: stakes, open and lost, and fees, less winnings, at most so much."""
    return LossMax(most=_checked(most), asset=asset)


def noted(past: list[PastBet], bet: BetPlaced, recorded: Recorded, *, kept_s: int) -> None:
    """Put a bet in its place and forget those that no limit can ask for any more."""
    insort(past, PastBet(recorded.occurred_at_us, bet.asset, bet.amount))
    oldest_us = past[-1].at_us - kept_s * _US
    if past[0].at_us <= oldest_us:
        del past[: bisect_right(past, oldest_us, key=lambda each: each.at_us)]


def longest_s(limits: Sequence[Limit]) -> int:
    """The longest stretch that any of the limits looks at, in seconds."""
    for limit in limits:
        refuse_unless(isinstance(limit, Rate | LossMax), "one of those made here", limit=limit)
    return max((limit.window_s for limit in limits), default=0)


def check_limits(bet: PlaceBet, limits: Sequence[Limit], bettors: Bettors) -> None:
    """Raise Rejected where a bet breaks one of the limits.

    A bet as of a moment too long ago to tell what limits it would have broken is refused too.
    """
    at_us, window_s, past = 0, longest_s(limits), bettors.past
    if bet.at is not None:
        at_us = to_us(bet.at)
    elif window_s:
        raise UsageError("a bet under a limit by time must say when: PlaceBet(…, at=…)")
    if window_s and past and at_us <= past[-1].at_us - window_s * _US:
        raise Rejected("out_of_date", at=rfc3339(at_us), last_bet_at=rfc3339(past[-1].at_us))
    for limit in limits:
        limit.check(bet, at_us, bettors)


def _checked(most: Decimal) -> Decimal:
    reason = why_not_money(most)
    if reason is not None:
        raise UsageError(f"{shown(most)} is no limit: it is {reason.replace('_', ' ')}")
    return most
