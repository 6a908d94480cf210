"""Cases are prepared as by nnU-Net, and masks are restored to the voxels they were made from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, zoom

from helpers.data.nnunet.plan import ChannelNorm, Plan
from helpers.data.nnunet.preprocess import normalise, prepare_case, restore_labels
from helpers.errors import DataError

CT = ChannelNorm("ct", False, 99.4, 39.4, -17.0, 201.0)


def plan(**changes) -> Plan:
    given = {
        "version": 1,
        "configuration": "3d_fullres",
        "patch_size": (32, 32, 32),
        "spacing_mm": (1.0, 0.8, 0.8),
        "transpose_forward": (0, 1, 2),
        "transpose_backward": (0, 1, 2),
        "channels": (ChannelNorm("zscore"),),
        "class_names": ("background", "1"),
        "pools": ((2, 2, 2),) * 2,
        "kernels": ((3, 3, 3),) * 3,
        "n_convolutions": 2,
        "base_features": 8,
        "largest_width": 320,
    }
    return Plan(**{**given, **changes})


def body(shape=(12, 20, 24), seed=0, channels=1):
    """Intensities around 100 in a box with a hole of zeros; zeros around it."""
    image = np.random.default_rng(seed).normal(100, 30, (channels, *shape)).astype(np.float32)
    image[:, :2] = image[:, :, :3] = image[..., -4:] = 0
    image[:, 5:7, 8:12, 10:13] = 0
    return image


def test_the_box_holds_every_nonzero_voxel_of_any_channel():
    image = np.zeros((2, 5, 6, 7))
    image[0, 1, 2, 3], image[1, 3, 4, 1] = -1, 2
    prepared = prepare_case(image, (1.0, 1.0, 1.0), plan(channels=(CT, CT)))
    assert prepared.box == (slice(1, 4), slice(2, 5), slice(1, 4))
    with pytest.raises(DataError, match="zero everywhere"):
        prepare_case(np.zeros((1, 3, 3, 3)), (1.0, 1.0, 1.0), plan(channels=(CT,)))


def test_ct_of_v1_is_resampled_and_then_clipped_and_normalised():
    image = body()
    prepared = prepare_case(image, (2.0, 0.8, 1.2), plan(channels=(CT,)))
    crop = image[0, 2:, 3:, :-4].astype(float)
    expected = zoom(crop, (20 / 10, 1, 30 / 20), order=3, mode="nearest", grid_mode=True)
    expected = np.clip(expected, crop.min(), crop.max())
    expected = (np.clip(expected, -17, 201) - 99.4) / 39.4
    assert prepared.image.dtype == np.float32
    np.testing.assert_allclose(prepared.image[0], expected, rtol=0, atol=1e-4)


def test_v2_normalises_before_it_resamples():
    image = body()
    prepared = prepare_case(image, (2.0, 0.8, 0.8), plan(version=2))
    crop = image[0, 2:, 3:, :-4].astype(float)
    crop = (crop - crop.mean()) / crop.std()
    expected = np.clip(zoom(crop, (2, 1, 1), order=3, mode="nearest", grid_mode=True), crop.min(), crop.max())
    np.testing.assert_allclose(prepared.image[0], expected, rtol=0, atol=1e-4)
    other = prepare_case(image, (2.0, 0.8, 0.8), plan(version=1))
    assert np.abs(other.image - prepared.image).max() > 1e-2


def test_a_plan_that_masks_normalises_inside_and_leaves_zero_outside():
    image = body()
    image[0, 2:5, 3:6, :4] = 0  # a corner of the box that is outside, unlike the hole
    mask = binary_fill_holes(image[0] != 0)[2:, 3:, :-4]
    prepared = prepare_case(image, (1.0, 0.8, 0.8), plan(channels=(ChannelNorm("zscore", True),)))
    crop = image[0, 2:, 3:, :-4].astype(float)
    expected = np.where(mask, (crop - crop[mask].mean()) / (crop[mask].std() + 1e-8), 0)
    assert not mask.all()
    np.testing.assert_allclose(prepared.image[0], expected, rtol=0, atol=1e-5)


def test_a_flat_plan_keeps_the_spacing_between_slices():
    image = body()
    flat = plan(patch_size=(64, 64), spacing_mm=(0.4, 0.6))
    assert prepare_case(image, (7.0, 0.8, 1.2), flat).image.shape == (1, 10, 34, 40)
    assert prepare_case(image, (1.37, 0.8, 1.2), flat).image.shape == (1, 10, 34, 40)


@pytest.mark.parametrize("forward", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("version", [1, 2])
def test_a_mask_is_restored_to_the_voxels_it_was_cropped_from(forward, version):
    image = body()
    backward = tuple(int(axis) for axis in np.argsort(forward))
    spacing = tuple((2.0, 1.0, 0.5)[axis] for axis in forward)
    turned = plan(version=version, transpose_forward=forward, transpose_backward=backward, spacing_mm=spacing)
    prepared = prepare_case(image, (2.0, 1.0, 0.5), turned)
    labels = np.arange(np.prod(prepared.cropped_shape), dtype=np.uint32).reshape(prepared.cropped_shape) + 1
    restored = restore_labels(labels, prepared)
    assert restored.shape == image.shape[1:]
    np.testing.assert_array_equal(restored[prepared.box].transpose(forward), labels)
    assert np.count_nonzero(restored) == labels.size
    assert prepared.image.shape[1:] == prepared.cropped_shape  # the spacing was the plan's, so nothing was resampled


def test_scores_are_resampled_by_the_nearest_slice_along_a_coarse_axis():
    assert prepare_case(body(), (5.0, 0.8, 0.8), plan()).back_axis == 0
    assert prepare_case(body(), (2.0, 0.8, 0.8), plan()).back_axis is None
    turned = plan(transpose_forward=(2, 0, 1), transpose_backward=(1, 2, 0))
    assert prepare_case(body(), (5.0, 0.8, 0.8), turned).back_axis == 1


def test_a_mask_on_another_grid_is_refused():
    prepared = prepare_case(body(), (1.0, 0.8, 0.8), plan())
    with pytest.raises(DataError, match="cropped grid"):
        restore_labels(np.zeros((2, 2, 2), np.uint8), prepared)


def test_other_schemes_and_other_channels():
    image = np.array([[[[-1.0, 3.0], [5.0, 7.0]]]], np.float32)
    inside = np.ones((1, 2, 2), bool)
    np.testing.assert_allclose(normalise(image, [ChannelNorm("rescale_to_01")], inside, 2), (image + 1) / 8)
    np.testing.assert_array_equal(normalise(image, [ChannelNorm("none")], inside, 1), image)
    by_case = normalise(image, [ChannelNorm("ct2", False, 0, 1, 0.0, 6.0)], inside, 1)
    np.testing.assert_allclose(by_case, (np.clip(image, 0, 6) - 4) / 1)
    with pytest.raises(DataError, match="another number of channels"):
        normalise(image, [ChannelNorm("none")] * 2, inside, 1)


def test_everything_equals_nnunet_v2():
    cropping = pytest.importorskip("nnunetv2.preprocessing.cropping.cropping")
    resampling = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling")
    schemes = pytest.importorskip("nnunetv2.preprocessing.normalization.default_normalization_schemes")
    random = np.random.default_rng(5)
    for index in range(12):
        image = body(tuple(random.integers(12, 26, 3)), index, 2)
        spacing = [(1.0, 0.8, 0.8), (5.0, 0.7, 0.9), (0.6, 0.6, 3.0)][index % 3]
        forward = [(0, 1, 2), (2, 0, 1), (1, 0, 2)][index % 3]
        masked = index % 2 == 0
        statistics = {"mean": CT.mean, "std": CT.sd, "percentile_00_5": CT.low, "percentile_99_5": CT.high}
        ours = plan(
            version=2,
            channels=(CT, ChannelNorm("zscore", masked)),
            transpose_forward=forward,
            transpose_backward=tuple(int(axis) for axis in np.argsort(forward)),
        )
        turned = image.transpose(0, *(axis + 1 for axis in forward))
        data, seg, box = cropping.crop_to_nonzero(turned.copy())
        data = data.copy()
        data[0] = schemes.CTNormalization(False, statistics).run(data[0], seg[0])
        data[1] = schemes.ZScoreNormalization(masked, {}).run(data[1], seg[0])
        mm = [spacing[axis] for axis in forward]
        shape = resampling.compute_new_shape(data.shape[1:], mm, ours.spacing_mm)
        expected = resampling.resample_data_or_seg_to_shape(data, shape, mm, ours.spacing_mm, False, 3, 0, None)
        prepared = prepare_case(image, spacing, ours)
        assert [(part.start, part.stop) for part in prepared.box] == [tuple(box[i]) for i in np.argsort(forward)]
        assert np.abs(prepared.image - expected).max() < 1e-5 * np.ptp(expected)
