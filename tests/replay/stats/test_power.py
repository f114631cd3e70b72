"""What a number of clusters can see, against statsmodels and drawn samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle
from statsmodels.stats.power import TTestPower

from refold.replay.stats.power import clusters_needed, settled, smallest_effect

FIVE_PERCENT = {"confidence": 0.95}


@settings(max_examples=40)
@given(st.integers(3, 400), st.floats(0.02, 1.2), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_power_is_statsmodels(count: int, effect: float, confidence: float) -> None:
    """That of the two-sided t test of one sample, to seven digits."""
    got = settled(effect, 1 / math.sqrt(count), count - 1, confidence=confidence)
    # Its noncentral t loses its way where the test cannot fail.
    is_sure = effect * math.sqrt(count) > 6
    expected = 1.0 if is_sure else TTestPower().power(effect, count, 1 - confidence)
    assert got == pytest.approx(expected, abs=2e-3 if is_sure else 1e-7)


@pytest.mark.parametrize("count", [6, 20, 150])
def test_the_smallest_effect_is_statsmodels(count: int) -> None:
    """What is seen in four of five comparisons of so many."""
    expected = TTestPower().solve_power(nobs=count, alpha=0.05, power=0.8)
    got = smallest_effect(1 / math.sqrt(count), count - 1, **FIVE_PERCENT)
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("effect", "deviation"), [(0.1, 0.5), (0.02, 0.2), (-0.3, 0.4)])
def test_the_clusters_needed_are_statsmodels(effect: float, deviation: float) -> None:
    """The next whole number, and one fewer has less power."""
    got = clusters_needed(effect, deviation, **FIVE_PERCENT)
    expected = TTestPower().solve_power(abs(effect) / deviation, alpha=0.05, power=0.8)
    assert got == math.ceil(expected)


@pytest.mark.parametrize(("true", "margin"), [(0.0, 0.4), (0.1, 0.5), (0.3, 0.2), (0.0, 2.0)])
def test_the_chance_to_settle_is_that_of_drawn_samples(true: float, margin: float) -> None:
    """Of 20,000 samples of 30, as many exclude 0 or keep within the margin as is said."""
    drawn = np.random.default_rng(7).normal(true, 1, (20_000, 30))
    means, half = drawn.mean(1), oracle.t.ppf(0.975, 29) * oracle.sem(drawn, axis=1)
    are_settled = (abs(means) > half) | (abs(means) + half <= margin)
    got = settled(true, 1 / math.sqrt(30), 29, confidence=0.95, margin=margin)
    assert got == pytest.approx(are_settled.mean(), abs=0.01)


def test_a_margin_asks_for_clusters_where_there_is_no_difference() -> None:
    """((1.96 + 1.15) * deviation / margin)², as 5 % are false alarms and 75 % within it."""
    needed = clusters_needed(0.0, 0.2, confidence=0.95, margin=0.02)
    assert needed == pytest.approx(((1.96 + 1.1503) * 10) ** 2, abs=4)
    assert clusters_needed(0.0, 0.2, confidence=0.95) is None


def test_without_spread_the_fewest_clusters_do() -> None:
    """Fewer could not speak, more are not needed."""
    assert clusters_needed(0.5, 0.0, **FIVE_PERCENT) == 6
