"""Feeds are checked before they reach a runtime; partial batches are padded and the outputs cut."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from helpers.devices.base import SessionDevice
from helpers.errors import DeviceError
from tests.devices.fake_session import FakeSession


class Recorder(FakeSession):
    """Answers x + 1 and remembers its feeds."""

    def __init__(self, batches=None, output_batch_axis=0, max_in_flight=2):
        tensor = ["float32", [None, 2, 3]]
        super().__init__([("x", *tensor)], [("y", *tensor)], batches, max_in_flight)
        self.axis = output_batch_axis
        self.fed: list[np.ndarray] = []
        self.running = self.most_running = 0
        self._count = threading.Lock()

    def answer(self, feeds):
        with self._count:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.fed.append(feeds["x"].copy())
        time.sleep(0.01 * (1 + int(feeds["x"].ravel()[0]) % 3))
        with self._count:
            self.running -= 1
        return {"y": np.moveaxis(feeds["x"] + 1, 0, self.axis)}


def open_recorder(**options) -> tuple[SessionDevice, Recorder]:
    session = Recorder(**options)
    return SessionDevice(session, session.axis), session


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
    device, session = open_recorder(batches=(1, 4))
    with device, pytest.raises(DeviceError) as refusal:
        device.infer(feeds)
    assert all(part in str(refusal.value) for part in said), str(refusal.value)
    assert session.fed == []


def test_an_empty_batch_is_refused_where_any_batch_is_allowed():
    device, _ = open_recorder()
    with device, pytest.raises(DeviceError, match="at least 1"):
        device.infer({"x": batch(0)})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("count", "run"), [(1, 2), (2, 2), (3, 4), (4, 4)])
def test_a_partial_batch_is_padded_with_zeros_and_the_output_cut(axis, count, run):
    device, session = open_recorder(batches=(2, 4), output_batch_axis=axis)
    with device:
        answer = device.infer({"x": batch(count, 7)})["y"]
        assert answer.shape[axis] == count
        assert np.all(answer == 8)
        (fed,) = session.fed
        assert fed.shape[0] == run
        assert np.all(fed[:count] == 7) and np.all(fed[count:] == 0)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_calls_in_flight_keep_their_outputs_apart(in_flight):
    device, session = open_recorder(max_in_flight=in_flight)
    with device:
        futures = [device.submit({"x": batch(1 + index % 2, index)}) for index in range(24)]
        for index, future in enumerate(futures):
            assert np.all(future.result()["y"] == index + 1)
        assert session.most_running == in_flight


def test_close_waits_for_the_calls_in_flight_and_a_second_close_does_nothing():
    device, session = open_recorder()
    futures = [device.submit({"x": batch(1, 2)}) for _ in range(6)]
    device.close()
    assert all(future.done() for future in futures)
    device.close()
    assert session.closed == 1
    with pytest.raises(DeviceError, match="closed"):
        device.infer({"x": batch(1)})


def test_an_exception_inside_the_block_closes_the_device():
    device, session = open_recorder()
    with pytest.raises(ZeroDivisionError), device:
        raise ZeroDivisionError
    assert session.closed == 1


@pytest.mark.parametrize("error", [RuntimeError("no memory left"), ValueError("bad"), Exception("a runtime's own")])
def test_a_failing_runtime_is_a_one_line_error_and_the_device_stays_usable(error):
    class Failing(Recorder):
        fail = True

        def answer(self, feeds):
            if self.fail:
                raise error
            return {"y": feeds["x"]}

    session = Failing()
    with SessionDevice(session) as device:
        with pytest.raises(DeviceError, match=str(error)):
            device.infer({"x": batch(1)})
        session.fail = False
        assert device.infer({"x": batch(1)})["y"].shape == (1, 2, 3)
