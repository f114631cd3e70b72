"""Exact tests by flipping signs, against scipy and all flips tried one by one."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, product

import numpy as np
import paired_eval
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

from refold.replay.stats.exact import (
    apart,
    apart_p,
    can_be_exact,
    fewest_clusters,
    fewest_samples,
    mcnemar_exact,
    sign_flip_interval,
    sign_flip_p,
)

differences = st.lists(
    st.integers(-40, 40).filter(bool).map(lambda n: n / 8), min_size=2, max_size=9
)


@given(differences)
def test_p_is_scipys_over_all_signs(told: list[float]) -> None:
    """The permutation test of scipy, which tries every flip when there are few."""
    expected = oracle.permutation_test(
        (np.array(told),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(told) == pytest.approx(expected.pvalue, abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 9))
def test_differences_of_one_size_are_mcnemars(up: int, down: int, size: float) -> None:
    """Then only the direction counts, for any number, as in another library."""
    told = [size] * up + [-size] * down
    assert can_be_exact(told)
    assert sign_flip_p(told) == mcnemar_exact(up, down)
    assert mcnemar_exact(up, down) == pytest.approx(paired_eval.mcnemar_exact(up, down))


def test_many_of_unlike_sizes_are_not_gone_through() -> None:
    """16 are, 17 are left to t."""
    assert can_be_exact([float(n) for n in range(1, 17)])
    assert not can_be_exact([float(n) for n in range(1, 18)])


def test_sums_that_differ_by_rounding_are_one_sum() -> None:
    """0.1 + 0.2 is 0.3: a p that took it for less would be too small."""
    told = [0.1, 0.2, -0.3, 0.1, 0.2]
    assert sign_flip_p(told) == sign_flip_p([1.0, 2.0, -3.0, 1.0, 2.0])


def flipped(clusters: list[tuple[float, int]], at: float) -> float:
    """The one-sided p that the mean is above ``at``, every flip tried."""
    sums = [total - at * count for total, count in clusters]
    flips = list(product((1, -1), repeat=len(sums)))
    hits = sum(np.dot(signs, sums) >= sum(sums) - 1e-9 for signs in flips)
    return float(hits) / len(flips)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(-9, 9).map(float), st.integers(1, 5)), min_size=6, max_size=9)
)
def test_the_interval_is_what_the_test_does_not_reject(told: list[tuple[float, int]]) -> None:
    """Just outside its ends every flip rejects, just inside none does."""
    low, high = sign_flip_interval(told, 0.95)
    assume(high > low)
    inside = min(1e-4, (high - low) / 4)
    assert flipped(told, low - 1e-4) <= 0.025 < flipped(told, low + inside)
    mirrored = [(-total, count) for total, count in told]
    assert flipped(mirrored, -high - 1e-4) <= 0.025 < flipped(mirrored, -high + inside)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_fewer_than_six_show_nothing(count: int) -> None:
    """With five, one flip of each side is 2 / 2**5 of all: above 5 %."""
    assert sign_flip_interval([(1.0, 1)] * count, 0.95) == (-math.inf, math.inf)
    assert sign_flip_p([1.0] * count) > 0.05 > sign_flip_p([1.0] * 6)


@pytest.mark.parametrize(("alpha", "fewest"), [(0.05, 6), (0.1, 5), (0.01, 8), (0.5, 2)])
def test_the_fewest_clusters_are_those_that_can_reject(alpha: float, fewest: int) -> None:
    """One fewer cannot, even if all of them agree."""
    assert fewest_clusters(alpha) == fewest
    assert 2 / 2**fewest <= alpha < 2 / 2 ** (fewest - 1)


kinds = st.lists(st.sampled_from("abcd"), min_size=1, max_size=6)


@given(kinds, kinds)
def test_samples_apart_are_all_ways_of_dealing_them_tried_one_by_one(
    first: list[str], second: list[str]
) -> None:
    """The share of the ways that are apart as far or farther; nothing of it is sampled."""
    every, found = [*first, *second], apart(Counter(first), Counter(second))
    far = []
    for places in combinations(range(len(every)), len(first)):
        own = Counter(every[place] for place in places)
        far.append(apart(own, Counter(every) - own))
    expected = sum(one >= found - 1e-9 for one in far) / len(far)
    assert apart_p(Counter(first), Counter(second)) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 25), st.integers(0, 25))
def test_two_kinds_in_samples_of_one_size_are_fishers_exact_test(one: int, other: int) -> None:
    """As scipy has it, two-sided."""
    first, second = {"a": one, "b": 25 - one}, {"a": other, "b": 25 - other}
    expected = oracle.fisher_exact([[one, 25 - one], [other, 25 - other]]).pvalue
    assert apart_p(first, second) == pytest.approx(expected, abs=1e-9)


def test_many_kinds_in_large_samples_are_gone_through_at_once() -> None:
    """A hundred answers a side of which no two are alike: nothing is apart more than that."""
    first, second = {f"a{n}": 1 for n in range(100)}, {f"b{n}": 1 for n in range(100)}
    assert apart(first, second) == 1.0
    assert apart_p(first, second) == 1.0


def test_three_samples_a_side_can_never_tell() -> None:
    """All of one kind here and of another there is one of ten ways with three, of 35 with four."""
    assert fewest_samples(0.05) == 4
    assert apart_p({"a": 3}, {"b": 3}) == pytest.approx(2 / 20)
    assert apart_p({"a": 4}, {"b": 4}) == pytest.approx(2 / 70)
