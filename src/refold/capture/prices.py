"""What an answer costs, by a table of prices."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from refold.conversation.amounts import read_amount
from refold.conversation.events import Usage
from refold.errors import UsageError

KINDS: Final = ("input", "cached", "cache_write", "output")
MILLION: Final = Decimal(1_000_000)
_DATED: Final = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|latest)$")

Prices = Mapping[str, Mapping[str, Any]] | str | os.PathLike[str]


class PriceTable:
    """Prices by model: a mapping or a JSON or TOML file of such.

    ``{"gpt-5": {"input": "1.25", "cached": "0.125", "output": "10"}}`` in US dollars a million
    tokens; ``cached`` is what input from the provider's cache costs, ``cache_write`` what goes into
    it. A model's dated names (``gpt-5-2025-08-07``) have its price unless they have their own.
    """

    def __init__(self, prices: Prices | None) -> None:
        tables = prices or {}
        tables = tables if isinstance(tables, Mapping) else _read(Path(tables))
        self._prices = {model: _checked(model, table) for model, table in tables.items()}

    def cost(self, models: Iterable[str | None], usage: Usage | None) -> Decimal | None:
        """What an answer costs in US dollars, by the first of a model's names that has a price.

        None where model, tokens or one of the prices is not known.
        """
        names = [name for model in models if model for name in (model, _DATED.sub("", model))]
        table = next((self._prices[name] for name in names if name in self._prices), None)
        if table is None or usage is None:
            return None
        written = usage.cache_write_tokens or 0
        counts = {
            "input": max(usage.input_tokens - usage.cached_tokens - written, 0),
            "cached": usage.cached_tokens,
            "cache_write": written,
            "output": usage.output_tokens,
        }
        if any(count and kind not in table for kind, count in counts.items()):
            return None
        total = sum((table.get(kind, Decimal()) * counts[kind] for kind in KINDS), Decimal())
        return total / MILLION


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text, parse_float=Decimal)
        return json.loads(text, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise UsageError(f"prices: {path} cannot be read: {error}", path=str(path)) from error


def _checked(model: str, table: object) -> dict[str, Decimal]:
    said = table if isinstance(table, Mapping) else {}
    prices = {kind: price for kind in KINDS if (price := read_amount(said.get(kind))) is not None}
    if not said or len(prices) != len(said):
        raise UsageError(
            f"prices of {model!r} are amounts in US dollars a million tokens under some of "
            f"{', '.join(KINDS)}, not {table!r:.99}",
            argument="prices",
        )
    return prices
