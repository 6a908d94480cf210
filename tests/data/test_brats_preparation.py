"""BraTS images are prepared by the published formula; the brain is boxed, and crops are drawn as in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.data import brats
from helpers.errors import DataError


def test_preparation_is_the_published_formula():
    image = np.random.default_rng(4).gamma(2.0, 50.0, (4, 20, 21, 22)).astype(np.float32)
    image[:, :8] = 0
    prepared = brats.prepare_brats(image)
    assert prepared.dtype == np.float32
    for channel, ours in zip(image, prepared, strict=True):
        values = torch.from_numpy(channel).double()
        low, high = np.percentile(channel.astype(np.float64), [0.1, 99.8])
        clipped = values.clamp(low, high)
        expected = (clipped - clipped.mean()) / clipped.std()  # unbiased, over the whole volume
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)
        assert ours.max() < (channel.max() - channel.mean()) / channel.std()  # the clip did something


def test_preparation_of_a_constant_modality_is_zero_and_finite():
    prepared = brats.prepare_brats(np.full((4, 3, 3, 3), 7, np.float32))
    assert np.array_equal(prepared, np.zeros((4, 3, 3, 3)))


def test_the_brain_is_what_is_not_exactly_zero():
    image = np.zeros((4, 10, 11, 12), np.float32)
    image[0, 3, 4, 5] = -1e-6  # interpolation makes negatives inside the brain
    image[2, 6, 9, 2] = 4
    assert brats.brain_box(image) == (slice(3, 7), slice(4, 10), slice(2, 6))
    assert brats.brain_box(np.zeros((4, 2, 3, 4))) == (slice(0, 2), slice(0, 3), slice(0, 4))


def test_crops_follow_the_seed_and_hold_tumour():
    truths = [np.zeros((30, 30, 30), np.uint8) for _ in range(3)]
    truths[0][20:23, 5:8, 14] = 2
    truths[2][1, 1, 1] = 3
    crops = brats.draw_crops(truths, 40, 8, 1)
    assert crops == brats.draw_crops(truths, 40, 8, 1)
    assert crops != brats.draw_crops(truths, 40, 8, 2)
    assert len(crops) == 40 and {index for index, _ in crops} == {0, 2}
    for index, start in crops:
        assert all(0 <= first <= 22 for first in start)
        assert truths[index][tuple(slice(first, first + 8) for first in start)].any()


def test_crops_of_volumes_smaller_than_the_crop_start_at_zero():
    truth = np.zeros((4, 30, 8), np.uint8)
    truth[2, 15, 3] = 1
    for _, (z, y, x) in brats.draw_crops([truth], 10, 8, 0):
        assert (z, x) == (0, 0) and 8 <= y <= 15


def test_crops_reach_the_last_voxel():
    truth = np.zeros((9, 9, 9), np.uint8)
    truth[8, 8, 8] = 1
    assert {start for _, start in brats.draw_crops([truth], 3, 8, 0)} == {(1, 1, 1)}


def test_crops_without_any_tumour_are_refused():
    with pytest.raises(DataError, match="without any tumour"):
        brats.draw_crops([np.zeros((9, 9, 9), np.uint8)], 3, 8, 0)
