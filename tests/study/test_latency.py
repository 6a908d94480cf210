"""Latency by batch size: what is timed, what is computed from it, and the sources' figures computed again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.study.latency import batches_run_as_one, measure_latency, published_speeds, throughput

FEEDS = {"image": np.zeros((4, 1), np.float32)}


class Device:
    """Counts its calls and tells the steps of each, in seconds."""

    def __init__(self):
        self.calls = 0
        self._told = []

    def infer(self, feeds):
        self.calls += 1
        self._told.append(SimpleNamespace(h2d_s=0.001 * self.calls, execute_s=0.02, d2h_s=None))
        return feeds

    def timings(self):
        told, self._told = self._told, []
        return told


def test_warm_up_is_not_timed_and_steps_are_medians():
    device = Device()
    found = measure_latency(device, FEEDS, chips=2, warm_up=3, budget_s=0.0)
    assert (device.calls, found.calls, found.batch) == (8, 5, 4)
    assert found.h2d_ms == pytest.approx(6.0)  # calls 4 to 8
    assert found.execute_ms == pytest.approx(20.0) and found.d2h_ms is None
    assert found.samples_per_second == pytest.approx(4 * 2 * 1e3 / found.p50_ms)
    assert found.p50_ms <= found.p90_ms <= found.p99_ms


def test_a_device_that_tells_no_steps_is_timed_too():
    found = measure_latency(SimpleNamespace(infer=lambda feeds: feeds), FEEDS, budget_s=0.0)
    assert found.h2d_ms is found.execute_ms is None and found.calls == 5


@pytest.mark.parametrize("simulated", [True, False])
def test_a_doubles_times_are_recorded_as_such(simulated):
    device = SimpleNamespace(infer=lambda feeds: feeds, simulated=simulated)
    assert measure_latency(device, FEEDS, budget_s=0.0).to_json()["simulated"] is simulated


def test_throughput_counts_batch_and_chips():
    assert throughput(4, 252.54) == pytest.approx(15.839, abs=1e-3)
    assert throughput(4, 252.54, chips=4) == pytest.approx(63.36, abs=1e-2)


def test_a_larger_batch_as_fast_as_one_is_flagged():
    assert batches_run_as_one({1: 92.93, 4: 252.54, 8: 468.58, 16: 93.14, 32: 1835.8}) == [16]
    assert batches_run_as_one({4: 1.0, 16: 1.0}) == []
    assert batches_run_as_one({1: 10.0, 2: 10.5}) == []  # two may well fit beside each other


def test_the_published_speeds_of_the_3d_unet_are_judged():
    speeds = {speed.batch: speed for speed in published_speeds("unet3d_brats")}
    assert not speeds[1].is_wrong and speeds[1].note == ""
    for batch, right in ((4, 15.839), (8, 17.073), (32, 17.431)):
        assert speeds[batch].is_wrong and speeds[batch].right_fps == pytest.approx(right, abs=1e-3)
        assert "batch left out" in speeds[batch].note
    assert speeds[16].right_fps is None and "batch-1 model" in speeds[16].note
    assert published_speeds("unet_carvana") == []
