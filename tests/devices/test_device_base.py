"""Feeds are checked before they reach a runtime; partial batches are padded and the answers cut."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from helpers.devices import Device, TensorSpec
from helpers.devices.open import LocalDevice
from helpers.errors import DeviceError


class Recorder(Device):
    """Answers x + 1 and remembers what it was fed."""

    def __init__(self, batches=None, output_batch_axis=0, max_in_flight=2):
        super().__init__(output_batch_axis)
        self.inputs = (TensorSpec("x", "float32", (None, 2, 3)),)
        self.outputs = (TensorSpec("y", "float32", (None, 2, 3)),)
        self.batches, self.max_in_flight = batches, max_in_flight
        self.fed: list[np.ndarray] = []
        self.closed = 0
        self.running = self.most_running = 0
        self._count = threading.Lock()

    def _run(self, feeds):
        with self._count:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.fed.append(feeds["x"].copy())
        time.sleep(0.01 * (1 + int(feeds["x"].ravel()[0]) % 3))
        with self._count:
            self.running -= 1
        answer = feeds["x"] + 1
        return {"y": np.moveaxis(answer, 0, self.output_batch_axis)}

    def _close(self):
        self.closed += 1


def batch(count: int, value: float = 0.0) -> np.ndarray:
    return np.full((count, 2, 3), value, np.float32)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"z": batch(1)}, ["['z']", "['x']"]),
        ({"x": batch(1), "more": batch(1)}, ["['more', 'x']", "['x']"]),
        ({}, ["[]", "['x']"]),
        ({"x": batch(1).astype(np.float64)}, ["float64 (1, 2, 3)", "float32 (any, 2, 3)"]),
        ({"x": np.zeros((1, 2, 4), np.float32)}, ["float32 (1, 2, 4)", "float32 (any, 2, 3)"]),
        ({"x": np.zeros((2, 3), np.float32)}, ["float32 (2, 3)"]),
        ({"x": np.zeros((), np.float32)}, ["float32 ()"]),
        ({"x": np.zeros((1, 3, 2), np.float32).transpose(0, 2, 1)}, ["strides", "C order"]),
        ({"x": batch(5)}, ["received 5", "1 to 4"]),
        ({"x": batch(0)}, ["received 0", "1 to 4"]),
    ],
    ids=["name", "extra", "none", "dtype", "shape", "rank", "scalar", "contiguity", "too large", "empty"],
)
def test_feeds_that_do_not_fit_are_refused_with_both_sides(feeds, said):
    with Recorder(batches=(1, 4)) as device:
        with pytest.raises(DeviceError) as refusal:
            device.infer(feeds)
        assert all(part in str(refusal.value) for part in said), str(refusal.value)
        assert device.fed == []


def test_an_empty_batch_is_refused_where_any_batch_is_allowed():
    with Recorder() as device, pytest.raises(DeviceError, match="at least 1"):
        device.infer({"x": batch(0)})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("count", "run"), [(1, 2), (2, 2), (3, 4), (4, 4)])
def test_a_partial_batch_is_padded_with_zeros_and_the_answer_cut(axis, count, run):
    with Recorder(batches=(2, 4), output_batch_axis=axis) as device:
        answer = device.infer({"x": batch(count, 7)})["y"]
        assert answer.shape[axis] == count
        assert np.all(answer == 8)
        (fed,) = device.fed
        assert fed.shape[0] == run
        assert np.all(fed[:count] == 7) and np.all(fed[count:] == 0)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_calls_in_flight_keep_their_answers_apart(in_flight):
    with Recorder(max_in_flight=in_flight) as device:
        futures = [device.submit({"x": batch(1 + index % 2, index)}) for index in range(24)]
        for index, future in enumerate(futures):
            assert np.all(future.result()["y"] == index + 1)
        assert device.most_running == in_flight


def test_close_waits_for_what_is_in_flight_and_does_nothing_twice():
    device = Recorder()
    futures = [device.submit({"x": batch(1, 2)}) for _ in range(6)]
    device.close()
    assert all(future.done() for future in futures)
    device.close()
    assert device.closed == 1
    with pytest.raises(DeviceError, match="closed"):
        device.infer({"x": batch(1)})


def test_an_exception_inside_the_block_closes_the_device():
    device = Recorder()
    with pytest.raises(ZeroDivisionError), device:
        raise ZeroDivisionError
    assert device.closed == 1


@pytest.mark.parametrize("error", [RuntimeError("no memory left"), ValueError("bad"), Exception("a runtime's own")])
def test_a_failing_runtime_becomes_one_line_and_the_device_lives_on(error):
    class Session:
        inputs, outputs = [("x", "float32", [None, 2, 3])], [("y", "float32", [None, 2, 3])]
        batches, max_in_flight, fail = None, 1, True

        def run(self, feeds):
            if self.fail:
                raise error
            return {"y": feeds["x"]}

        def close(self):
            pass

    session = Session()
    with LocalDevice(session) as device:
        with pytest.raises(DeviceError, match=str(error)):
            device.infer({"x": batch(1)})
        session.fail = False
        assert device.infer({"x": batch(1)})["y"].shape == (1, 2, 3)
