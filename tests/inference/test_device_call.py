"""A device becomes the callable that inference wants, and keeps its calls in flight."""

from __future__ import annotations

import time

import numpy as np

from helpers.devices import Device, TensorSpec
from helpers.inference import sliding_window
from helpers.inference.device_call import DeviceCall


class Thresholds(Device):
    """Two scores: x and -x; the batch is fixed at 2."""

    def __init__(self):
        super().__init__()
        self.inputs = (TensorSpec("image", "float32", (2, 1, 4, 4, 4)),)
        self.outputs = (TensorSpec("scores", "float32", (2, 2, 4, 4, 4)), TensorSpec("more", "float32", (2,)))
        self.batches, self.max_in_flight, self.threads = (2,), 3, set()

    def _run(self, feeds):
        import threading

        self.threads.add(threading.current_thread().name)
        time.sleep(0.002)
        x = feeds["image"][:, 0]
        return {"more": x[:, 0, 0, 0], "scores": np.stack([-x, x], axis=1)}

    def _close(self):
        pass


def test_a_volume_through_a_device_with_a_fixed_batch():
    volume = np.random.default_rng(0).standard_normal((1, 9, 9, 9), dtype=np.float32)
    with Thresholds() as device:
        call = DeviceCall(device, "image", "scores")
        assert call.max_in_flight == 3
        assert call(np.zeros((1, 1, 4, 4, 4), np.float32)).shape == (1, 2, 4, 4, 4)
        labels = sliding_window(volume, call, (4, 4, 4), classes=2, batch_size=2)
        assert len(device.threads) > 1
    assert np.array_equal(labels, (volume[0] > 0).astype(np.uint8))
