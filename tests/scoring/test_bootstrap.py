"""Bootstrap intervals: against normal theory and percentiles, on data without spread, and seeded."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from helpers.scoring.bootstrap import mean_interval, paired_interval


@pytest.mark.parametrize("count", [5, 20, 200])
def test_is_the_interval_of_scipy_within_the_noise_of_resampling(count):
    values = np.random.default_rng(count).beta(8, 2, count)
    theirs = bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=1).confidence_interval
    assert mean_interval(values) == pytest.approx(tuple(theirs), abs=0.05 * (theirs.high - theirs.low))


def test_skewed_scores_move_it_away_from_the_plain_percentiles():
    values = 1 - np.random.default_rng(4).exponential(0.05, 12)
    plain = bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=0).confidence_interval
    low, high = mean_interval(values)
    assert low < plain.low and high < plain.high  # towards the long tail of low scores


def test_is_repeatable_and_covers_the_mean_of_a_normal_about_as_often_as_it_says():
    random = np.random.default_rng(7)
    assert mean_interval(np.arange(9.0)) == mean_interval(np.arange(9.0))
    intervals = [mean_interval(random.normal(size=40)) for _ in range(120)]
    assert 105 <= sum(low <= 0 <= high for low, high in intervals) <= 120  # 95 % of 120 is 114


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.1, 0.1, 0.1], [0.0] * 7])
def test_values_without_spread_have_no_interval(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean_interval(np.array(values)) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=2, max_size=9))
def test_there_is_never_a_nan_a_warning_or_a_bound_outside_the_values(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = mean_interval(np.array(values))
    if interval is not None:
        low, high = interval
        assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


@pytest.mark.parametrize("values", [np.array([]), np.zeros((2, 2))])
def test_nothing_and_several_axes_are_refused(values):
    with pytest.raises(ValueError, match="at least 1"):
        mean_interval(values)


def test_a_paired_interval_of_a_mean_is_that_of_normal_theory():
    values = np.random.default_rng(1).normal(0.3, 0.1, 200)
    low, high = paired_interval(200, lambda indices: float(values[indices].mean()), resamples=4000)
    half = 1.96 * values.std() / math.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_pairs_stay_together():
    first = np.random.default_rng(2).normal(0, 1, 30)
    low, high = paired_interval(30, lambda indices: float(np.mean(first[indices] + 0.01) - np.mean(first[indices])))
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01)


def test_resamples_without_a_score_are_left_out():
    def difference(indices):
        return 0.2 if 0 in indices else None

    assert paired_interval(5, difference) == (0.2, 0.2)
    assert paired_interval(3, lambda indices: None) is None
