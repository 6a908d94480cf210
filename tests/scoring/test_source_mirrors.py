"""The two mirroring defects of the published heart sample, and the Dice that each costs a correct network.

The sample (Cambricon buildin/cv/segmentation/nnUNet_pytorch) runs the network on a slice and its three mirrors as
a batch of four. Its Python flips the third output back along the wrong axis. Its C++ flips none back and adds them
one after another with fixed weights, in effect 1/128, 1/64, 1/16 and 1/4: the last mirror decides. Dice here: 0.969
with all flipped back, 0.946 as in Python, 0.143 as in C++.
"""

from __future__ import annotations

import numpy as np
import pytest

from helpers.inference import sliding_window
from helpers.scoring.dice import dice
from helpers.scoring.geometry_suspect import suspect_geometry

MIRRORS = ((), (3,), (2,), (3, 2))  # of a batch (N, C, Y, X)
UNDONE_IN_PYTHON = ((), (3,), (3,), (3, 2))
WEIGHTS_IN_CPP = (1 / 128, 1 / 64, 1 / 16, 1 / 4)


def atrium(shape=(6, 64, 48)):
    """A lump with an appendage in the upper left of each slice, and its image: bright inside, with noise."""
    _, y, x = np.meshgrid(*[np.arange(side) for side in shape], indexing="ij")
    truth = ((y - 24) / 9) ** 2 + ((x - 17) / 7) ** 2 < 1
    truth |= ((y - 35) / 6) ** 2 + ((x - 22) / 4) ** 2 < 1
    image = truth + 0.2 * np.random.default_rng(0).normal(size=shape)
    return image[None].astype(np.float32), truth


def network(batch):
    """Logits from a pixel's brightness, less certain in some places, as test-time mirroring assumes."""
    doubt = np.random.default_rng(1).normal(size=batch.shape[2:])
    logit = 6 * (batch[:, 0] - 0.63) + doubt
    return np.stack([-logit, logit], axis=1)


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def segment(image, undone, weights):
    """Labels (Z, Y, X) of every slice from its four mirrors, each flipped back along `undone`."""
    slices = image[0][:, None]
    total = 0
    for mirror, back, weight in zip(MIRRORS, undone, weights, strict=True):
        total = total + weight * np.flip(softmax(network(np.flip(slices, mirror))), back)
    return total.argmax(axis=1)


def test_every_mirror_is_flipped_back():
    image, truth = atrium()
    options = {"classes": 2, "mirror_axes": (0, 1), "activation": "softmax"}
    labels = sliding_window(image, network, (64, 48), **options)
    np.testing.assert_array_equal(labels, segment(image, MIRRORS, (0.25,) * 4))
    assert dice(labels > 0, truth) > 0.9


def test_the_wrong_axis_of_the_python_code_is_outvoted_but_costs():
    image, truth = atrium()
    right = dice(segment(image, MIRRORS, (0.25,) * 4) > 0, truth)
    wrong = dice(segment(image, UNDONE_IN_PYTHON, (0.25,) * 4) > 0, truth)
    assert 0.01 < right - wrong < 0.1


def test_the_mirrors_left_by_the_cpp_code_put_the_mask_on_the_opposite_side():
    image, truth = atrium()
    labels = segment(image, ((),) * 4, WEIGHTS_IN_CPP)
    score = dice(labels > 0, truth)
    assert score < 0.2
    assert np.count_nonzero(labels) == pytest.approx(np.count_nonzero(truth), rel=0.15)
    suspicion = suspect_geometry(labels, truth)
    assert suspicion.what == "prediction looks flipped along y and x"
    assert suspicion.dice_if_undone > 0.75
