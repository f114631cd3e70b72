"""Student's t from the standard library, against scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from refold.replay.stats.student import over_spread, t_deviations, t_tail

degrees = st.one_of(st.integers(1, 40).map(float), st.floats(1, 1e6))


@given(st.floats(-60, 60), degrees)
def test_the_tail_is_scipys(deviations: float, freedom: float) -> None:
    """For any degrees of freedom, whole or not, on either side of 0."""
    assert t_tail(deviations, freedom) == pytest.approx(
        oracle.t.sf(deviations, freedom), rel=1e-6, abs=1e-10
    )


def test_the_tail_ends() -> None:
    """Nothing is beyond infinity."""
    assert (t_tail(math.inf, 3.0), t_tail(-math.inf, 3.0), t_tail(0.0, 3.0)) == (0.0, 1.0, 0.5)


@given(st.floats(0.01, 0.9999), degrees)
def test_the_quantile_is_scipys(confidence: float, freedom: float) -> None:
    """Half the width of an interval, in standard errors."""
    expected = oracle.t.ppf((1 + confidence) / 2, freedom)
    assert t_deviations(confidence, freedom) == pytest.approx(expected, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("freedom", [1, 2, 3.5, 9, 40, 1_000])
def test_the_spread_averages_to_what_is_known_of_it(freedom: float) -> None:
    """Its density adds up to 1, its square to the true one."""
    assert over_spread(lambda _: 1.0, freedom) == pytest.approx(1, abs=1e-10)
    assert over_spread(lambda spread: spread**2, freedom) == pytest.approx(1, abs=1e-10)
