"""The interval of a difference of scores that are no means: against the normal theory, seeded, paired."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.scoring.bootstrap import paired_interval


def test_the_interval_of_a_mean_is_that_of_normal_theory():
    values = np.random.default_rng(1).normal(0.3, 0.1, 200)
    low, high = paired_interval(200, lambda indices: float(values[indices].mean()), resamples=4000)
    half = 1.96 * values.std() / math.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_pairs_stay_together():
    first = np.random.default_rng(2).normal(0, 1, 30)
    low, high = paired_interval(30, lambda indices: float(np.mean(first[indices] + 0.01) - np.mean(first[indices])))
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01)


def test_nothing_to_score_is_no_number():
    assert all(math.isnan(edge) for edge in paired_interval(3, lambda indices: None))
