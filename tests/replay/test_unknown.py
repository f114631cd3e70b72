"""What nobody counted or priced is not free: it is unknown, and a sum of a part is the least."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import refold
from refold.conversation.events import Usage
from refold.replay import Action, ChatRequest, ModelFailure, Price, compare
from refold.replay.candidate import parse_completion
from refold.replay.figures import total_usage
from refold.replay.report import render_report, summary
from tests.replay.stories import VARIANT, as_recorded, record, run

PRICES = {"small": Price(input=Decimal("2"), output=Decimal("8"))}
COUNTED = {"prompt_tokens": 1_000, "completion_tokens": 500}


def answers(*usages: Any) -> Callable[[ChatRequest], Any]:
    """A candidate that gives these usages, one a decision of the first conversation."""

    def answer(request: ChatRequest) -> Any:
        message = {"role": "assistant", "content": "Hm."}
        said = {"model": "small", "choices": [{"message": message}]}
        return {**said, "usage": usages[request.index]}

    return answer


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (COUNTED, Decimal("0.006")),
        ({"input_tokens": 1_000, "output_tokens": 500}, Decimal("0.006")),
        ({"prompt_tokens": 1_000, "completion_tokens": 0}, Decimal("0.002")),
        (None, None),
        ({}, None),
        ({"total_tokens": 9}, None),
        ({"prompt_tokens": 1_000}, None),
        ({"completion_tokens": 500}, None),
        ({"prompt_tokens": 1_000, "completion_tokens": None}, None),
        ({"prompt_tokens": 1_000, "completion_tokens": "500"}, None),
        ({"prompt_tokens": True, "completion_tokens": 500}, None),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({"prompt_tokens": 1_000, "completion_tokens": -1}, None),
        ({"prompt_tokens": 1e3, "completion_tokens": 500}, None),
        ([], None),
        (7, None),
    ],
)
def test_a_price_wants_both_counts(usage: Any, cost: Decimal | None) -> None:
    """Of what was read and of what was said; half of them is no price, and nothing is not zero."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        done = run(store, answers(usage, usage), prices=PRICES)
    assert done.cost == (None if cost is None else 2 * cost)
    assert (done.cost_known, done.usage_known) == ((0, 0) if cost is None else (2, 2))
    assert (done.usage is None) is (cost is None)


def test_sums_say_over_how_many_they_are() -> None:
    """Of a run and of both sides of a comparison; text and page say that it is the least."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        done = run(store, answers(COUNTED, None), prices=PRICES)
        compared = compare(store, ["call-1"], VARIANT)
        assert (done.cost, done.cost_known, done.requests) == (Decimal("0.006"), 1, 2)
        assert done.usage == Usage(input_tokens=1_000, output_tokens=500)
        totals = compared.figures.candidate
        assert (totals.cost_known, totals.usage_known) == (1, 1)
        told = "cost at least $0.00200 recorded, at least $0.00600 candidate"
        assert told in summary(compared)
        page = render_report(compared)
        assert "at least $0.00600" in page
        assert "at least 1,000 tokens in" in page


def test_a_request_that_failed_may_have_cost_something() -> None:
    """What is known of the answers is the least that the run took."""
    with refold.open("memory:") as store:
        record(store, "call-1")

        def half(request: ChatRequest) -> Action:
            if request.index:
                raise ModelFailure("x", kind="garbage")
            return Action(text="x", cost=Decimal(1))

        done = run(store, half, attempts_max=1)
    assert (done.cost, done.cost_known, done.requests) == (Decimal(1), 1, 2)


def test_what_is_known_of_all_is_no_least() -> None:
    """The sum is the sum."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        run(store, answers(COUNTED, COUNTED), prices=PRICES)
        told = summary(compare(store, ["call-1"], VARIANT))
        assert "$0.0120 candidate" in told
        assert "at least $0.0120" not in told


def test_nothing_said_is_nothing_known() -> None:
    """A function that tells no usage took tokens that nobody counted."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        done = run(store, as_recorded)
        assert (done.usage, done.usage_known, done.cost) == (None, 0, None)


def test_a_count_of_no_size_is_not_known() -> None:
    """The answer stands; what it took does not."""
    message = {"role": "assistant", "content": "Hm."}
    for odd in (2**70, -1, 10**400):
        usage = {"prompt_tokens": odd, "completion_tokens": 1}
        action = parse_completion({"choices": [{"message": message}], "usage": usage})
        assert (action.text, action.usage) == ("Hm.", None)


def test_tokens_of_every_kind_are_added_up() -> None:
    """What is known of a kind; None where no answer tells it."""
    one, other = Usage(10, 5, 0, 7, 3), Usage(1, 1, 0, 2, None)
    assert total_usage([one, other]) == Usage(11, 6, 0, 9, 3)
    assert total_usage([Usage(1, 1)]) == Usage(1, 1)
