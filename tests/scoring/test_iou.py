"""IoU equals a count by hand, and the published means equal a literal transcript of their script."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers.errors import DataError
from helpers.scoring.iou import foreground_iou, mean_iou, source_eval_value, source_mean_iou

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)


@st.composite
def pairs(draw):
    shape = draw(SHAPES)
    mask, truth = (draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))) for _ in range(2))
    return mask, truth


def pixels(mask):
    return set(zip(*np.nonzero(mask), strict=True))


@given(pairs())
def test_iou_equals_that_of_sets_of_pixels(pair):
    mask, truth = pair
    union = pixels(mask) | pixels(truth)
    expected = len(pixels(mask) & pixels(truth)) / len(union) if union else 1.0
    assert foreground_iou(mask, truth) == pytest.approx(expected)


@given(pairs())
def test_iou_is_symmetric_and_does_not_depend_on_position(pair):
    mask, truth = pair
    iou = foreground_iou(mask, truth)
    assert foreground_iou(truth, mask) == iou
    assert foreground_iou(mask[::-1, ::-1].T, truth[::-1, ::-1].T) == iou
    assert foreground_iou(mask.astype(bool), truth) == iou
    assert foreground_iou(truth, truth) == 1.0


@given(pairs())
def test_iou_and_dice_of_one_row_satisfy_their_identity(pair):
    mask, truth = (array.reshape(1, -1) for array in pair)
    iou = foreground_iou(mask, truth)
    assert source_eval_value(mask, truth) == pytest.approx(2 * iou / (1 + iou), abs=1e-4)


def test_values_computed_by_hand():
    truth = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], np.uint8)
    mask = np.array([[0, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0]], np.uint8)
    assert foreground_iou(mask, truth) == pytest.approx(4 / 7)
    # Rows: one stray pixel 0, half found 2 * 2 / (2 + 4), exact 1; the image's Dice is 8 / 11.
    assert source_eval_value(mask, truth) == pytest.approx((0 + 2 / 3 + 1) / 3, abs=1e-4)


def test_row_wise_dice_rises_with_empty_rows_and_the_iou_does_not():
    truth, mask = np.zeros((10, 8), np.uint8), np.zeros((10, 8), np.uint8)
    truth[4:6], mask[4:6, :4] = 1, 1
    taller = [np.pad(array, ((30, 30), (0, 0))) for array in (mask, truth)]
    assert foreground_iou(*taller) == foreground_iou(mask, truth) == 0.5
    assert source_eval_value(*taller) > source_eval_value(mask, truth) + 0.05


def literal_source_iou(mask, truth):
    """The published script for one image, in plain loops."""
    total, found = 0.0, 0
    for value in np.unique(mask):
        if value == 0:
            continue
        both = sum(a == value and b == value for a, b in zip(mask.flat, truth.flat, strict=True))
        either = sum(a == value or b == value for a, b in zip(mask.flat, truth.flat, strict=True))
        if both / either < 0.5:
            continue
        total, found = total + both / either, found + 1
    return total / found if found else 0


@given(st.lists(pairs(), min_size=1, max_size=6))
def test_the_source_mean_leaves_out_the_same_images_as_the_script(cases):
    masks, truths = zip(*cases, strict=True)
    mean, left_out = source_mean_iou(masks, truths)
    literal = [iou for iou in map(literal_source_iou, masks, truths) if iou != 0]
    assert left_out == len(cases) - len(literal)
    assert math.isnan(mean) if not literal else mean == pytest.approx(sum(literal) / len(literal))


@given(st.lists(pairs().filter(lambda pair: pair[1].any()), min_size=1, max_size=6))
def test_source_mean_is_never_below_the_mean_over_all_images(cases):
    masks, truths = zip(*cases, strict=True)
    mean, _ = source_mean_iou(masks, truths)
    assert math.isnan(mean) or mean >= mean_iou(list(map(foreground_iou, masks, truths))) - 1e-12


def test_a_failed_image_counts_in_the_mean_but_not_in_the_source_mean():
    truth = np.ones((4, 4), np.uint8)
    masks = [truth, np.zeros_like(truth)]
    assert mean_iou([foreground_iou(mask, truth) for mask in masks]) == 0.5
    assert source_mean_iou(masks, [truth, truth]) == (1.0, 1)


@pytest.mark.parametrize("score", [foreground_iou, source_eval_value])
def test_masks_of_255_are_refused_instead_of_scored_as_a_miss(score):
    truth = np.ones((2, 2), np.uint8)
    with pytest.raises(DataError, match=r"mask is not binary.*255"):
        score(255 * truth, truth)
    with pytest.raises(DataError, match="truth is not binary"):
        score(truth, 255 * truth)


def test_other_shapes_and_no_images_are_refused():
    with pytest.raises(DataError, match=r"\(2, 3\).*\(3, 2\)"):
        foreground_iou(np.zeros((2, 3), bool), np.zeros((3, 2), bool))
    with pytest.raises(DataError, match="two axes"):
        source_eval_value(np.zeros((1, 2, 3), bool), np.zeros((1, 2, 3), bool))
    with pytest.raises(DataError, match="no image"):
        mean_iou([])
