"""What a scene derives from its masks: errors, worst slice, largest error, modes."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scenes import NAMES, directions, grid, make_case

from helpers.errors import DataError
from helpers.view.comparison import (
    EXTRA,
    MISSING,
    SAME,
    compare_labels,
    fullest_slice,
    largest_error,
    worst_slice,
)
from helpers.view.viewer.scene import make_scene

STRAIGHT = directions()[0]


def _scene(direction=STRAIGHT, **masks):
    case = make_case()
    given = {"prediction": case["prediction"], "truth": case["truth"]} | masks
    return make_scene(case["image"], given, grid(case["image"].shape, direction), NAMES)


def test_the_codes_of_a_comparison():
    labels = np.array([0, 1, 2, 1, 0, 2], np.uint8)
    reference = np.array([0, 1, 1, 0, 2, 255], np.uint8)
    assert compare_labels(labels, reference).tolist() == [0, SAME, EXTRA, EXTRA, MISSING, 0]


def test_the_worst_slice_and_the_largest_error():
    case = make_case()
    assert worst_slice(case["prediction"], case["truth"]) == 7
    assert worst_slice(case["truth"], case["truth"]) is None
    assert fullest_slice(np.zeros((5, 4, 4), np.uint8)) == 2
    assert largest_error(compare_labels(case["prediction"], case["truth"])) == (7, 5, 6)


def test_the_largest_error_agrees_with_simpleitk():
    random = np.random.default_rng(2)
    codes = np.where(random.random((20, 20, 20)) < 0.12, random.integers(1, 4, (20, 20, 20)), 0).astype(np.uint8)
    parts = sitk.RelabelComponent(
        sitk.ConnectedComponent(sitk.GetImageFromArray((codes >= EXTRA).astype(np.uint8)), True)
    )
    assert sitk.GetArrayFromImage(parts)[largest_error(codes)] == 1


def test_modes_follow_from_the_masks():
    case = make_case()
    assert _scene().modes == ("prediction", "truth", "errors")
    assert _scene(truth=None).modes == ("prediction",)
    other = {"other run": case["truth"]}
    assert _scene(**other).modes == ("prediction", "truth", "other run", "errors", "difference")


def test_a_single_wrong_voxel_is_kept_in_the_proxy():
    assert np.count_nonzero(_scene().small_labels("errors") == EXTRA) == 1


def test_a_scene_starts_on_an_error_in_the_worst_slice():
    scene = _scene()
    position = scene.start_position()
    assert position[0] == 7 and scene.labels("errors", position) == MISSING
    assert scene.largest_error() == (7, 5, 6)


@pytest.mark.parametrize("direction", directions())
def test_the_worst_slice_is_axial_in_any_orientation(direction):
    scene = _scene(direction)
    counts = [np.count_nonzero(scene.labels("errors", index) >= EXTRA) for index in range(scene.image.shape[0])]
    assert scene.worst_slice() == int(np.argmax(counts))


def test_without_a_truth_a_scene_starts_in_the_fullest_slice():
    scene = _scene(truth=None)
    assert scene.worst_slice() is None and scene.largest_error() is None
    assert scene.start_position()[0] == fullest_slice(scene.masks["prediction"])


def test_a_mask_that_does_not_fit_is_refused():
    case = make_case()
    with pytest.raises(DataError, match="truth has another size"):
        _scene(truth=case["truth"][1:])
    with pytest.raises(DataError, match="no prediction"):
        _scene(prediction=None)
