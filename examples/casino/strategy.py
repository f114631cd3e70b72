"""How the agent plays: a pure function of what it has."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Final, NamedTuple

SMALLEST: Final = Decimal("0.000001")
PART: Final = Decimal("0.01")
"""Of what is available, for a stake."""
STAKE_MIN: Final = Decimal("0.01")
CHANCES: Final = ("49.50", "33.33", "66.00", "9.00")
"""In per cent, in turn."""


class Wager(NamedTuple):
    """A stake, and the chance to win, in per cent."""

    amount: Decimal
    chance: str


def next_wager(available: Decimal, bets: int) -> Wager | None:
    """A hundredth of what there is, on each chance in turn; None when that is too little."""
    amount = (available * PART).quantize(SMALLEST, ROUND_DOWN)
    return Wager(amount, CHANCES[bets % len(CHANCES)]) if amount >= STAKE_MIN else None
