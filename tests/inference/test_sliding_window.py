"""Labels and scores equal a dense float64 overlap-add, whatever the shape, steps, mirrors and activation."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.inference import sliding_window
from tests.inference.dense_windows import (
    CLASSES,
    activated,
    check,
    dense_reference,
    lopsided,
    random_volume,
    slabs_of,
)

SHAPES = [
    ((9, 11, 13), (4, 4, 4)),
    ((4, 4, 4), (4, 4, 4)),
    ((3, 2, 5), (8, 6, 4)),  # smaller than the window
    ((3, 20, 5), (8, 6, 8)),
    ((1, 17, 19), (4, 8, 8)),  # one slice
    ((1, 9, 9), (1, 4, 4)),
    ((7, 13, 17), (3, 5, 7)),  # odd and prime
    ((23, 5, 5), (5, 5, 5)),
    ((6, 10, 12), (8, 8)),  # slices
    ((1, 5, 6), (8, 8)),
    ((5, 31, 7), (7, 9)),
]


@pytest.mark.parametrize(("shape", "window"), SHAPES)
def test_scores_and_labels_equal_the_dense_reference(shape, window):
    check(random_volume(shape), window)


def test_random_shapes_steps_and_options_equal_the_dense_reference():
    random = np.random.default_rng(11)
    for seed in range(30):
        shape = tuple(int(side) for side in random.integers(1, 13, 3))
        window = tuple(int(side) for side in random.integers(1, 9, random.choice([2, 3])))
        axes = tuple(axis for axis in range(len(window)) if random.random() < 0.4)
        check(
            random_volume(shape, seed),
            window,
            step=float(random.choice([0.3, 0.5, 0.75, 1.0])),
            gaussian=bool(random.random() < 0.7),
            mirror_axes=axes,
            activation=random.choice([None, "softmax", "sigmoid"]),
            batch_size=int(random.integers(1, 8)),
        )


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_mirrors_are_undone_on_the_right_axis(axes):
    check(random_volume((5, 7, 9)), (4, 4, 6), mirror_axes=axes)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_mirrors_of_slices_are_undone_on_the_right_axis(axes):
    check(random_volume((3, 9, 11)), (4, 6), mirror_axes=axes)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_are_averaged_not_logits(activation):
    volume = 4 * random_volume((6, 8, 8))
    check(volume, (4, 4, 4), activation=activation, mirror_axes=(0,))
    logits = dense_reference(volume, lopsided, (4, 4, 4))
    averaged = dense_reference(volume, lopsided, (4, 4, 4), activation=activation)
    assert np.abs(activated(logits, activation) - averaged).max() > 1e-3


def test_scores_too_large_for_exp_stay_finite():
    def loud(batch):
        return np.stack([900 * batch[:, 0], -900 * batch[:, 0]], axis=1)

    volume = random_volume((4, 6, 6), channels=1)
    for activation in ("softmax", "sigmoid"):
        (slab,) = slabs_of(volume, loud, (4, 6, 6), classes=2, activation=activation)
        assert slab.scores.min() >= 0 and slab.scores.max() <= 1 + 1e-6  # false for NaN


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_class_is_where_its_probability_is_above_a_half(activation):
    volume = random_volume((5, 9, 9), channels=1)
    labels = sliding_window(volume, lambda b: b, (4, 4, 4), classes=1, activation=activation)
    assert 0.3 < labels.mean() < 0.7
    assert np.array_equal(labels, (volume[0] > 0).astype(np.uint8))


def test_ties_go_to_the_first_class():
    labels = sliding_window(random_volume((4, 4, 4)), lambda b: np.zeros((1, 3, 4, 4, 4)), (4, 4, 4), classes=3)
    assert not labels.any()


def test_the_volume_is_not_modified():
    volume = random_volume((3, 9, 9))
    before = volume.copy()
    sliding_window(volume, lopsided, (8, 6, 6), classes=CLASSES, mirror_axes=(0, 1))
    assert np.array_equal(volume, before)
