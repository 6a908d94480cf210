"""Resampling with one matrix per axis equals nnU-Net's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, zoom

from helpers.data.nnunet.resample import axis_matrix, nearest_indices, resample_image, resampled_shape, separate_axis


def random_cases(count):
    """Shapes and spacings of every kind: fine and coarse, isotropic and not, some axes unchanged."""
    random = np.random.default_rng(11)
    for index in range(count):
        shape = random.integers(4, 30, 3)
        spacing, target = random.uniform(0.5, 3, 3), random.uniform(0.5, 3, 3)
        if index % 3 == 0:
            spacing[random.integers(3)] = 9.5
        if index % 4 == 1:
            target[random.integers(3)] = 10.5
        if index % 5 == 0:
            target[0] = spacing[0]
        image = random.normal(size=(2, *shape)).astype(np.float32) * 300
        yield image, spacing.tolist(), target.tolist()


@pytest.mark.parametrize("order", [1, 3])
def test_a_channel_equals_the_clipped_spline_zoom_of_scipy(order):
    image = np.random.default_rng(0).normal(size=(1, 9, 14, 11)).astype(np.float32)
    expected = zoom(image[0].astype(float), (13 / 9, 10 / 14, 2.0), order=order, mode="nearest", grid_mode=True)
    ours = resample_image(image, (13, 10, 22), None, order)[0]
    np.testing.assert_allclose(ours, np.clip(expected, image.min(), image.max()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_long_axes_whose_matrix_is_taken_in_blocks_equal_scipy(axis, order):
    random, old, new = np.random.default_rng(1), 230, 171
    image = np.moveaxis(random.normal(size=(1, old, 3, 2)).astype(np.float32), 1, 1 + axis)
    places = old / new * (np.arange(new) + 0.5) - 0.5
    lines = np.moveaxis(image[0], axis, -1).reshape(-1, old).astype(float)
    expected = np.stack([map_coordinates(line, [places], order=order, mode="nearest") for line in lines])
    ours = resample_image(image, tuple(np.moveaxis(np.empty((new, 3, 2)), 0, axis).shape), None, order)
    ours = np.moveaxis(ours[0], axis, -1).reshape(-1, new)
    np.testing.assert_allclose(ours, np.clip(expected, image.min(), image.max()), rtol=0, atol=2e-6)


def test_a_coarse_axis_is_resampled_separately_by_the_nearest_slice():
    image = np.random.default_rng(0).normal(size=(1, 5, 14, 11)).astype(np.float32)
    slices = [
        np.clip(zoom(plane.astype(float), (9 / 14, 16 / 11), order=3, mode="nearest", grid_mode=True), *limits)
        for plane, limits in zip(image[0], [(p.min(), p.max()) for p in image[0]], strict=True)
    ]
    coordinates = np.meshgrid(5 / 8 * (np.arange(8) + 0.5) - 0.5, np.arange(9), np.arange(16), indexing="ij")
    expected = map_coordinates(np.stack(slices), coordinates, order=0, mode="nearest")
    np.testing.assert_allclose(resample_image(image, (8, 9, 16), 0)[0], expected, rtol=0, atol=1e-5)


def test_the_axes_can_be_any():
    image = np.random.default_rng(0).normal(size=(1, 6, 7, 8)).astype(np.float32)
    ours = resample_image(image, (9, 12, 5), 1)
    turned = resample_image(image.transpose(0, 2, 1, 3), (12, 9, 5), 0)
    np.testing.assert_allclose(ours, turned.transpose(0, 2, 1, 3), rtol=0, atol=1e-6)


def test_constants_stay_and_the_same_size_is_returned_as_is():
    image = np.full((1, 5, 6, 7), 42.0, np.float32)
    np.testing.assert_array_equal(resample_image(image, (9, 4, 13), None), np.full((1, 9, 4, 13), 42.0, np.float32))
    assert resample_image(image, (5, 6, 7), 0) is image
    np.testing.assert_allclose(axis_matrix(7, 12, 3).sum(axis=1), 1, atol=1e-6)


def test_of_two_equally_near_voxels_the_later_one_is_used():
    assert nearest_indices(4, 2).tolist() == [1, 3]
    assert nearest_indices(2, 5).tolist() == [0, 0, 1, 1, 1]


def test_a_single_coarse_axis_is_found():
    assert separate_axis((5.0, 0.8, 0.8), (1.0, 1.0, 1.0)) == 0
    assert separate_axis((1.0, 1.0, 1.0), (1.0, 4.0, 1.0)) == 1
    assert separate_axis((3.0, 1.0, 1.0), (1.0, 1.0, 1.0)) is None
    assert separate_axis((0.24, 1.25, 1.25), (1.0, 1.0, 4.0)) is None


def test_the_size_is_rounded_half_to_even():
    assert resampled_shape((5, 7, 10), (1.0, 0.5, 1.0), (2.0, 1.0, 0.76)) == (2, 4, 13)


def test_an_axis_keeps_at_least_one_voxel():
    assert resampled_shape((1, 40, 40), (0.9, 1.2, 1.1), (2.0, 1.2, 1.1)) == (1, 40, 40)


def test_everything_equals_nnunet_v2():
    theirs = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    worst = 0.0
    for image, spacing, target in random_cases(24):
        shape = theirs.compute_new_shape(image.shape[1:], spacing, target)
        assert resampled_shape(image.shape[1:], spacing, target) == tuple(shape)
        _, axis = theirs.determine_do_sep_z_and_axis(None, spacing, target)
        assert separate_axis(spacing, target) == axis
        expected = theirs.resample_data_or_seg_to_shape(image, shape, spacing, target, False, 3, 0, None)
        worst = max(worst, np.abs(resample_image(image, shape, axis) - expected).max() / np.ptp(image))
    assert worst < 2e-6
