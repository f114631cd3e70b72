"""Sums of money in a context of their own: a fold must not depend on how Python's is set."""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Final

DIGITS: Final = 100
"""A sum of more digits is rounded; none that means money has as many."""

_CONTEXT: Final = Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


def add(totals: dict[str, Decimal], currency: str, amount: Decimal) -> None:
    """Add an amount to the total of its currency."""
    totals[currency] = _CONTEXT.add(totals.get(currency, Decimal(0)), amount)


def plus(amount: Decimal, more: Decimal) -> Decimal:
    """``amount + more``."""
    return _CONTEXT.add(amount, more)


def minus(amount: Decimal, less: Decimal) -> Decimal:
    """``amount - less``."""
    return _CONTEXT.subtract(amount, less)
