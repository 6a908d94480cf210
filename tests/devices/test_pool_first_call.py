"""A pool goes on without a chip that never answered."""

from __future__ import annotations

import threading
import time

import numpy as np

from helpers.devices.base import SessionDevice
from helpers.devices.pool import DevicePool
from tests.devices.fake_session import FakeSession


def test_a_chip_that_never_answers_its_first_call_holds_nothing_up():
    class Answering(FakeSession):
        def __init__(self, silent):
            tensors = [("x", "float32", [None, 3])]
            super().__init__(tensors, tensors)
            self.silent, self.released = silent, threading.Event()

        def answer(self, feeds):
            if self.silent:
                self.released.wait(30)
            return {"x": feeds["x"] + 1}

    class Chip(SessionDevice):
        def __init__(self, silent):
            self.session = Answering(silent)
            super().__init__(self.session)

        def abandon(self):
            self.session.released.set()

    chips = [Chip(True), Chip(False)]
    start = time.monotonic()
    with DevicePool(lambda device_id: chips[device_id], [0, 1], patience_s=0.2) as pool:
        futures = [pool.submit({"x": np.full((1, 3), value, np.float32)}) for value in range(6)]
        assert [future.result(timeout=10)["x"][0, 0] for future in futures] == [1, 2, 3, 4, 5, 6]
    assert time.monotonic() - start < 10
