"""Scores on the plan's grid become labels on the case's, compared with SciPy's interpolation and nnU-Net itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from helpers.data.nnunet.plan import ChannelNorm, Plan
from helpers.data.nnunet.preprocess import prepare_case, restore_labels
from helpers.inference.resample import resample_to_labels

CASES = [
    ((14, 20, 24), (1.5, 0.8, 1.2), (0, 1, 2)),
    ((9, 20, 24), (5.0, 0.8, 0.7), (0, 1, 2)),
    ((14, 11, 24), (0.8, 4.0, 1.2), (1, 0, 2)),
    ((14, 20, 10), (0.6, 0.9, 3.5), (2, 0, 1)),
]


def case_of(shape, spacing, forward, version):
    """A prepared case, smooth class scores on its grid, and the plan's and the case's spacing in the plan's axes."""
    random = np.random.default_rng(sum(shape) + version)
    image = random.normal(100, 30, (1, *shape)).astype(np.float32)
    image[:, :2] = image[..., -3:] = 0
    backward = tuple(int(axis) for axis in np.argsort(forward))
    plan = Plan(
        version=version,
        configuration="3d_fullres",
        patch_size=(16, 16, 16),
        spacing_mm=(1.0, 0.9, 0.8),
        transpose_forward=forward,
        transpose_backward=backward,
        channels=(ChannelNorm("zscore"),),
        class_names=("background", "1", "2"),
        pools=((2, 2, 2),) * 2,
        kernels=((3, 3, 3),) * 3,
        n_convolutions=2,
        base_features=4,
        largest_width=320,
    )
    prepared = prepare_case(image, spacing, plan)
    scores = random.normal(size=(3, *prepared.image.shape[1:])).astype(np.float32)
    return prepared, scores, plan.spacing_mm, [spacing[axis] for axis in forward]


def margin_and_labels(resampled):
    """The margin of the best class, and its index."""
    ordered = np.sort(resampled, axis=0)
    return ordered[-1] - ordered[-2], resampled.argmax(axis=0)


def put_back(values, prepared, forward):
    """Values of the cropped grid on the case's own, written out with plain indices."""
    full = np.zeros(prepared.original_shape, values.dtype)
    view = full[prepared.box].transpose(forward)
    view[...] = values
    return full


def scipy_linear(scores, shape, axis):
    """Order 1 between voxel centres, the edge repeated; order 0 along one axis."""
    centres = [old / new * (np.arange(new) + 0.5) - 0.5 for old, new in zip(scores.shape[1:], shape, strict=True)]
    if axis is not None:
        centres[axis] = np.clip(np.floor(centres[axis] + 0.5), 0, scores.shape[1 + axis] - 1)
    grid = np.meshgrid(*centres, indexing="ij")
    return np.stack([map_coordinates(channel.astype(float), grid, order=1, mode="nearest") for channel in scores])


@pytest.mark.parametrize(("shape", "spacing", "forward"), CASES)
@pytest.mark.parametrize("version", [1, 2])
def test_labels_on_the_grid_of_the_case_equal_scipy(shape, spacing, forward, version):
    prepared, scores, _, _ = case_of(shape, spacing, forward, version)
    labels = resample_to_labels(scores, prepared.cropped_shape, nearest_axis=prepared.back_axis)
    restored = restore_labels(labels, prepared)
    margin, expected = margin_and_labels(scipy_linear(scores, prepared.cropped_shape, prepared.back_axis))
    sure = put_back(margin > 1e-5, prepared, forward)
    assert restored.shape == shape
    assert sure[prepared.box].mean() > 0.99
    np.testing.assert_array_equal(restored[sure], put_back(expected, prepared, forward)[sure])
    assert not restored[:2].any()
    assert not restored[..., -3:].any()


@pytest.mark.parametrize(("shape", "spacing", "forward"), CASES)
def test_labels_equal_nnunet_v2(shape, spacing, forward):
    resampling = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    prepared, scores, plan_mm, case_mm = case_of(shape, spacing, forward, 2)
    labels = resample_to_labels(scores, prepared.cropped_shape, nearest_axis=prepared.back_axis)
    expected = resampling.resample_data_or_seg_to_shape(
        scores, prepared.cropped_shape, plan_mm, case_mm, False, 1, 0, None
    )
    margin, theirs = margin_and_labels(expected)
    np.testing.assert_array_equal(labels[margin > 1e-5], theirs[margin > 1e-5])
