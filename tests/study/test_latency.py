"""Latency by batch size: what is timed, what is computed from it, and the sources' figures, recomputed."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.devices.base import CallTiming
from helpers.study.latency import batches_run_as_one, measure_latency, published_speeds, throughput

FEEDS = {"image": np.zeros((4, 1), np.float32)}


class Device:
    """Counts its calls. With `reports_steps` the copy to the device takes one millisecond more on every call."""

    def __init__(self, reports_steps: bool = True, simulated: bool = False):
        self.calls = 0
        self.simulated, self._reports_steps = simulated, reports_steps
        self._timings = []

    def infer(self, feeds):
        self.calls += 1
        steps = (0.001 * self.calls, 0.02) if self._reports_steps else (None, None)
        self._timings.append(CallTiming(4, 4, 0.03, *steps))
        return feeds

    def timings(self):
        timings, self._timings = self._timings, []
        return timings


def test_warm_up_is_not_timed_and_steps_are_medians():
    device = Device()
    found = measure_latency(device, FEEDS, devices=2, warm_up=3, budget_s=0.0)
    assert (device.calls, found.calls, found.batch) == (8, 5, 4)
    assert found.h2d_ms == pytest.approx(6.0)  # calls 4 to 8
    assert found.execute_ms == pytest.approx(20.0) and found.d2h_ms is None
    assert found.samples_per_second == pytest.approx(4 * 2 * 1e3 / found.p50_ms)
    assert found.p50_ms <= found.p90_ms <= found.p99_ms


def test_a_device_that_reports_no_steps_is_timed_too():
    found = measure_latency(Device(reports_steps=False), FEEDS, budget_s=0.0)
    assert found.h2d_ms is found.execute_ms is None and found.calls == 5


@pytest.mark.parametrize("simulated", [True, False])
def test_times_of_a_double_are_recorded_as_simulated(simulated):
    assert measure_latency(Device(simulated=simulated), FEEDS, budget_s=0.0).to_json()["simulated"] is simulated


def test_throughput_counts_batch_and_devices():
    assert throughput(4, 252.54) == pytest.approx(15.839, abs=1e-3)
    assert throughput(4, 252.54, devices=4) == pytest.approx(63.36, abs=1e-2)


def test_a_larger_batch_as_fast_as_batch_1_is_flagged():
    assert batches_run_as_one({1: 92.93, 4: 252.54, 8: 468.58, 16: 93.14, 32: 1835.8}) == [16]
    assert batches_run_as_one({4: 1.0, 16: 1.0}) == []
    assert batches_run_as_one({1: 10.0, 2: 10.5}) == []  # two samples may well run at the same time


def test_the_published_speeds_of_the_3d_unet_are_judged():
    speeds = {speed.batch: speed for speed in published_speeds("unet3d_brats")}
    assert not speeds[1].is_incorrect and speeds[1].note == ""
    for batch, derived in ((4, 15.839), (8, 17.073), (32, 17.431)):
        assert speeds[batch].is_incorrect and speeds[batch].derived_fps == pytest.approx(derived, abs=1e-3)
        assert "without the batch size" in speeds[batch].note
    assert speeds[16].derived_fps is None and "batch-1 model" in speeds[16].note
    assert published_speeds("unet_carvana") == []
