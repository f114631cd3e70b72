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
from refold.replay.stats.rates import percentile

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


class TestPlanning:
    def test_connors_formula_by_hand(self) -> None:
        """With 45 % and 5 % discordant, 23 pairs: ((1.96 √0.5 + 0.84 √0.34) / 0.4)² = 22.02."""
        assert stats.mcnemar_pairs_needed(0.4, 0.5) == 23
        assert stats.mcnemar_pairs_needed(-0.4, 0.5) == 23

    @given(st.integers(1, 5_000), st.floats(0.02, 1.0), levels, st.floats(0.6, 0.99))
    def test_effect_and_pairs_are_inverse(
        self, pairs: int, rate: float, confidence: float, power: float
    ) -> None:
        """The smallest effect of n pairs needs n pairs, and any larger one no more."""
        asked = {"alpha": 1 - confidence, "power": power}
        effect = stats.mcnemar_smallest_effect(pairs, rate, **asked)
        assume(effect is not None and effect < rate)
        assert effect is not None
        larger = effect + (rate - effect) * 1e-6
        assert stats.mcnemar_pairs_needed(larger, rate, **asked) <= pairs
        assert stats.mcnemar_pairs_needed(effect * 0.9, rate, **asked) >= pairs

    @pytest.mark.parametrize("alpha", [0.1, 0.05, 0.01, 0.001])
    @pytest.mark.parametrize("power", [0.8, 0.9, 0.95])
    def test_connors_formula_with_scipys_quantiles(self, alpha: float, power: float) -> None:
        """At any level and power; and never fewer pairs than let the exact test reject."""
        for difference, rate in ((0.1, 0.2), (0.05, 0.3), (0.3, 0.3), (1.0, 1.0)):
            null = oracle.norm.isf(alpha / 2) * math.sqrt(rate)
            effect = oracle.norm.ppf(power) * math.sqrt(rate - difference**2)
            fewest = next(n for n in range(1, 99) if stats.mcnemar_exact(n, 0) <= alpha)
            expected = math.ceil(max(((null + effect) / difference) ** 2, fewest / rate))
            got = stats.mcnemar_pairs_needed(difference, rate, alpha=alpha, power=power)
            assert got == expected

    @pytest.mark.parametrize(
        ("difference", "rate"), [(0.4, 0.5), (0.1, 0.2), (0.1, 0.1), (0.05, 0.2), (0.3, 0.3)]
    )
    def test_exact_power_is_close_to_the_power_asked_for(
        self, difference: float, rate: float
    ) -> None:
        """The exact test at the planned size has 0.75 to 0.82 of the 0.80 asked for."""
        pairs = stats.mcnemar_pairs_needed(difference, rate)
        assert 0.75 < exact_power(pairs, rate, difference) < 0.82

    @pytest.mark.parametrize(("pairs", "rate"), [(0, 0.5), (5, 1.0), (50, 0.1), (100, 0.0)])
    def test_too_few_pairs_show_nothing(self, pairs: int, rate: float) -> None:
        """Below six differing pairs no effect is large enough, so there is none to name."""
        assert stats.mcnemar_smallest_effect(pairs, rate) is None

    def test_pairs_needed_lets_the_exact_test_reject(self) -> None:
        """If every pair differs the same way, six are needed, whatever the approximation says."""
        assert stats.mcnemar_pairs_needed(1.0, 1.0) == 6


class TestPercentiles:
    @given(measurements, st.floats(0, 100))
    def test_agrees_with_numpy(self, values: list[float], q: float) -> None:
        """Any percentile of values in any order is numpy's."""
        expected = np.percentile(values, q)
        assert percentile(values, q) == pytest.approx(expected, rel=1e-9, abs=1e-6)

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
        (lambda: stats.mcnemar_pairs_needed(0.0, 0.5), "difference"),
        (lambda: stats.mcnemar_pairs_needed(0.6, 0.5), "difference"),
        (lambda: stats.mcnemar_pairs_needed(0.1, 1.5), "discordant_rate"),
        (lambda: stats.mcnemar_smallest_effect(-1, 0.5), "pairs"),
        (lambda: stats.mcnemar_smallest_effect(10, -0.5), "discordant_rate"),
        *(
            (lambda level=level: stats.wilson(1, 2, confidence=level), "confidence")
            for level in ODD
        ),
        *((lambda a=a: stats.mcnemar_pairs_needed(0.1, 0.2, alpha=a), "alpha") for a in ODD),
        *((lambda a=a: stats.mcnemar_smallest_effect(9, 0.2, alpha=a), "alpha") for a in ODD),
        *((lambda p=p: stats.mcnemar_pairs_needed(0.1, 0.2, power=p), "power") for p in ODD),
        (lambda: stats.mcnemar_smallest_effect(9, 0.2, power=0.05), "power"),
        (lambda: percentile([], 50), "values"),
        (lambda: percentile([1.0], 101), "q"),
        (lambda: stats.summarise([math.inf]), "values"),
    ],
)
def test_impossible_arguments_are_named(call: Callable[[], object], argument: str) -> None:
    """An argument that cannot be is refused by name."""
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.argument == argument
    assert argument in caught.value.message


def exact_power(pairs: int, rate: float, difference: float) -> float:
    """The chance that the exact test at 0.05 rejects, over every number of differing pairs."""
    lean, total = (rate + difference) / (2 * rate), 0.0
    for differing in range(pairs + 1):
        tail = 2 * oracle.binom.cdf(np.arange(differing + 1), differing, 0.5)
        critical = int(np.searchsorted(tail, 0.05, side="right")) - 1
        below = oracle.binom.cdf(critical, differing, lean)
        above = oracle.binom.sf(differing - critical - 1, differing, lean)
        total += oracle.binom.pmf(differing, pairs, rate) * (below + above)
    return total
