"""Positions, weights and resampling against nnU-Net v2 itself, if it is installed (the benchmark environment)."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.inference import WindowPlan, compute_steps, resample_to_labels
from helpers.inference.windows import WindowGrid

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed; test_windows and test_resample check its formulas")
torch = pytest.importorskip("torch")


def test_steps_and_weights_equal_on_200_shapes():
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

    random = np.random.default_rng(5)
    for _ in range(200):
        window = tuple(int(side) for side in random.integers(1, 33, 3))
        shape = tuple(max(side, int(size)) for side, size in zip(window, random.integers(1, 150, 3), strict=True))
        step = float(random.choice([0.25, 0.3, 0.5, 0.7, 1.0]))
        ours = [compute_steps(size, length, step) for size, length in zip(shape, window, strict=True)]
        assert ours == compute_steps_for_sliding_window(shape, window, step)
        weights = compute_gaussian(window, dtype=torch.float32, device=torch.device("cpu")).numpy()
        grid = WindowGrid(window, WindowPlan(window, 2))
        np.testing.assert_allclose(grid.weights_of_window(), weights, rtol=1e-5)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_resampled_labels_are_equal(axis, seed):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

    random = np.random.default_rng(seed)
    source, target = (tuple(int(size) for size in random.integers(5, 60, 3)) for _ in range(2))
    data = random.standard_normal((3, *source)).astype(np.float32)
    expected = resample_data_or_seg(data, target, False, axis, 1, axis is not None, 0)
    assert (resample_to_labels(data, target, nearest_axis=axis) != expected.argmax(0)).sum() == 0
