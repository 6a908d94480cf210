"""The confusion matrix and its scores agree with counting pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.errors import DataError
from helpers.scoring.confusion import ConfusionMatrix

CLASSES = 4
maps = arrays(np.uint8, (5, 6), elements=st.integers(0, CLASSES - 1))
labels = arrays(np.uint8, (5, 6), elements=st.sampled_from([*range(CLASSES), 255]))


def matrix_of(*pairs) -> ConfusionMatrix:
    matrix = ConfusionMatrix(CLASSES)
    for prediction, label in pairs:
        matrix.update(prediction, label)
    return matrix


def brute_force(prediction, label):
    """IoU and recall of each class from sets of pixels; None if there is nothing to divide by."""
    pixels = [(p, t) for p, t in zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True) if t != 255]
    iou, acc = [], []
    for c in range(CLASSES):
        both = sum(p == c and t == c for p, t in pixels)
        either = sum(p == c or t == c for p, t in pixels)
        truth = sum(t == c for _, t in pixels)
        iou.append(both / either if either else None)
        acc.append(both / truth if truth else None)
    right = sum(p == t for p, t in pixels) / len(pixels) if pixels else None
    present = [iou[c] for c in range(CLASSES) if any(t == c for _, t in pixels)]
    return iou, acc, right, present


def same(value: float, reference: float | None) -> bool:
    return math.isnan(value) if reference is None else value == pytest.approx(reference, abs=1e-12)


def mean(values) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


@settings(max_examples=60, deadline=None)
@given(maps, labels)
def test_scores_equal_counting_pixels(prediction, label):
    scores = matrix_of((prediction, label)).scores()
    iou, acc, right, present = brute_force(prediction, label)
    assert all(same(a, b) for a, b in zip(scores.iou, iou, strict=True))
    assert all(same(a, b) for a, b in zip(scores.acc, acc, strict=True))
    assert same(scores.miou, mean(iou))
    assert same(scores.macc, mean(acc))
    assert same(scores.aacc, right)
    assert same(scores.miou_present, mean(present))


@settings(max_examples=30, deadline=None)
@given(maps, labels, maps, labels)
def test_updates_summed_counts_and_one_big_image_are_the_same(first, first_label, second, second_label):
    streamed = matrix_of((first, first_label), (second, second_label))
    merged = matrix_of((first, first_label))
    merged.counts += matrix_of((second, second_label)).counts
    whole = matrix_of((np.stack([first, second]), np.stack([first_label, second_label])))
    assert (streamed.counts == whole.counts).all()
    assert (merged.counts == whole.counts).all()


@settings(max_examples=30, deadline=None)
@given(labels, st.permutations(range(CLASSES)))
def test_perfect_and_permuted_classes(label, order):
    perfect = matrix_of((np.where(label == 255, 0, label), label)).scores()
    if (label != 255).any():
        assert perfect.miou == perfect.macc == perfect.aacc == perfect.miou_present == 1
    lookup = np.array([*order, *[0] * (255 - CLASSES), 255], np.uint8)
    prediction = np.full_like(label, 1)
    renamed = matrix_of((lookup[prediction], lookup[label])).scores()
    original = matrix_of((prediction, label)).scores()
    assert np.allclose([renamed.iou[c] for c in order], original.iou, equal_nan=True)


def test_a_class_predicted_but_not_labelled_counts_in_miou_only():
    label = np.array([[0, 0, 1, 1]])
    scores = matrix_of((np.array([[0, 0, 1, 2]]), label)).scores()
    assert scores.iou[:3] == (1.0, 0.5, 0.0) and math.isnan(scores.iou[3])
    assert scores.miou == pytest.approx(0.5)
    assert scores.miou_present == pytest.approx(0.75)
    assert scores.macc == pytest.approx(0.75)
    assert scores.aacc == pytest.approx(0.75)


def test_sums_come_before_ratios():
    # A mean of per-image IoU would give 0.75 for class 0.
    small = (np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    large = (np.zeros((1, 8), np.uint8), np.array([[0] * 4 + [1] * 4], np.uint8))
    assert matrix_of(small, large).scores().iou[0] == pytest.approx(5 / 9)


@pytest.mark.filterwarnings("error")
def test_nothing_counted_gives_nan_without_a_warning():
    scores = matrix_of((np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))).scores()
    assert all(map(math.isnan, (scores.miou, scores.macc, scores.aacc, scores.miou_present, *scores.iou)))


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "shape"),
        (np.full((2, 2), CLASSES), np.zeros((2, 2), int), "prediction has classes out of range"),
        (np.zeros((2, 2), int), np.full((2, 2), 77), "label has classes out of range"),
        (np.full((2, 2), -1), np.zeros((2, 2), int), "-1"),
    ],
)
def test_wrong_maps_are_refused(prediction, label, message):
    with pytest.raises(DataError, match=message):
        matrix_of((prediction, label))
