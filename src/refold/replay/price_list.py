"""Prices of a maintained list, for the models that nobody gave a price: the extra ``prices``.

The list is that of the library genai-prices (https://github.com/pydantic/genai-prices), as it is
installed: nothing is fetched. What its prices depend on besides, such as the length of a request,
is not looked at: they are those of a short one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from refold.errors import UsageError
from refold.extras import needs
from refold.replay.decision import Price, Prices

ASKED_FOR: Final = 1_000
"""Tokens whose price is looked up: from some number on, a token costs more."""
_MILLION: Final = 1_000_000


class ListedPrices(Mapping[str, Price]):
    """Prices by model: the user's ``own``, and else those of the list, where it has the model.

    Raises :class:`UsageError` where the extra is not installed.
    """

    def __init__(self, own: Prices) -> None:
        try:
            import genai_prices  # noqa: F401
        except ImportError as error:
            raise UsageError(needs("a list of prices is an extra", "prices")) from error
        self._known: dict[str, Price | None] = dict(own)

    def __getitem__(self, model: str) -> Price:
        if model not in self._known:
            self._known[model] = _listed(model)
        if (price := self._known[model]) is None:
            raise KeyError(model)
        return price

    def __iter__(self) -> Iterator[str]:
        """The models that were priced so far."""
        return (model for model, price in [*self._known.items()] if price is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        """Whether there may be a price."""
        return True


def _listed(model: str) -> Price | None:
    from genai_prices import Usage, calc_price

    def dollars(**tokens: int) -> Decimal:
        """For a million of the tokens."""
        priced = calc_price(Usage(**tokens), model_ref=model)
        return priced.total_price * (_MILLION // ASKED_FOR)

    try:
        return Price(
            input=dollars(input_tokens=ASKED_FOR),
            output=dollars(output_tokens=ASKED_FOR),
            cached_input=dollars(input_tokens=ASKED_FOR, cache_read_tokens=ASKED_FOR),
        )
    except LookupError:
        return None
