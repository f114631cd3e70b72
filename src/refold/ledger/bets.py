"""Which bets are open, and which were settled before anyone heard of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from refold.ledger.money import ZERO, plus

Outcome = Literal["won", "lost", "cancelled"]
Stake = dict[str, Decimal]
"""What stands on a bet, by asset."""


class Unmatched(msgspec.Struct):
    """A bet that was settled without having been placed: its last outcome, and what it paid."""

    outcome: Outcome
    paid: dict[str, Decimal] = {}
    references: list[str] = []


class Bets(msgspec.Struct):
    """``open``: the stakes of open bets, by bet. ``unmatched``: settlements without an open bet.

    A settled bet is forgotten, so the size of this is that of what is open or odd. A settlement
    waits as unmatched until its bet comes, and is then as if it had come after it.
    """

    open: dict[str, Stake] = {}
    unmatched: dict[str, Unmatched] = {}

    def placed(self, bet: str, asset: str, amount: Decimal) -> Outcome | None:
        """Take a stake; gives the outcome where that is known already, and the bet is then over.

        A second stake on an open bet adds to it.
        """
        early = self.unmatched.pop(bet, None)
        if early is not None:
            return early.outcome
        stake = self.open.setdefault(bet, {})
        stake[asset] = plus(stake.get(asset, ZERO), amount)
        return None

    def settled(self, bet: str, outcome: Outcome, reference: str | None) -> Stake | None:
        """Close a bet and give its stake; None where it is not open: it then waits as unmatched."""
        stake = self.open.pop(bet, None)
        if stake is None:
            early = self.unmatched.setdefault(bet, Unmatched(outcome))
            early.outcome = outcome
            if reference is not None:
                early.references.append(reference)
        return stake

    def paid_unmatched(self, bet: str, asset: str, amount: Decimal) -> None:
        """Note what an unmatched settlement paid."""
        paid = self.unmatched[bet].paid
        paid[asset] = plus(paid.get(asset, ZERO), amount)
