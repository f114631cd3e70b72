"""What an answer costs, by a table of prices."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from refold.replay.decision import Action

_MILLION: Final = 1_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens; cached input costs as much as other input unless said."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None


Prices = Mapping[str, Price]
"""Prices by the model's name."""


def priced(action: Action, asked_model: str | None, prices: Prices) -> Action:
    """The action with its cost, unless the provider said it or it cannot be known.

    The price is that of the model that answered, else of the model asked for: providers answer
    ``gpt-4o`` as ``gpt-4o-2024-08-06``.
    """
    price = prices.get(action.model or "") or prices.get(asked_model or "")
    if action.cost is not None or action.usage is None or price is None:
        return action
    cached = min(action.usage.cached_tokens, action.usage.input_tokens)
    cached_price = price.input if price.cached_input is None else price.cached_input
    dollars = (
        (action.usage.input_tokens - cached) * price.input
        + cached * cached_price
        + action.usage.output_tokens * price.output
    ) / _MILLION
    return msgspec.structs.replace(action, cost=dollars)
