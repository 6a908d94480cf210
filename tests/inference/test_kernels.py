"""The compiled loops and those in numpy give the same bits: the weighted mean of the windows."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from helpers.errors import DeviceError
from helpers.inference import WindowPlan, accumulator, kernels_numpy, sliding_window
from helpers.inference.accumulator import load_kernels
from helpers.inference.windows import WindowGrid
from tests.inference.dense_windows import slabs_of

kernels_numba = pytest.importorskip("helpers.inference.kernels_numba", reason="numba is not installed")

CASES = [
    ((9, 11, 13), (4, 6, 8)),
    ((3, 2, 5), (8, 6, 4)),
    ((23, 90, 150), (5, 50, 70)),  # more than one band of rows and block of columns
    ((6, 10, 12), (8, 8)),
    ((4, 200, 131), (64, 65)),
    ((30, 70, 129), (16, 40, 128)),
]


def infer_rolled(classes: int):
    return lambda batch: np.stack([np.roll(batch[:, 0], i, -1) * (i + 1) for i in range(classes)], axis=1)


def run(shape, window, classes, kernels, monkeypatch, **options):
    monkeypatch.setattr(accumulator, "load_kernels", lambda: kernels)
    volume = np.random.default_rng(1).standard_normal((1, *shape), dtype=np.float32)
    slabs = slabs_of(volume, infer_rolled(classes), window, classes=classes, **options)
    scores = np.concatenate([slab.scores for slab in slabs], axis=1)
    return scores, sliding_window(volume, infer_rolled(classes), window, classes=classes, **options)


@pytest.mark.parametrize(("shape", "window"), CASES)
@pytest.mark.parametrize("step", [0.5, 0.25, 0.37, 1.0])
@pytest.mark.parametrize("classes", [1, 3])
def test_both_give_the_same_bits(shape, window, step, classes, monkeypatch):
    compiled = run(shape, window, classes, kernels_numba, monkeypatch, step=step)
    plain = run(shape, window, classes, kernels_numpy, monkeypatch, step=step)
    assert np.array_equal(compiled[0], plain[0])
    assert np.array_equal(compiled[1], plain[1])


@pytest.mark.parametrize("kernels", [kernels_numba, kernels_numpy], ids=["numba", "numpy"])
@pytest.mark.parametrize(("shape", "window"), [CASES[index] for index in (0, 2, 5)])
def test_scores_are_the_weighted_mean_in_float64(shape, window, kernels, monkeypatch):
    found, _ = run(shape, window, 3, kernels, monkeypatch)
    volume = np.random.default_rng(1).standard_normal((1, *shape), dtype=np.float32)
    grid = WindowGrid(shape, WindowPlan(window, 3))
    weights = grid.weights_of_window().astype(np.float64)
    total, summed = np.zeros((3, *shape)), np.zeros(shape)
    for corner in itertools.product(*grid.starts):
        place = tuple(slice(start, start + length) for start, length in zip(corner, window, strict=True))
        total[(slice(None), *place)] += infer_rolled(3)(volume[None][(slice(None), slice(None), *place)])[0] * weights
        summed[place] += weights
    assert np.abs(found - total / summed).max() < 1e-5


@pytest.mark.parametrize("kernels", [kernels_numba, kernels_numpy], ids=["numba", "numpy"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_score_that_is_not_finite_is_refused(kernels, bad, monkeypatch):
    monkeypatch.setattr(accumulator, "load_kernels", lambda: kernels)

    def infer(batch):
        scores = np.zeros((len(batch), 2, *batch.shape[2:]), np.float32)
        scores[0, 0, 1, 2, 3] = bad
        return scores

    with pytest.raises(DeviceError, match="not finite"):
        sliding_window(np.zeros((1, 9, 9, 9), np.float32), infer, (4, 4, 4), classes=2)


def test_finished_rows_are_released(monkeypatch):
    monkeypatch.setattr(accumulator, "BAND_ROWS", 4)
    least_free = []
    release = accumulator.WindowAccumulator._release

    def watch(self, planes, rows):
        least_free.append(len(self._free))
        release(self, planes, rows)

    monkeypatch.setattr(accumulator.WindowAccumulator, "_release", watch)
    volume = np.zeros((1, 8, 64, 8), np.float32)
    sliding_window(volume, infer_rolled(2), (8, 8, 8), classes=2)
    chunks = 8 * 16
    assert min(least_free) >= chunks - 8 * 4  # two windows' rows of sixteen are held, of every plane


def test_numpy_alone_is_enough(monkeypatch):
    monkeypatch.setitem(sys.modules, "helpers.inference.kernels_numba", None)
    monkeypatch.delattr("helpers.inference.kernels_numba")
    load_kernels.cache_clear()
    assert load_kernels() is kernels_numpy
    load_kernels.cache_clear()
