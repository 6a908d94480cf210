"""Reusing the output for constant windows changes no bit and runs the network less often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from helpers.inference import WindowPlan, as_predictor, infer_job
from helpers.inference.predictor import ConstantWindowCache

PLAN = WindowPlan((6, 8, 8), 3, mirror_axes=(0, 2))


def island(channels: int = 2) -> np.ndarray:
    """Mostly air of another value in each channel, with an island of noise in one corner."""
    image = np.broadcast_to(
        np.arange(channels, dtype=np.float32).reshape(-1, 1, 1, 1) - 3, (channels, 30, 32, 40)
    ).copy()
    image[:, :9, :10, :11] += np.random.default_rng(0).standard_normal((channels, 9, 10, 11), dtype=np.float32)
    return image


class Network:
    """Scores depend on content and place; counts the windows it ran on."""

    def __init__(self):
        self.asked = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.asked += len(batch)
        place = np.arange(batch[0, 0].size, dtype=np.float32).reshape(batch.shape[2:])
        return np.stack(
            [np.sin(place + index) * (1 + batch[:, index % batch.shape[1]]) for index in range(3)], axis=1
        )


class Submitting(Network):
    name, simulated, fixed_batches, torch_network = "submitting", False, False, None
    max_in_flight = 2

    def __init__(self):
        super().__init__()
        self._pool = ThreadPoolExecutor(1)

    def submit(self, batch: np.ndarray):
        return self._pool.submit(self.__call__, batch)

    def recovered_errors(self):
        return []


@pytest.mark.parametrize("network", [Network, Submitting])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("target", [None, (33, 30, 44)])
def test_no_bit_changes_and_fewer_windows_are_inferred(network, batch_size, target):
    plan = replace(PLAN, batch_size=batch_size, target_shape=target)
    plain, reusing = network(), network()
    wanted = infer_job(island(), as_predictor(plain), plan)
    found = infer_job(island(), as_predictor(reusing), replace(plan, reuse_constant=True))
    assert np.array_equal(found, wanted)
    assert reusing.asked < 0.5 * plain.asked


def test_a_window_that_differs_in_one_voxel_is_inferred():
    network = Network()
    cache = ConstantWindowCache(as_predictor(network))
    batch = np.zeros((1, 2, 4, 4, 4), np.float32)
    cache.submit(batch).result()
    for place in [(0, 0, 0, 0, 0), (0, 1, 3, 3, 3), (0, 0, 1, 2, 3)]:
        other = batch.copy()
        other[place] = 1
        assert np.array_equal(cache.submit(other).result(), Network()(other))
    assert cache.reused == 0
    cache.submit(batch).result()
    assert cache.reused == 1 and network.asked == 4


def test_different_constants_are_kept_apart():
    cache, network = ConstantWindowCache(as_predictor(Network())), Network()
    for value in (0, 1, 0, 2, 1):
        batch = np.full((1, 2, 4, 4, 4), value, np.float32)
        assert np.array_equal(cache.submit(batch).result(), network(batch))
    assert cache.reused == 2
