"""Amounts of money: read as they were said, and added up exactly.

Sums have a context of their own: a fold must not depend on how Python's is set.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Final

DIGITS: Final = 100
"""A sum of more digits is rounded; none that means money has as many."""
AMOUNT_DIGITS_MAX: Final = 20
"""How many digits before its point an amount of money may have."""

_ZERO: Final = Decimal(0)
_CONTEXT: Final = Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
plus: Final = _CONTEXT.add
"""The sum of two amounts."""


def add(totals: dict[str, Decimal], currency: str, amount: Decimal) -> None:
    """Add an amount to the total of its currency."""
    totals[currency] = plus(totals.get(currency, _ZERO), amount)


def read_amount(said: object) -> Decimal | None:
    """An amount of money as it was said; None for what is none, or is too large to be one."""
    if isinstance(said, bool) or not isinstance(said, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(said))
    except (InvalidOperation, ValueError):
        return None
    fits = amount.is_finite() and amount >= 0 and amount.adjusted() < AMOUNT_DIGITS_MAX
    return amount if fits else None
