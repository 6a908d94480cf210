"""Answers that cannot be right are refused, and labels follow the activation."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.errors import DataError, DeviceError
from helpers.inference import WindowPlan, as_predictor, infer_job


def test_one_sample_that_is_no_number_is_refused():
    with pytest.raises(DeviceError, match="not finite"):
        predictor = as_predictor(lambda batch: np.full((1, 1, 4, 4), np.nan, np.float32))
        infer_job(np.zeros((3, 4, 4), np.float32), predictor, None)


@pytest.mark.parametrize("target", [None, (8, 16, 16)])
def test_a_sigmoid_counts_from_one_half_also_after_resampling(target):
    plan = WindowPlan((8, 8, 8), 1, activation="sigmoid", target_shape=target)
    net = lambda batch: np.full(batch.shape, -4.0, np.float32)  # noqa: E731
    assert not infer_job(np.zeros((1, 8, 16, 16), np.float32), as_predictor(net), plan).any()


@pytest.mark.parametrize("target", [None, (5, 5, 5)])
def test_more_classes_than_a_byte_counts_are_refused(target):
    net = as_predictor(lambda batch: np.zeros((len(batch), 257, *batch.shape[2:]), np.float32))
    with pytest.raises(DataError, match="at most 256"):
        infer_job(np.zeros((1, 4, 4, 4), np.float32), net, WindowPlan((4, 4, 4), 257, target_shape=target))
