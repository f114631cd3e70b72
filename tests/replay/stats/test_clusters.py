"""Means over items in clusters, against statsmodels and the algebra written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from refold.replay.stats import share_interval, wilson
from refold.replay.stats.clusters import clustered_mean

values = st.floats(-1, 1).map(lambda value: round(value, 6))
sizes = st.lists(st.integers(1, 8), min_size=2, max_size=12)


def of(items: list[list[float]]) -> list[tuple[float, int]]:
    """Clusters of items as their sums and numbers."""
    return [(math.fsum(one), len(one)) for one in items]


def written_out(items: list[list[float]]) -> tuple[float, float, float]:
    """Mean, error with each cluster left out once, and degrees of freedom by their matrices."""
    y = np.concatenate([np.array(one) for one in items])
    group = np.concatenate([np.full(len(one), n) for n, one in enumerate(items)])
    n, count, x = len(y), len(items), np.ones((len(y), 1))
    left_out = np.array([y[group != g].mean() for g in range(count)])
    error = math.sqrt((count - 1) / count * ((left_out - y.mean()) ** 2).sum())
    keep, rows = np.eye(n) - x @ x.T / n, []
    for g in range(count):
        at = group == g
        values, vectors = np.linalg.eigh(keep[np.ix_(at, at)])
        rows.append(x[at, 0] @ vectors @ np.diag(values**-0.5) @ vectors.T @ keep[at] / n)
    omega = np.array(rows) @ np.array(rows).T
    return float(y.mean()), error, np.trace(omega) ** 2 / np.trace(omega @ omega)


@given(sizes.flatmap(lambda of: st.tuples(*(st.lists(values, min_size=n, max_size=n) for n in of))))
def test_the_error_is_the_jackknifes_and_the_degrees_bell_and_mccaffreys(
    items: tuple[list[float], ...],
) -> None:
    """As their papers say, written out, for clusters of any sizes."""
    got = clustered_mean(of(list(items)))
    mean, error, degrees = written_out(list(items))
    assert (got.mean, got.error) == pytest.approx((mean, error), abs=1e-9)
    assert got.degrees == pytest.approx(degrees, rel=1e-6)
    assert (got.items, got.clusters) == (sum(map(len, items)), len(items))


@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_clusters_of_one_size_have_the_usual_error(size: int, count: int, seed: int) -> None:
    """Statsmodels' cluster-robust error with its small-sample correction, and G - 1 degrees."""
    generator = np.random.default_rng(seed)
    items = generator.normal(generator.normal(0, 1, (count, 1)), 1, (count, size))
    got = clustered_mean(of(items.tolist()))
    groups = np.repeat(np.arange(count), size)
    fitted = sm.OLS(items.ravel(), np.ones(count * size))
    expected = fitted.fit(cov_type="cluster", cov_kwds={"groups": groups})
    # Its correction has (N - 1) / (N - k) too, which is 1 for a mean.
    assert got.error == pytest.approx(expected.bse[0], rel=1e-9)
    assert got.degrees == pytest.approx(count - 1)


@given(st.lists(values, min_size=2, max_size=30))
def test_clusters_of_one_item_are_a_plain_mean(items: list[float]) -> None:
    """Then the error is scipy's standard error of the mean."""
    got = clustered_mean([(item, 1) for item in items])
    assert got.error == pytest.approx(oracle.sem(items), abs=1e-12)


def test_one_cluster_says_nothing_of_others() -> None:
    """Its error is not known, which is not 0."""
    got = clustered_mean([(3.0, 10)])
    assert (got.mean, got.error, got.degrees) == (0.3, None, 0.0)


def test_one_large_cluster_leaves_few_degrees_of_freedom() -> None:
    """Where one of ten holds half of all items, there is not the information of ten."""
    assert clustered_mean([(45.0, 90), *[(5.0, 10)] * 9]).degrees < 4


class TestShare:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
    def test_holds_the_share_and_stays_within_0_and_1(self, pairs: list[tuple[int, int]]) -> None:
        """For any clusters, those without a trial among them."""
        clusters = [(float(won), won + lost) for won, lost in pairs]
        low, high = share_interval(clusters)
        won, tried = (sum(one[n] for one in clusters) for n in (0, 1))
        assert 0 <= low <= (won / tried if tried else 0) <= high <= 1

    def test_many_independent_trials_give_wilsons_interval(self) -> None:
        """With clusters of one trial and t like a bell curve."""
        clusters = [(1.0, 1)] * 3_000 + [(0.0, 1)] * 7_000
        assert share_interval(clusters) == pytest.approx(wilson(3_000, 10_000), abs=2e-5)

    @pytest.mark.parametrize("won", [0, 10])
    def test_trials_all_alike_are_not_certainty(self, won: int) -> None:
        """All or nothing in 12 clusters is not known better than 12 trials are."""
        low, high = share_interval([(won, 10)] * 12)
        assert high - low > 0.2

    @pytest.mark.parametrize("clusters", [[], [(3, 4)], [(3, 4), (0, 0)]])
    def test_fewer_than_two_clusters_tell_nothing(self, clusters: list[tuple[float, int]]) -> None:
        """Nothing is known of a share that one conversation shows."""
        assert share_interval(clusters) == (0.0, 1.0)
