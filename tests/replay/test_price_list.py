"""Prices of a maintained list, for the models that nobody gave a price."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest
from genai_prices import Usage as Tokens
from genai_prices import calc_price

import refold
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelResponse,
    Usage,
    UserUtterance,
)
from refold.errors import UsageError
from refold.replay import Action, Price, Variant, compare, replay
from refold.replay.decision import cost_of
from refold.replay.price_list import ListedPrices

USAGE = Usage(input_tokens=1_200, output_tokens=300, cached_tokens=200)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "claude-sonnet-4-20250514"])
def test_a_listed_price_is_what_the_list_says(model: str) -> None:
    """To the last digit, of cached tokens too, and of a dated version of a model."""
    tokens = Tokens(input_tokens=1_200, output_tokens=300, cache_read_tokens=200)
    assert cost_of(USAGE, [model], ListedPrices({})) == calc_price(tokens, model).total_price


def test_ones_own_price_comes_first_and_an_unknown_model_has_none() -> None:
    """Unknown is not zero; what was looked up is listed."""
    own = Price(input=Decimal(7), output=Decimal(7))
    prices = ListedPrices({"gpt-4o": own})
    assert prices["gpt-4o"] is own
    assert "made-up-model" not in prices
    assert cost_of(USAGE, ["made-up-model"], prices) is None
    assert bool(ListedPrices({}))
    assert "gpt-4o-mini" in prices
    assert dict(prices) == {"gpt-4o": own, "gpt-4o-mini": prices["gpt-4o-mini"]}
    assert len(prices) == 2


def test_a_comparison_is_priced_by_the_list() -> None:
    """Recorded and replayed answers, by the model that answered; within a budget too."""
    with refold.open("memory:") as store:
        said = [AgentConfigured(model="gpt-4o"), UserUtterance("Where?")]
        told = ModelResponse(model="gpt-4o", usage=USAGE, message_id="m")
        store.append("call-1", [*said, told, AgentUtterance("At gate 4.", message_id="m")])
        variant, prices = Variant(model="gpt-4o-mini"), ListedPrices({})
        answer = Action(text="Gate 4.", usage=USAGE, model="gpt-4o-mini")
        replay(store, ["call-1"], variant, lambda _: answer, prices=prices, max_cost=1)
        figures = compare(store, ["call-1"], variant, prices=prices).figures
        # 1,000 at 2.5, 200 at 1.25, 300 at 10 dollars a million; a mini is a good deal cheaper.
        assert figures.recorded.cost == Decimal("0.00575")
        assert figures.candidate.cost == Decimal("0.000345")


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that installs it, to the letter."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(UsageError, match=r"pip install 'refold\[prices\]'"):
        ListedPrices({})
