"""Small components are removed as by either version of nnU-Net."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from helpers.data.nnunet.postprocess import KeepLargest, apply_postprocessing, read_postprocessing
from helpers.errors import CheckpointError, DataError


def scattered(seed=0, shape=(8, 12, 12)):
    random = np.random.default_rng(seed).random(shape)
    return np.where(random < 0.25, 1, np.where(random < 0.4, 2, 0)).astype(np.uint8)


def test_only_the_largest_component_of_the_named_classes_stays():
    labels = np.zeros((1, 5, 9), np.uint8)
    labels[0, 0, :4], labels[0, 4, :2], labels[0, 2, 6:8] = 1, 1, 2
    kept = apply_postprocessing(labels, [KeepLargest((1,))])
    assert np.count_nonzero(kept == 1) == 4
    np.testing.assert_array_equal(kept == 2, labels == 2)
    assert np.count_nonzero(labels == 1) == 6  # the given labels are not changed


def test_grouped_classes_are_connected_across_their_border():
    labels = np.zeros((1, 3, 9), np.uint8)
    labels[0, 0, :3], labels[0, 0, 3], labels[0, 2, :3] = 1, 2, 1
    together = apply_postprocessing(labels, [KeepLargest((1, 2))])
    assert np.count_nonzero(together) == 4


def test_v1_keeps_ties_and_what_is_large_enough():
    labels = np.zeros((1, 5, 9), np.uint8)
    labels[0, 0, :4], labels[0, 2, :4], labels[0, 4, :3] = 1, 1, 1
    assert np.count_nonzero(apply_postprocessing(labels, [KeepLargest((1,))])) == 8
    enough = KeepLargest((1,), minimum_mm3=6.0)
    assert np.count_nonzero(apply_postprocessing(labels, [enough], (2.0, 1.0, 1.0))) == 11
    assert np.count_nonzero(apply_postprocessing(labels, [enough])) == 8


def test_v2_joins_by_corners_and_v1_by_faces():
    labels = np.zeros((1, 6, 6), np.uint8)
    labels[0, 0, 0] = labels[0, 1, 1] = labels[0, 2, 2] = 1
    labels[0, 4, 4:6] = 1
    assert np.count_nonzero(apply_postprocessing(labels, [KeepLargest((1,), 2)])) == 3
    assert np.count_nonzero(apply_postprocessing(labels, [KeepLargest((1,), 1)])) == 2


def test_both_versions_files_are_read(tmp_path):
    path = tmp_path / "postprocessing.json"
    path.write_text(
        json.dumps({"for_which_classes": [[1, 2], 2], "min_valid_object_sizes": "{(1, 2): 5.0, 2: 3.0}"}),
        encoding="utf-8",
    )
    assert read_postprocessing(path) == (KeepLargest((1, 2), 1, 5.0), KeepLargest((2,), 1, 3.0))
    path.write_text(json.dumps({"for_which_classes": []}), encoding="utf-8")
    assert read_postprocessing(path) == ()
    name = "remove_all_but_largest_component_from_segmentation"
    steps = {"postprocessing_fns": [name, name], "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}]}
    steps["postprocessing_kwargs"].append({"labels_or_regions": 2})
    path.write_text(json.dumps(steps), encoding="utf-8")
    assert read_postprocessing(path) == (KeepLargest((1, 2), 2), KeepLargest((2,), 2))


@pytest.mark.parametrize("text", ["", "[]", '{"postprocessing_fns": ["erase"], "postprocessing_kwargs": [{}]}'])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "postprocessing.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"not a postprocessing\.json"):
        read_postprocessing(path)


def test_the_pickle_of_v2_is_read_by_the_name_of_its_function(tmp_path):
    theirs = pytest.importorskip("nnunetv2.postprocessing.remove_connected_components")
    step, path = theirs.remove_all_but_largest_component_from_segmentation, tmp_path / "postprocessing.pkl"
    labels = list(np.unique([1, 2, 2]))  # nnU-Net's own are numpy's numbers
    arguments = [{"labels_or_regions": labels}, {"labels_or_regions": (2, 3)}, {"labels_or_regions": 2}]
    path.write_bytes(pickle.dumps(([step] * 3, arguments)))
    assert read_postprocessing(path) == (KeepLargest((1, 2), 2), KeepLargest((2, 3), 2), KeepLargest((2,), 2))


@pytest.mark.parametrize("function", [print, np.load])
def test_a_pickle_that_names_another_function_is_refused(tmp_path, function):
    path = tmp_path / "postprocessing.pkl"
    path.write_bytes(pickle.dumps(([function], [{"labels_or_regions": 1}])))
    with pytest.raises(CheckpointError, match="contains more than"):
        read_postprocessing(path)


def test_pieces_of_one_size_are_all_kept_in_v2_too():
    theirs = pytest.importorskip("nnunetv2.postprocessing.remove_connected_components")
    labels = np.zeros((1, 5, 9), np.uint8)
    labels[0, 0, :4], labels[0, 2, :4], labels[0, 4, :3] = 1, 1, 1
    kept = apply_postprocessing(labels, [KeepLargest((1,), 2)])
    assert np.count_nonzero(kept) == 8
    np.testing.assert_array_equal(kept, theirs.remove_all_but_largest_component_from_segmentation(labels, 1))


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_function_of_nnunet_v2(seed):
    theirs = pytest.importorskip("nnunetv2.postprocessing.remove_connected_components")
    labels = scattered(seed)
    labels[:, 5] = 0  # two halves, so that one is removed
    for classes in ([1], [2], [1, 2]):
        expected = theirs.remove_all_but_largest_component_from_segmentation(labels, classes)
        ours = apply_postprocessing(labels, [KeepLargest(tuple(classes), 2)])
        np.testing.assert_array_equal(ours, expected)
