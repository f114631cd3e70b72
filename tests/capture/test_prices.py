"""What an answer costs: known exactly, or not at all."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from refold.capture.prices import PriceTable
from refold.conversation import Usage
from refold.errors import UsageError

TABLE = {
    "m-1": {"input": "2.50", "cached": "0.25", "output": 10},
    "m-2": {"input": Decimal("3"), "cached": 0.3, "cache_write": "3.75", "output": "15"},
}


@pytest.mark.parametrize(
    ("model", "usage", "expected"),
    [
        ("m-1", Usage(1_000_000, 1_000_000), "12.5"),
        ("m-1", Usage(1_000, 10, cached_tokens=400), "0.0017"),
        ("m-1", Usage(), "0"),
        ("m-2", Usage(1_000, 0, cached_tokens=400, cache_write_tokens=600), "0.00237"),
        ("m-1", Usage(10, 0, cache_write_tokens=1), None),
        ("m-1-2025-08-07", Usage(1_000_000), "2.5"),
        ("m-2-20250929", Usage(1_000_000), "3"),
        ("m-2-latest", Usage(1_000_000), "3"),
        ("m-1-mini", Usage(1_000_000), None),
        ("m-3", Usage(1_000_000), None),
        ("m-1", None, None),
        (None, Usage(1), None),
    ],
)
def test_a_cost_is_exact_or_unknown(model: Any, usage: Any, expected: str | None) -> None:
    """What is not known is never nothing."""
    cost = PriceTable(TABLE).cost([model], usage)
    assert cost == (None if expected is None else Decimal(expected))


def test_the_first_name_that_has_a_price_counts() -> None:
    """The model that answered before the one that was asked for, as a gateway may name it."""
    assert PriceTable(TABLE).cost(["m-2", "m-1"], Usage(1_000_000)) == 3
    assert PriceTable(TABLE).cost(["hosted", "m-1"], Usage(1_000_000)) == Decimal("2.5")
    assert PriceTable(None).cost(["m-1"], Usage(1)) is None


def test_prices_may_stand_in_a_file(tmp_path: Path) -> None:
    """JSON or TOML; numbers are read as they are written."""
    (tmp_path / "p.json").write_text('{"m": {"input": 0.1, "output": "0.2"}}')
    (tmp_path / "p.toml").write_text('["m.x"]\ninput = 0.1\noutput = "0.2"\n')
    usage = Usage(3_000_000, 1_000_000)
    assert PriceTable(str(tmp_path / "p.json")).cost(["m"], usage) == Decimal("0.5")
    assert PriceTable(tmp_path / "p.toml").cost(["m.x"], usage) == Decimal("0.5")


@pytest.mark.parametrize(
    "table", [None, {}, 5, {"input": "cheap"}, {"input": -1}, {"input": 1, "ouput": 2}]
)
def test_a_price_that_is_none_is_refused(table: Any) -> None:
    """With the model that it is of."""
    with pytest.raises(UsageError, match="'m-9'"):
        PriceTable({"m-9": table})
