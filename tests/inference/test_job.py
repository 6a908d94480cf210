"""Inference of a prepared case: labels of every kind of plan, invalid scores refused, nothing written to disk."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from helpers.errors import DataError, DeviceError
from helpers.inference import (
    WindowPlan,
    as_predictor,
    gaussian_profile,
    infer_job,
    infer_scores,
    resample_to_labels,
    sliding_window,
    stream_slabs,
)

WINDOW = (8, 8, 8)
IO = Path("/proc/self/io")


@pytest.fixture
def volume():
    return np.random.default_rng(0).standard_normal((1, 13, 11, 9), dtype=np.float32)


def two_classes(batch: np.ndarray) -> np.ndarray:
    return np.concatenate([batch, -0.5 * batch + 0.1], axis=1)


def test_without_a_target_grid_labels_are_those_of_sliding_window(volume):
    plan = WindowPlan(WINDOW, 2, mirror_axes=(0, 2), activation="softmax", batch_size=3)
    options = {"classes": 2, "mirror_axes": (0, 2), "activation": "softmax", "batch_size": 3}
    expected = sliding_window(volume, two_classes, WINDOW, **options)
    assert np.array_equal(infer_job(volume, as_predictor(two_classes), plan), expected)


def test_with_a_target_grid_scores_are_resampled_before_labels_are_taken(volume):
    plan = WindowPlan(WINDOW, 2, gaussian=False, target_shape=(20, 16, 12), nearest_axis=0)
    slabs = stream_slabs(volume, as_predictor(two_classes), WindowPlan(WINDOW, 2, gaussian=False))
    expected = resample_to_labels(slabs, (20, 16, 12), source_shape=(13, 11, 9), nearest_axis=0)
    assert np.array_equal(infer_job(volume, as_predictor(two_classes), plan), expected)


@pytest.mark.parametrize("target", [None, (20, 16, 12)])
@pytest.mark.parametrize(("activation", "threshold"), [(None, None), ("sigmoid", None), ("sigmoid", 0.7)])
def test_regions_paint_their_labels_in_order_where_they_are_above_the_threshold(
    volume, target, activation, threshold
):
    options = {"activation": activation, "target_shape": target}
    nested = as_predictor(lambda batch: np.concatenate([3 * batch, 3 * batch - 0.5], axis=1))
    plan = WindowPlan(WINDOW, 2, region_labels=(2, 1), threshold=threshold, **options)
    scores = np.concatenate([slab.scores for slab in infer_scores(volume, nested, plan)], axis=1)
    limit = threshold or (0.5 if activation else 0.0)
    expected = np.where(scores[1] > limit, 1, np.where(scores[0] > limit, 2, 0))
    assert set(np.unique(expected)) == {0, 1, 2}
    assert np.array_equal(infer_job(volume, nested, plan), expected)


def test_a_single_sample_returns_the_graphs_own_output(volume):
    assert np.array_equal(infer_job(volume, as_predictor(two_classes), None), two_classes(volume[None]))


def test_a_plan_survives_json():
    plan = WindowPlan(WINDOW, 3, mirror_axes=(0, 1), activation="softmax", target_shape=(4, 5, 6), nearest_axis=2)
    plan = replace(plan, region_labels=(3, 1, 2))
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


def test_nan_in_a_single_sample_is_refused():
    with pytest.raises(DeviceError, match="not finite"):
        predictor = as_predictor(lambda batch: np.full((1, 1, 4, 4), np.nan, np.float32))
        infer_job(np.zeros((3, 4, 4), np.float32), predictor, None)


@pytest.mark.parametrize("target", [None, (8, 16, 16)])
def test_a_sigmoid_is_cut_at_a_half_also_after_resampling(target):
    plan = WindowPlan((8, 8, 8), 1, activation="sigmoid", target_shape=target)
    net = lambda batch: np.full(batch.shape, -4.0, np.float32)  # noqa: E731
    assert not infer_job(np.zeros((1, 8, 16, 16), np.float32), as_predictor(net), plan).any()


@pytest.mark.parametrize("target", [None, (5, 5, 5)])
def test_more_classes_than_a_byte_holds_are_refused(target):
    net = as_predictor(lambda batch: np.zeros((len(batch), 257, *batch.shape[2:]), np.float32))
    with pytest.raises(DataError, match="at most 256"):
        infer_job(np.zeros((1, 4, 4, 4), np.float32), net, WindowPlan((4, 4, 4), 257, target_shape=target))


def written_bytes() -> int:
    """Bytes of every write call of this process, whatever the file."""
    return int(IO.read_text(encoding="utf-8").partition("wchar:")[2].split()[0])


@pytest.mark.skipif(not IO.is_file(), reason="written bytes are read from /proc (Linux)")
@pytest.mark.parametrize("target", [None, (80, 90, 70)])
def test_no_byte_is_written(target, caplog):
    caplog.set_level(logging.CRITICAL, "cookbook")  # the log file of an earlier test's run may still be attached
    plan = WindowPlan((16, 32, 32), 3, activation="softmax", target_shape=target, batch_size=2)
    image = np.random.default_rng(0).standard_normal((1, 40, 80, 80), dtype=np.float32)
    predictor = as_predictor(lambda batch: np.repeat(batch, 3, axis=1))
    infer_job(image, predictor, plan)  # what is compiled on first use is kept on disk
    written = []
    for _ in range(5):  # a thread of an earlier test, such as the heartbeat of a run, may write in between
        before = written_bytes()
        infer_job(image, predictor, plan)
        written.append(written_bytes() - before)
    assert min(written) == 0
    before = written_bytes()
    Path("/dev/null").write_bytes(b"12345")
    assert written_bytes() >= before + 5
