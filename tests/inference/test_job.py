"""What another machine is asked about a prepared array, and that numpy is all it needs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from helpers.inference import (
    WindowPlan,
    as_predictor,
    gaussian_profile,
    infer_job,
    resample_to_labels,
    sliding_window,
    stream_slabs,
)

WINDOW = (8, 8, 8)


@pytest.fixture
def volume():
    return np.random.default_rng(0).standard_normal((1, 13, 11, 9), dtype=np.float32)


def two_classes(batch: np.ndarray) -> np.ndarray:
    return np.concatenate([batch, -0.5 * batch + 0.1], axis=1)


def test_windows_without_another_grid_are_the_sliding_window(volume):
    plan = WindowPlan(WINDOW, 2, mirror_axes=(0, 2), activation="softmax", batch_size=3)
    options = {"classes": 2, "mirror_axes": (0, 2), "activation": "softmax", "batch_size": 3}
    expected = sliding_window(volume, two_classes, WINDOW, **options)
    assert np.array_equal(infer_job(volume, as_predictor(two_classes), plan), expected)


def test_with_another_grid_scores_are_resampled_before_labels_are_taken(volume):
    plan = WindowPlan(WINDOW, 2, gaussian=False, target_shape=(20, 16, 12), nearest_axis=0)
    slabs = stream_slabs(volume, as_predictor(two_classes), WindowPlan(WINDOW, 2, gaussian=False))
    expected = resample_to_labels(slabs, (20, 16, 12), source_shape=(13, 11, 9), nearest_axis=0)
    assert np.array_equal(infer_job(volume, as_predictor(two_classes), plan), expected)


def test_one_sample_is_answered_by_the_graph_itself(volume):
    assert np.array_equal(infer_job(volume, as_predictor(two_classes), None), two_classes(volume[None]))


def test_a_plan_comes_back_from_json_equal():
    plan = WindowPlan(WINDOW, 3, mirror_axes=(0, 1), activation="softmax", target_shape=(4, 5, 6), nearest_axis=2)
    stored = json.loads(json.dumps(plan.to_json()))
    assert WindowPlan.from_json(stored) == plan
    assert list(stored)[:3] == ["window", "classes", "step"]  # names in bundles that were written before


@pytest.mark.parametrize("window", [1, 2, 5, 8, 64, 80, 97, 128, 320])
def test_the_profile_is_scipys_filter_of_an_impulse_to_the_last_bit(window):
    impulse = np.zeros(window)
    impulse[window // 2] = 1.0
    expected = gaussian_filter1d(impulse, window / 8, mode="constant", cval=0.0)
    expected /= expected.max()
    expected = np.maximum(expected, expected[expected > 0].min())
    assert np.array_equal(gaussian_profile(window), expected)
