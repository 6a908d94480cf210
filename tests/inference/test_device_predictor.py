"""A device as a predictor: split batches, named tensors, calls in flight."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from helpers.devices.base import SessionDevice
from helpers.errors import DeviceError
from helpers.inference import sliding_window
from helpers.inference.predictor import DevicePredictor
from tests.devices.fake_session import FakeSession


class Thresholds(FakeSession):
    """Two scores: x and -x; the batch is fixed at 2."""

    def __init__(self):
        outputs = [("scores", "float32", [2, 2, 4, 4, 4]), ("more", "float32", [2])]
        super().__init__([("image", "float32", [2, 1, 4, 4, 4])], outputs, [2], 3)
        self.threads = set()

    def answer(self, feeds):
        self.threads.add(threading.current_thread().name)
        time.sleep(0.002)
        x = feeds["image"][:, 0]
        return {"more": x[:, 0, 0, 0], "scores": np.stack([-x, x], axis=1)}


def test_a_volume_through_a_device_with_a_fixed_batch():
    volume = np.random.default_rng(0).standard_normal((1, 9, 9, 9), dtype=np.float32)
    session = Thresholds()
    with SessionDevice(session) as device:
        predictor = DevicePredictor(device, "image", "scores")
        assert predictor.max_in_flight == 3
        assert predictor(np.zeros((1, 1, 4, 4, 4), np.float32)).shape == (1, 2, 4, 4, 4)
        labels = sliding_window(volume, predictor, (4, 4, 4), classes=2, batch_size=2)
        assert len(session.threads) > 1
    assert np.array_equal(labels, (volume[0] > 0).astype(np.uint8))


class Halves(FakeSession):
    """An input and an output in float16, batches of at most 3, samples on axis 1 of the output."""

    def __init__(self, names=("renamed:0",)):
        outputs = [(name, "float16", [1, None, 2, 2]) for name in names]
        super().__init__([("image", "float16", [None, 1, 2, 2])], outputs, [1, 3], 1)
        self.sizes = []

    def answer(self, feeds):
        self.sizes.append(len(feeds["image"]))
        return {name: np.moveaxis(feeds["image"], 0, 1) for name, _, _ in self.outputs}


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (3, [3]), (7, [3, 3, 1])])
def test_a_batch_larger_than_the_device_accepts_is_split_and_joined(count, sizes):
    batch = np.arange(count * 4, dtype=np.float32).reshape(count, 1, 2, 2)
    session = Halves()
    with SessionDevice(session, output_batch_axis=1) as device:
        answer = DevicePredictor(device, "image", "scores")(batch)
    assert session.sizes == sizes
    assert answer.dtype == np.float32
    assert np.array_equal(answer, np.moveaxis(batch, 0, 1))


def test_of_several_outputs_the_named_one_is_used_and_an_unknown_name_is_refused():
    with SessionDevice(Halves(("one", "scores")), output_batch_axis=1) as device:
        assert DevicePredictor(device, "image", "scores")(np.zeros((1, 1, 2, 2), np.float32)).shape == (1, 1, 2, 2)
        with pytest.raises(DeviceError, match=r"no tensor 'score'.*one, scores"):
            DevicePredictor(device, "image", "score")
