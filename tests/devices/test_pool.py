"""Several devices as one: order, and no batch lost to a slow, failing or silent device."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from helpers.devices.base import DeviceFault, SessionDevice
from helpers.devices.pool import DevicePool
from helpers.errors import DeviceError
from tests.devices.fake_session import FakeSession


class Answering(FakeSession):
    """Answers x + 1; `behave(call)` may wait or raise, with the number of this device's call from 0."""

    def __init__(self, behave, batches, max_in_flight):
        tensors = [("x", "float32", [None, 3])]
        super().__init__(tensors, tensors, batches, max_in_flight)
        self.behave, self.calls, self._count = behave, 0, threading.Lock()

    def answer(self, feeds):
        with self._count:
            call, self.calls = self.calls, self.calls + 1
        if self.behave:
            self.behave(call)
        return {"x": feeds["x"] + 1}


class Chip(SessionDevice):
    """A device of the pool that can be abandoned."""

    def __init__(self, behave=None, batches=None, max_in_flight=2):
        self.session = Answering(behave, batches, max_in_flight)
        super().__init__(self.session)
        self.released = threading.Event()

    @property
    def calls(self):
        return self.session.calls

    @property
    def closed(self):
        return self.session.closed

    def abandon(self):
        self.released.set()


def failing(kind: str, first: int = 0, last: int = 10**9):
    def behave(call: int) -> None:
        if first <= call <= last:
            raise DeviceFault("the device failed", kind, received=f"acl.mdl.execute_async returned {kind}")

    return behave


def pool_of(*chips: Chip, **options) -> DevicePool:
    return DevicePool(lambda device_id: chips[device_id], range(len(chips)), **options)


def feed(value: float, count: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.full((count, 3), value, np.float32)}


def run_all(pool: DevicePool, count: int) -> None:
    futures = [pool.submit(feed(value)) for value in range(count)]
    for value, future in enumerate(futures):
        assert np.all(future.result(timeout=20)["x"] == value + 1)


def test_batches_go_to_free_devices_and_outputs_keep_their_order():
    chips = [Chip(lambda call, pause=pause: time.sleep(pause)) for pause in (0.04, 0.002, 0.002)]
    with pool_of(*chips) as pool:
        assert pool.max_in_flight == 9
        run_all(pool, 60)
        timings = pool.timings()
    assert sum(chip.calls for chip in chips) == 60
    assert chips[0].calls < chips[1].calls and chips[0].calls < chips[2].calls
    assert sorted({timing.device for timing in timings}) == [0, 1, 2] and len(timings) == 60
    assert pool.recovered_errors() == []
    assert [chip.closed for chip in chips] == [1, 1, 1]


@pytest.mark.parametrize("first", [0, 3], ids=["at once", "half-way"])
def test_a_lost_device_is_left_out_and_its_batches_are_run_again(first):
    chips = [Chip(failing("lost", first)), Chip(lambda call: time.sleep(0.002))]
    with pool_of(*chips) as pool:
        run_all(pool, 40)
    assert chips[0].calls <= first + 2  # both of its places may have been taken
    assert chips[1].calls == 40 - first
    told = " | ".join(pool.recovered_errors())
    assert "device 0 is left out, 1 remain (acl.mdl.execute_async returned lost)" in told
    assert "device 0 failed: its batch was run again on device 1" in told


def test_one_failed_batch_is_run_again_on_its_own_device():
    chips = [Chip(failing("failed", 2, 2)), Chip(lambda call: time.sleep(0.002))]
    with pool_of(*chips) as pool:
        run_all(pool, 20)
    assert sum(chip.calls for chip in chips) == 21
    said = "a batch failed and was run again (acl.mdl.execute_async returned failed)"
    assert pool.recovered_errors() == [f"device 0: {said}"] and pool.recovered_errors() == []


def test_a_device_that_always_fails_is_left_out_after_three_batches():
    chips = [Chip(failing("failed")), Chip(lambda call: time.sleep(0.002))]
    with pool_of(*chips) as pool:
        run_all(pool, 40)
    assert chips[0].calls <= 2 * 4
    assert chips[1].calls == 40
    assert any("device 0 is left out" in line for line in pool.recovered_errors())


def test_a_batch_that_fails_on_every_device_is_an_error_and_the_next_one_is_not():
    poison = np.float32(13)

    class Picky(Answering):
        def answer(self, feeds):
            if feeds["x"][0, 0] == poison:
                raise DeviceFault("the device failed", "failed", received="no such luck")
            return super().answer(feeds)

    with pool_of(*(SessionDevice(Picky(None, None, 2)) for _ in range(2))) as pool:
        with pytest.raises(DeviceError, match="no such luck"):
            pool.infer(feed(13))
        run_all(pool, 10)


def test_when_every_device_is_lost_each_waiting_batch_is_an_error():
    with pool_of(Chip(failing("lost")), Chip(failing("lost", 1))) as pool:
        futures = [pool.submit(feed(value)) for value in range(12)]
        errors = [future.exception(timeout=20) for future in futures]
    assert sum(error is None for error in errors) == 1
    assert all(isinstance(error, DeviceError) for error in errors if error)


def test_a_silent_device_blocks_neither_its_batch_nor_closing():
    silent = Chip(max_in_flight=1)
    silent.session.behave = lambda call: call < 1 or silent.released.wait()
    chips = [silent, Chip(lambda call: time.sleep(0.002), max_in_flight=1)]
    start = time.monotonic()
    with pool_of(*chips, patience_s=0.2) as pool:
        run_all(pool, 30)
        late = "device 0 did not answer in time: its batch was run again on device 1"
        assert any(late in line for line in pool.recovered_errors())
    assert time.monotonic() - start < 10
    assert [chip.closed for chip in chips] == [1, 1]


def test_a_device_that_never_answers_its_first_call_does_not_block_the_pool():
    silent = Chip(max_in_flight=1)
    silent.session.behave = lambda call: silent.released.wait(30)
    start = time.monotonic()
    with pool_of(silent, Chip(max_in_flight=1), patience_s=0.2) as pool:
        run_all(pool, 6)
    assert time.monotonic() - start < 10


def test_a_device_that_does_not_open_is_left_out_and_if_none_opens_the_first_error_is_raised():
    good = Chip()

    def open_chip(device_id):
        if device_id != 1:
            raise DeviceError("cannot open", received=f"acl.rt.set_device returned 507899 on {device_id}")
        return good

    with DevicePool(open_chip, [0, 1]) as pool:
        run_all(pool, 5)
    assert pool.recovered_errors() == ["device 0 is left out (acl.rt.set_device returned 507899 on 0)"]
    with pytest.raises(DeviceError, match="507899 on 2"):
        DevicePool(open_chip, [2, 3])


def test_devices_with_different_batches_accept_what_all_of_them_accept():
    chips = [Chip(batches=(1, 4)), Chip(batches=(1, 2))]
    with pool_of(*chips) as pool:
        assert pool.batches == (1, 2)
        for _ in range(6):
            assert pool.infer(feed(5, 2))["x"].shape == (2, 3)
        with pytest.raises(DeviceError, match="1 to 2"):
            pool.submit(feed(5, 3))


def test_giving_up_starts_no_more_batches():
    chips = [Chip(lambda call: time.sleep(0.05), max_in_flight=1) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt), pool_of(*chips) as pool:
        futures = [pool.submit(feed(value)) for value in range(40)]
        futures[0].result()
        raise KeyboardInterrupt
    assert sum(chip.calls for chip in chips) <= 6
    assert [chip.closed for chip in chips] == [1, 1]
