"""Batches, late outputs and slabs change nothing; invalid scores and errors of the device reach the caller."""

from __future__ import annotations

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers.errors import DeviceError
from helpers.inference import sliding_window
from tests.inference.dense_windows import CLASSES, check, lopsided, random_volume, slabs_of


@pytest.mark.parametrize("batch_size", [2, 5, 64])
def test_batches_that_cross_levels_change_nothing(batch_size):
    volume, sizes = random_volume((12, 9, 9)), []

    def counted(batch):
        sizes.append(batch.shape[0])
        return lopsided(batch)

    one = sliding_window(volume, lopsided, (4, 6, 6), classes=CLASSES)
    assert np.array_equal(sliding_window(volume, counted, (4, 6, 6), classes=CLASSES, batch_size=batch_size), one)
    assert max(sizes) <= batch_size and sum(sizes) == 5 * 2 * 2


def test_each_window_of_a_slice_is_inferred_once():
    calls = []

    def counted(batch):
        calls.append(batch.shape)
        return lopsided(batch)

    sliding_window(random_volume((9, 12, 8)), counted, (8, 8), classes=CLASSES)
    assert calls == [(1, 2, 8, 8)] * 9 * 2


class Delayed:
    """Answers late and out of order, and counts the batches that are pending at once."""

    name, simulated, fixed_batches, torch_network = "delayed", False, False, None

    def __init__(self, max_in_flight: int):
        self.max_in_flight = max_in_flight
        self.pool = ThreadPoolExecutor(8)
        self.asked = self.most = 0
        self.lock = threading.Lock()
        self.plain = lopsided

    def submit(self, batch):
        with self.lock:
            self.asked += 1
            self.most = max(self.most, self.asked)
            delay = 0.004 * ((self.asked * 7) % 5)
        assert batch.flags.c_contiguous and batch.dtype == np.float32
        return self.pool.submit(self.run, batch, delay)

    def recovered_errors(self):
        return []

    def run(self, batch, delay):
        time.sleep(delay)
        with self.lock:
            self.asked -= 1
        return lopsided(batch)


@pytest.mark.parametrize("max_in_flight", [1, 4])
def test_late_and_out_of_order_outputs_are_put_in_order(max_in_flight):
    infer = Delayed(max_in_flight)
    check(random_volume((9, 9, 9)), (4, 4, 4), infer, batch_size=2)
    assert infer.most <= max_in_flight + 1
    assert infer.most > 1


def test_slabs_are_yielded_before_later_windows_are_inferred():
    seen = []

    def counted(batch):
        seen.append(batch.shape[0])
        return lopsided(batch)

    stream = slabs_of(random_volume((40, 4, 4)), counted, (4, 4, 4), classes=CLASSES)
    first = next(stream)
    assert (first.start, first.stop) == (0, 2)
    assert len(seen) <= 4 < 19
    assert sum(slab.stop - slab.start for slab in stream) == 38


def test_the_accumulator_does_not_grow_with_the_depth():
    def peak(depth: int) -> int:
        volume = np.zeros((1, depth, 64, 64), np.float32)
        infer = np.zeros((1, CLASSES, 8, 32, 32), np.float32)
        tracemalloc.start()
        for _ in slabs_of(volume, lambda batch: infer, (8, 32, 32), classes=CLASSES):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    shallow, deep = peak(40), peak(400)
    assert deep <= 1.1 * shallow
    assert deep < CLASSES * 400 * 64 * 64 * 4 / 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    calls = []

    def broken(batch):
        calls.append(1)
        scores = lopsided(batch)
        if len(calls) == 7:
            scores[0, 1, 2, 3, 1] = bad
        return scores

    with pytest.raises(DeviceError, match="not finite"):
        sliding_window(random_volume((9, 9, 9)), broken, (4, 4, 4), classes=CLASSES)


def test_scores_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(
        DeviceError,
        match=r"the network returned another shape: received \(1, 3, 4, 4, 4\), expected \(1, 5, 4, 4, 4\)",
    ):
        sliding_window(random_volume((9, 9, 9)), lopsided, (4, 4, 4), classes=5)


def test_an_error_of_the_device_reaches_the_caller():
    def broken(batch):
        raise DeviceError("the device failed")

    with pytest.raises(DeviceError, match="the device failed"):
        sliding_window(random_volume((4, 4, 4)), broken, (4, 4, 4), classes=CLASSES)
