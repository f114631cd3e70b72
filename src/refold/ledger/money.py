"""Amounts of money: what is one, and sums that are exact or not at all."""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Clamped, Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, Literal

ZERO: Final = Decimal(0)
WHOLE_DIGITS_MAX: Final = 40
"""An amount has at most so many digits before the point."""
DECIMAL_PLACES_MAX: Final = 40
"""An amount has at most so many digits after the point."""
ASSET_BYTES_MAX: Final = 64
RATIO_DIGITS: Final = 28
"""A rate or a return is rounded to so many digits; sums never are."""

NotMoney = Literal["not_decimal", "not_finite", "not_positive", "too_large", "too_fine"]
"""Why a value is not an amount."""

# A log holds fewer than 10^19 events, so a sum of amounts has at most 40 + 19 digits before the
# point and 40 after: 99. The traps would tell if that were wrong.
_EXACT: Final = Context(
    prec=100, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation, Clamped]
)
_RATIO: Final = Context(prec=RATIO_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])

plus: Final = _EXACT.add
"""``amount + more``, exact."""
minus: Final = _EXACT.subtract
"""``amount - less``, exact."""


def ratio(part: Decimal | int, whole: Decimal | int) -> Decimal | None:
    """``part / whole``, rounded to 28 digits; None where the whole is 0."""
    return _RATIO.divide(part, whole) if whole else None


def why_not_money(amount: Any) -> NotMoney | None:
    """Why this is no amount, or None where it is: a finite Decimal over 0 of at most 40.40 digits.

    A float is refused whatever its value: ``0.1`` is not a tenth.
    """
    if not isinstance(amount, Decimal):
        return "not_decimal"
    if not amount.is_finite():
        return "not_finite"
    if amount <= 0:
        return "not_positive"
    if amount.adjusted() >= WHOLE_DIGITS_MAX:
        return "too_large"
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -DECIMAL_PLACES_MAX:
        return "too_fine"
    return None


def is_asset(asset: Any) -> bool:
    """Whether this names an asset: printable text without white space, at most 64 bytes."""
    if not isinstance(asset, str) or not asset.isprintable() or " " in asset:
        return False
    return 0 < len(asset.encode(errors="replace")) <= ASSET_BYTES_MAX
