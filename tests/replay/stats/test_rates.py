"""The statistics behind a verdict, against scipy, numpy and brute force."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as oracle

from refold.errors import UsageError
from refold.replay import stats
from refold.replay.stats.exact import COINS_MAX

counts = st.integers(0, 2_000)
ODD = (0.0, 1.0, -0.5, 1.5, math.nan)
clusters = st.lists(
    st.integers(0, 20).flatmap(lambda tried: st.tuples(st.integers(0, tried), st.just(tried))),
    min_size=2,
    max_size=30,
)
levels = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
measurements = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


class TestWilson:
    @given(counts, counts, levels)
    def test_agrees_with_scipy(self, won: int, lost: int, confidence: float) -> None:
        """The interval is scipy's for every count and confidence; without one it is of 95%."""
        assume(won + lost)
        expected = oracle.binomtest(won, won + lost).proportion_ci(confidence, method="wilson")
        got = stats.wilson(won, won + lost, confidence=confidence)
        assert got == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert stats.wilson(won, won + lost) == stats.wilson(won, won + lost, confidence=0.95)

    @given(counts, counts)
    def test_holds_the_rate_and_stays_within_0_and_1(self, won: int, lost: int) -> None:
        """The observed rate lies inside the interval, and the interval inside [0, 1]."""
        assume(won + lost)
        low, high = stats.wilson(won, won + lost)
        assert 0 <= low <= won / (won + lost) <= high <= 1

    def test_without_trials_nothing_is_known(self) -> None:
        """No trials give the whole range."""
        assert stats.wilson(0, 0) == (0.0, 1.0)

    def test_ends_are_exact_at_none_and_all(self) -> None:
        """No success starts at exactly 0, all successes end at exactly 1."""
        assert stats.wilson(0, 7).low == 0.0
        assert stats.wilson(7, 7).high == 1.0


class TestMcNemar:
    @given(st.integers(0, 400), st.integers(0, 400))
    def test_agrees_with_the_exact_binomial_test(self, first: int, second: int) -> None:
        """p is that of a two-sided binomial test of a fair coin."""
        expected = oracle.binomtest(first, first + second).pvalue if first + second else 1.0
        assert stats.mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-9)

    @given(counts, counts)
    def test_has_no_favourite_arm(self, first: int, second: int) -> None:
        """Swapping the arms leaves p as it was, a probability."""
        p = stats.mcnemar_exact(first, second)
        assert p == stats.mcnemar_exact(second, first)
        assert 0 <= p <= 1

    def test_six_pairs_one_way_are_the_first_to_reach_five_percent(self) -> None:
        """Five differing pairs cannot show anything at 0.05; six can: 2 / 2**6."""
        assert stats.mcnemar_exact(5, 0) == 0.0625
        assert stats.mcnemar_exact(0, 6) == 0.03125

    def test_approximation_above_the_exact_range_continues_it(self) -> None:
        """Either side of the limit the p of the same lead differs by less than a thousandth."""
        half = COINS_MAX // 2
        exact = stats.mcnemar_exact(half - 300, half + 300)
        approximate = stats.mcnemar_exact(half - 299, half + 301)
        expected = oracle.binomtest(half - 299, 2 * half + 2).pvalue
        assert approximate == pytest.approx(expected, rel=1e-3)
        assert approximate == pytest.approx(exact, rel=1e-3)

    def test_approximation_of_a_draw_is_one(self) -> None:
        """Equal arms above the exact range give 1, not more."""
        assert stats.mcnemar_exact(60_000, 60_000) == 1.0


class TestPercentiles:
    @given(measurements)
    def test_summary_holds_count_mean_and_percentiles(self, values: list[float]) -> None:
        """A summary is what numpy says of the same values."""
        got = stats.summarise(iter(values))
        expected = (len(values), np.mean(values), *np.percentile(values, (50, 95, 99)))
        assert got is not None
        assert astuple(got) == pytest.approx(expected, rel=1e-9, abs=1e-6)

    def test_nothing_has_no_summary(self) -> None:
        """No values give None rather than made-up zeros."""
        assert stats.summarise([]) is None


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: stats.wilson(-1, 3), "successes"),
        (lambda: stats.wilson(4, 3), "successes"),
        (lambda: stats.wilson(0, -1), "trials"),
        *(
            (lambda level=level: stats.wilson(1, 2, confidence=level), "confidence")
            for level in ODD
        ),
        (lambda: stats.summarise([math.inf]), "values"),
    ],
)
def test_impossible_arguments_are_named(call: Callable[[], object], argument: str) -> None:
    """An argument that cannot be is refused by name."""
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.argument == argument
    assert argument in caught.value.message
