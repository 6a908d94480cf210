"""A planted flip, axis order or shift is named, and a good mask is not suspected."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from helpers.scoring.geometry_suspect import suspect_geometry


def organ(shape=(40, 48, 48)):
    """A lopsided lump away from the centre: no flip and no order of axes maps it onto itself."""
    z, y, x = np.meshgrid(*[np.linspace(0, 1, side) for side in shape], indexing="ij")
    lump = ((z - 0.6) / 0.2) ** 2 + ((y - 0.35) / 0.15) ** 2 + ((x - 0.3) / 0.28) ** 2 < 1
    horn = ((z - 0.75) / 0.12) ** 2 + ((y - 0.25) / 0.2) ** 2 + ((x - 0.55) / 0.1) ** 2 < 1
    return (lump | horn).astype(np.uint8)


def roughened(mask, seed=0):
    """A realistic prediction: a tenth of the surface is wrong."""
    from scipy.ndimage import binary_dilation, binary_erosion

    rim = binary_dilation(mask) ^ binary_erosion(mask)
    wrong = rim & (np.random.default_rng(seed).random(mask.shape) < 0.3)
    return mask ^ wrong


@pytest.mark.parametrize(("axis", "name"), [(0, "z"), (1, "y"), (2, "x")])
def test_a_flip_along_each_axis_is_named(axis, name):
    truth = organ()
    suspicion = suspect_geometry(np.flip(roughened(truth), axis), truth)
    assert suspicion.what == f"prediction looks flipped along {name}"
    assert suspicion.flipped_axes == (axis,)
    assert suspicion.dice < 0.6 < 0.85 < suspicion.dice_if_undone


def test_a_flip_along_two_axes_is_named():
    truth = organ()
    suspicion = suspect_geometry(np.flip(roughened(truth), (1, 2)), truth)
    assert suspicion.what == "prediction looks flipped along y and x"


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(range(3), 2)))
def test_two_swapped_axes_are_named_in_a_cube(first, second):
    truth = organ((44, 44, 44))
    suspicion = suspect_geometry(np.swapaxes(roughened(truth), first, second), truth)
    assert suspicion.what == f"axes {'zyx'[first]} and {'zyx'[second]} swapped"


def test_swapped_axes_are_named_if_the_sides_reveal_them():
    truth = organ((30, 40, 50))
    suspicion = suspect_geometry(roughened(truth).transpose(2, 1, 0), truth)
    assert suspicion.what == "axes z and x swapped"
    assert suspicion.dice == 0.0


def test_a_rotated_order_is_named_in_the_order_of_the_prediction():
    truth = organ((30, 40, 50))
    suspicion = suspect_geometry(roughened(truth).transpose(1, 2, 0), truth)
    assert suspicion.what == "axes in the order y, x, z"


def test_a_swap_with_a_flip_is_named():
    truth = organ((44, 44, 44))
    turned = np.rot90(roughened(truth), axes=(1, 2))
    assert suspect_geometry(turned, truth).what in (
        "axes y and x swapped and flipped along y",
        "axes y and x swapped and flipped along x",
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_of_half_the_volume_is_not_called_a_flip(axis):
    truth = organ()
    shifted = np.roll(roughened(truth), truth.shape[axis] // 2, axis)
    suspicion = suspect_geometry(shifted, truth)
    assert suspicion.what == "not a flip (shifted)"
    assert "although the volumes agree" in str(suspicion)


def test_a_large_volume_is_sampled_and_still_named():
    truth = organ((130, 200, 200))
    assert suspect_geometry(truth[:, :, ::-1], truth).what == "prediction looks flipped along x"


def test_scattered_voxels_of_the_same_number_are_not_explained():
    truth = organ()
    random = np.random.default_rng(1).permutation(truth.ravel()).reshape(truth.shape)
    assert suspect_geometry(random, truth).what == "not a flip"


def test_pictures_have_no_z():
    truth = organ()[24]
    assert suspect_geometry(truth[::-1], truth).what == "prediction looks flipped along y"


def test_good_empty_or_differently_sized_masks_raise_no_suspicion():
    truth = organ()
    flipped_and_small = np.flip(truth, 0).copy()
    flipped_and_small[:, :, ::2] = 0
    assert suspect_geometry(roughened(truth), truth) is None
    assert suspect_geometry(np.zeros_like(truth), truth) is None
    assert suspect_geometry(flipped_and_small, truth) is None
    assert suspect_geometry(truth[:-1], truth) is None
