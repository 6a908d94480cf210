"""Boxes and components of masks: components as SciPy numbers them, on masks of every shape, with ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from helpers.data.regions import bounding_box, label_components

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=3, max_side=9))


def scipy_components(mask: np.ndarray, corners: bool) -> np.ndarray:
    return ndimage.label(mask, np.ones((3,) * mask.ndim) if corners else None)[0]


@settings(max_examples=300, deadline=None)
@given(mask=MASKS, corners=st.booleans())
def test_components_are_numbered_as_scipy_numbers_them(mask, corners):
    components, sizes = label_components(mask, corners=corners)
    expected = scipy_components(mask, corners)
    np.testing.assert_array_equal(components, expected)
    np.testing.assert_array_equal(sizes[1:], np.bincount(expected.ravel(), minlength=1)[1:])
    assert sizes[0] == 0


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (1, 1), (1, 1, 7), (7, 1, 1), (40, 50), (12, 17, 20)])
def test_random_masks_of_thin_and_larger_shapes(shape, corners):
    random = np.random.default_rng(len(shape) + shape[-1])
    for density in np.linspace(0.05, 0.95, 60):
        mask = random.random(shape) < density
        np.testing.assert_array_equal(
            label_components(mask, corners=corners)[0], scipy_components(mask, corners), err_msg=f"{density}"
        )


@pytest.mark.parametrize("order", ["C", "F"])
def test_of_equally_large_components_the_first_in_c_order_has_the_lowest_number(order):
    mask = np.zeros((5, 5, 5), bool, order=order)
    mask[0, 4, 3:] = mask[4, 0, :2] = mask[2, 2, 2] = True
    components, sizes = label_components(mask, corners=True)
    assert sizes.tolist() == [0, 2, 1, 2]
    assert components[0, 4, 4] == sizes.argmax() == 1


@given(mask=MASKS, margin=st.integers(0, 3))
def test_the_box_is_the_smallest_that_holds_every_voxel(mask, margin):
    box = bounding_box(mask)
    if not mask.any():
        assert box is None
        return
    assert mask[box].sum() == mask.sum()
    for axis in range(mask.ndim):
        assert np.take(mask[box], [0], axis=axis).any() and np.take(mask[box], [-1], axis=axis).any()
    wider = bounding_box(mask, margin)
    for side, wide, size in zip(box, wider, mask.shape, strict=True):
        assert wide == slice(max(0, side.start - margin), min(size, side.stop + margin))


def test_margins_may_differ_by_axis():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    assert bounding_box(mask, (0, 3)) == (slice(4, 5), slice(1, 8))
