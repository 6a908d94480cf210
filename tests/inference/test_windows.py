"""Window positions and weights equal nnU-Net's formulas on random shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from helpers.inference import WindowPlan, compute_steps, gaussian_profile
from helpers.inference.windows import WindowGrid, padding_to_window


def nnunet_steps(image_size, tile_size, step):
    """nnU-Net's steps: as many windows as the step size needs, evenly spread, rounded half to even."""
    wanted = [length * step for length in tile_size]
    counts = [int(np.ceil((i - k) / j)) + 1 for i, j, k in zip(image_size, wanted, tile_size, strict=True)]
    steps = []
    for count, size, length in zip(counts, image_size, tile_size, strict=True):
        actual = (size - length) / (count - 1) if count > 1 else 99999999999
        steps.append([int(np.round(actual * index)) for index in range(count)])
    return steps


def nnunet_gaussian(tile_size):
    """nnU-Net's weights: an impulse at the middle, filtered, its maximum 1, zeros filled with the smallest other."""
    impulse = np.zeros(tile_size)
    impulse[tuple(length // 2 for length in tile_size)] = 1
    weights = gaussian_filter(impulse, [length / 8 for length in tile_size], 0, mode="constant", cval=0)
    weights /= weights.max()
    weights[weights == 0] = weights[weights != 0].min()
    return weights


def random_cases(count: int):
    """Volumes and windows: odd, prime, a single slice, smaller than the window, and the published windows."""
    random = np.random.default_rng(2)
    yield (155, 240, 240), (64, 64, 64), 0.5
    yield (1, 512, 512), (1, 320, 256), 0.5
    yield (482, 512, 512), (128, 128, 128), 0.5
    for _ in range(count - 3):
        window = tuple(int(side) for side in random.integers(1, 40, 3))
        shape = tuple(int(side) for side in random.choice([1, 2, 3, 7, 13, 31, 37, 64, 97, 101, 128, 210], 3))
        yield shape, window, float(random.choice([0.25, 0.3, 0.5, 0.7, 1.0]))


def test_steps_equal_nnunets_on_200_shapes():
    for shape, window, step in random_cases(200):
        padded = [max(size, length) for size, length in zip(shape, window, strict=True)]
        ours = [compute_steps(size, length, step) for size, length in zip(padded, window, strict=True)]
        assert ours == nnunet_steps(padded, window, step), (shape, window, step)
        assert WindowGrid(tuple(padded), WindowPlan(window, 2, step)).starts == ours


def test_weights_equal_nnunets_on_random_windows():
    random = np.random.default_rng(3)
    windows = [(64, 64, 64), (1, 320, 256), (5, 1, 2), (2, 3, 3)]
    windows += [tuple(int(side) for side in random.integers(1, 40, 3)) for _ in range(60)]
    for window in windows:
        expected = nnunet_gaussian(window)
        ours = WindowGrid(window, WindowPlan(window, 2)).weights_of_window()
        assert ours.dtype == np.float32
        assert ours.min() > 0
        np.testing.assert_allclose(ours, expected.astype(np.float32), rtol=1e-5, err_msg=str(window))


@pytest.mark.parametrize("window", [1, 2, 3, 7, 8, 64, 96, 127, 320])
def test_a_profile_has_its_maximum_in_the_middle_and_no_zero(window):
    profile = gaussian_profile(window)
    assert profile.argmax() == window // 2
    assert profile.max() == 1
    assert profile.min() > 0


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 200), st.floats(0.05, 1))
def test_windows_cover_the_axis_and_are_never_further_apart_than_the_step_size(size, window, step):
    size = max(size, window)
    starts = compute_steps(size, window, step)
    assert starts[0] == 0 and starts[-1] == size - window
    gaps = np.diff(starts)
    assert np.all(gaps >= 0) and np.all(gaps <= max(1, np.ceil(window * step)))


@pytest.mark.parametrize(("size", "window", "step"), [(5, 6, 0.5), (6, 5, 0.0), (6, 5, 1.5), (6, 5, -0.5)])
def test_impossible_requests_are_refused(size, window, step):
    with pytest.raises(ValueError, match=r"received|shorter"):
        compute_steps(size, window, step)


@given(st.tuples(*[st.integers(1, 50)] * 3), st.tuples(*[st.integers(1, 50)] * 3))
def test_padding_is_centred_with_the_odd_voxel_behind(shape, window):
    for size, length, (before, after) in zip(shape, window, padding_to_window(shape, window), strict=True):
        assert size + before + after == max(size, length)
        assert after - before in (0, 1)


def test_flat_windows_take_each_slice_once():
    grid = WindowGrid((11, 20, 20), WindowPlan((8, 8), 2))
    assert grid.starts[0] == list(range(11))
    assert grid.starts[1:] == [compute_steps(20, 8, 0.5)] * 2
