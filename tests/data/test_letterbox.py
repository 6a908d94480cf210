"""Preparation keeps the source's order and rounding; only the source's own restoring invents classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data.letterbox import (
    MEAN_RGB,
    STD_RGB,
    letterbox,
    resize_bilinear,
    restore_as_source,
    restore_exact,
)
from helpers.errors import DataError


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def torch_resize(array: np.ndarray, height: int, width: int) -> np.ndarray:
    planes = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
    out = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    return out[0].permute(1, 2, 0).numpy()


def place(class_map: np.ndarray, prepared) -> np.ndarray:
    """The class map of the scaled picture at its place in the square, background around it."""
    square = np.zeros((prepared.size, prepared.size), np.int64)
    rows = slice(prepared.top, prepared.top + prepared.height)
    square[rows, prepared.left : prepared.left + prepared.width] = class_map
    return square


def test_a_picture_that_fits_is_normalised_and_placed_without_scaling():
    image = picture(375, 500)
    prepared = letterbox(image)
    assert (prepared.top, prepared.left, prepared.height, prepared.width) == (62, 0, 375, 500)
    assert prepared.image.dtype == np.float32 and prepared.image.flags.c_contiguous
    for channel in range(3):
        expected = (image[..., channel].astype(np.float64) - MEAN_RGB[channel]) / STD_RGB[channel]
        assert np.allclose(prepared.image[channel, 62:437], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "margins"), [((375, 500), (62, 63)), ((500, 333), (83, 84)), ((334, 500), (83, 83))]
)
def test_padding_is_zero_after_normalising_with_the_odd_pixel_last(shape, margins):
    image = np.zeros((*shape, 3), np.uint8)  # black is not zero after normalising
    filled = np.all(letterbox(image).image != 0, axis=0)
    axis = int(shape[0] == 500)
    lines = np.flatnonzero(filled.any(axis=1 - axis))
    assert (lines[0], 500 - 1 - lines[-1]) == margins
    assert filled.sum() == shape[0] * shape[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.sampled_from([64, 100, 125]))
def test_scaled_sides_round_down_and_fill_the_square(height, width, size):
    prepared = letterbox(picture(height, width), size)
    scale = min(size / width, size / height)
    assert (prepared.height, prepared.width) == (int(height * scale), int(width * scale))
    assert size - 1 <= max(prepared.height, prepared.width) <= size
    assert prepared.image.shape == (3, size, size)
    assert (prepared.original_height, prepared.original_width) == (height, width)


@pytest.mark.parametrize(("shape", "size"), [((300, 400), 512), ((600, 400), 500), ((1000, 640), 512)])
def test_scaling_equals_torchs_bilinear_rounded_to_grey_levels(shape, size):
    image = picture(*shape)
    prepared = letterbox(image, size)
    expected = np.floor(torch_resize(image, prepared.height, prepared.width) + 0.5)
    box = prepared.image[:, prepared.top :, prepared.left :][:, : prepared.height, : prepared.width]
    levels = box.transpose(1, 2, 0) * np.float32(STD_RGB) + np.float32(MEAN_RGB)
    assert np.abs(levels - np.rint(levels)).max() < 1e-3  # whole grey levels, as an 8-bit image has
    assert np.mean(np.abs(levels - expected) < 1e-3) > 0.995  # the rest are halves, rounded either way
    assert np.abs(levels - expected).max() < 1.001


@settings(max_examples=25, deadline=None)
@given(*[st.integers(2, 40)] * 4)
def test_bilinear_equals_torch(height, width, new_height, new_width):
    image = picture(height, width)
    expected = torch_resize(image, new_height, new_width)
    assert np.allclose(resize_bilinear(image, new_height, new_width), expected, atol=2e-3)


def off_edge(length_out: int, length_in: int) -> np.ndarray:
    """Whether the centre of each output pixel lies inside an input pixel and not on the edge of two."""
    return (2 * np.arange(length_out) + 1) * length_in % (2 * length_out) != 0


@settings(max_examples=100, deadline=None)
@given(st.integers(20, 200), st.integers(20, 200), st.sampled_from([64, 100]))
def test_exact_restoring_equals_nearest_by_torch_and_keeps_the_classes(height, width, size):
    prepared = letterbox(picture(height, width), size)
    scaled = np.random.default_rng(height).integers(0, 21, (prepared.height, prepared.width))
    restored = restore_exact(place(scaled, prepared), prepared)
    assert restored.shape == (height, width) and restored.dtype == np.uint8
    planes = torch.from_numpy(scaled.astype(np.float32))[None, None]
    expected = torch.nn.functional.interpolate(planes, (height, width), mode="nearest-exact")[0, 0].numpy()
    # On the edge of two pixels torch's float32 arithmetic may choose either.
    rows, columns = off_edge(height, prepared.height), off_edge(width, prepared.width)
    np.testing.assert_array_equal(restored[np.ix_(rows, columns)], expected[np.ix_(rows, columns)])
    assert set(np.unique(restored)) <= set(np.unique(scaled))


@pytest.mark.parametrize("shape", [(375, 500), (333, 500), (500, 375), (334, 500), (500, 500)])
def test_unscaled_pictures_are_restored_exactly(shape):
    label = np.random.default_rng(1).integers(0, 21, shape)
    prepared = letterbox(np.zeros((*shape, 3), np.uint8))
    assert (restore_exact(place(label, prepared), prepared) == label).all()


def test_the_source_invents_class_7_between_background_and_person():
    prepared = letterbox(np.zeros((375, 500, 3), np.uint8))
    label = np.zeros((375, 500), np.int64)
    label[187:] = 15
    square = place(label, prepared)
    as_source = restore_as_source(square, prepared)
    assert 7 in as_source
    assert set(np.unique(restore_exact(square, prepared))) == {0, 15}
    # 376 rows, the last of them padding, shrunk to 375 by the same bilinear rule that torch has
    cropped = square[62:438, :, None]
    expected = np.trunc(torch_resize(cropped, 375, 500))[..., 0]
    assert np.mean(as_source == expected) > 0.999


@pytest.mark.parametrize("shape", [(334, 500), (500, 376), (500, 500)])
def test_the_source_is_correct_if_the_margin_is_even(shape):
    label = np.random.default_rng(2).integers(0, 21, shape)
    prepared = letterbox(np.zeros((*shape, 3), np.uint8))
    assert (restore_as_source(place(label, prepared), prepared) == label).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((10, 10), np.uint8), "not an RGB image"),
        (np.zeros((10, 10, 4), np.uint8), "not an RGB image"),
        (np.zeros((10, 10, 3), np.float32), "float32"),
        (np.zeros((1, 5000, 3), np.uint8), "too thin"),
    ],
)
def test_other_arrays_are_refused(image, message):
    with pytest.raises(DataError, match=message):
        letterbox(image)


def test_a_map_of_another_size_is_refused():
    prepared = letterbox(picture(375, 500))
    for restore in (restore_exact, restore_as_source):
        with pytest.raises(DataError, match=r"received \(512, 512\)"):
            restore(np.zeros((512, 512), int), prepared)
