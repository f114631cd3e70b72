"""Exact sums by currency as one column: JSON such as ``{"EUR":"0.10","USD":"0.0042"}``."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from refold.conversation.amounts import add

NOTHING: Final = "{}"
"""No money in any currency."""

_decode = msgspec.json.Decoder(dict[str, Decimal]).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def with_added(sums: str, currency: str, amount: Decimal) -> str:
    """The column after one more amount."""
    totals = _decode(sums)
    add(totals, currency, amount)
    return _encode(totals).decode()
