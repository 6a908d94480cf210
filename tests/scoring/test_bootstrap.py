"""Bootstrap intervals against SciPy's, and on data whose interval is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from helpers.scoring.bootstrap import mean_interval


@pytest.mark.parametrize("count", [5, 20, 200])
def test_agrees_with_scipy(count):
    values = np.random.default_rng(count).beta(8, 2, count)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    width = theirs.high - theirs.low
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.05 * width)


def test_is_repeatable_and_covers_the_mean_of_a_normal_about_as_often_as_it_says():
    random = np.random.default_rng(7)
    assert mean_interval(np.arange(9.0)) == mean_interval(np.arange(9.0))
    hits = sum(low <= 0 <= high for _, low, high in (mean_interval(random.normal(size=40)) for _ in range(120)))
    assert 105 <= hits <= 120  # 95 % of 120 is 114


def test_one_value_has_no_spread_and_none_is_refused():
    assert mean_interval(np.array([0.5])) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval(np.array([]))
