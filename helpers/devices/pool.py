"""Several chips as one device: each batch goes to a chip that is free, and no chip's failure loses a batch."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np

from helpers.devices.base import CallTiming, Device, DeviceFault
from helpers.errors import DeviceError

_STRIKES = 3  # batches that fail in a row before a chip that still answers is left out
_LATE_FACTOR = 5.0  # a call that takes this many times the usual is run on another chip too
_PATIENCE_S = 5.0  # and never before this
_LOOK_S = 0.5


class DevicePool(Device):
    """Chips behind one `submit`: batches are handed out as they come, answers are told apart by their futures.

    A batch that fails on one chip is run on the others; a chip that is lost, or fails again and again, is left out;
    a batch that a chip does not answer is run elsewhere too, and the first answer counts. Each of these is an
    incident. The pool fails when no chip is left, or when a batch fails on all of them.

    Args:
        open_chip: opens one chip by its number, given as `device_id`.
        numbers: of the chips.
        output_batch_axis: as of the chips.
        patience_s: how long a call may take at least before another chip tries.

    Raises:
        DeviceError: no chip opens.
    """

    def __init__(
        self,
        open_chip: Callable[..., Device],
        numbers: Sequence[int],
        output_batch_axis: int = 0,
        patience_s: float = _PATIENCE_S,
    ):
        super().__init__(output_batch_axis)
        self._patience_s = patience_s
        self._seconds: deque[float] = deque(maxlen=64)
        self._changed = threading.Condition()
        self._stopping = False
        self._chips = self._open_chips(open_chip, numbers)
        first = self._chips[0].device
        self.inputs, self.outputs = first.inputs, first.outputs
        self.simulated = any(chip.device.simulated for chip in self._chips)
        every = [chip.device.batches for chip in self._chips]
        self.batches = None if None in every else min(every, key=lambda batches: batches[-1])
        # One more a chip than run at once, so that a chip finds its next batch while the oldest is waited for.
        self.max_in_flight = sum(chip.free for chip in self._chips) + len(self._chips)

    def recovered_errors(self) -> list[str]:
        lines = super().recovered_errors()
        for chip in self._chips:
            lines += [f"device {chip.number}: {line}" for line in chip.device.recovered_errors()]
        return lines

    def timings(self) -> list[CallTiming]:
        return [replace(timing, device=chip.number) for chip in self._chips for timing in chip.device.timings()]

    def close(self, give_up: bool = False) -> None:
        with self._changed:
            self._stopping = self._stopping or give_up
            self._changed.notify_all()
        super().close(give_up)

    def _open_chips(self, open_chip: Callable[..., Device], numbers: Sequence[int]) -> list[_Chip]:
        chips, errors = [], []
        with ThreadPoolExecutor(len(numbers)) as executor:
            opening = {number: executor.submit(open_chip, device_id=number) for number in numbers}
            try:
                wait(opening.values())
            except BaseException:
                _close_all([future.result() for future in opening.values() if not future.exception()])
                raise
        for number, future in opening.items():
            if error := future.exception():
                errors.append(error)
                if isinstance(error, DeviceError):
                    self._note(f"device {number} is left out ({error.received or error.problem})")
            else:
                chips.append(_Chip(number, future.result()))
        if not chips:
            raise errors[0]
        return chips

    def _run_padded(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._run(feeds)  # each chip pads, tries twice and measures for itself

    def _run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        flying: dict[Future, _Chip] = {}
        tried: list[_Chip] = []
        error: BaseException | None = None
        while True:
            chip = self._take(tried, may_wait=not flying)
            if chip is not None:
                self._tell_redo(tried, flying, chip)
                tried.append(chip)
                flying[self._start(chip, feeds)] = chip
            elif not flying:
                raise error or DeviceError("no device of the pool is left", remedy="Open the device again.")
            for future in self._wait(flying, late=len(tried) > 1):
                del flying[future]
                error = future.exception()
                if error is None:
                    return future.result()

    def _wait(self, flying: dict[Future, _Chip], late: bool) -> set[Future]:
        """The calls that ended; none when they take so long that another chip should try."""
        start = time.perf_counter()
        while True:
            patience = _LOOK_S if late else self._patience()
            left = _LOOK_S if patience is None else max(0.0, start + patience - time.perf_counter())
            done = wait(flying, timeout=left, return_when=FIRST_COMPLETED).done
            if done or patience is not None or self._stopping:
                return done

    def _patience(self) -> float | None:
        """Seconds until a call counts as late; unknown before the first call ended."""
        seconds = list(self._seconds)
        return max(self._patience_s, _LATE_FACTOR * statistics.median(seconds)) if seconds else None

    def _take(self, tried: Sequence[_Chip], may_wait: bool) -> _Chip | None:
        """A place on a living chip that has not tried this batch; None when there is none (or none now)."""
        with self._changed:
            while True:
                if self._stopping:
                    raise CancelledError
                living = [chip for chip in self._chips if chip.lives and chip not in tried]
                free = [chip for chip in living if chip.free]
                if free:
                    chip = max(free, key=lambda chip: chip.free)
                    chip.free -= 1
                    return chip
                if not living or not may_wait:
                    return None
                self._changed.wait()

    def _start(self, chip: _Chip, feeds: dict[str, np.ndarray]) -> Future:
        start = time.perf_counter()
        future = chip.device.submit(feeds)

        def give_back(done: Future) -> None:
            error = CancelledError() if done.cancelled() else done.exception()
            with self._changed:
                chip.free += 1
                chip.late.discard(done)
                if error is None:
                    chip.strikes = 0
                    self._seconds.append(time.perf_counter() - start)
                else:
                    self._blame(chip, error)  # before anybody takes the place
                self._changed.notify_all()

        future.add_done_callback(give_back)
        return future

    def _tell_redo(self, tried: Sequence[_Chip], flying: dict[Future, _Chip], chip: _Chip) -> None:
        if not tried:
            return
        for future, slow in flying.items():
            slow.late.add(future)
        why = "did not answer in time" if flying else "failed"
        self._note(f"device {tried[-1].number} {why}: its batch was run again on device {chip.number}")

    def _blame(self, chip: _Chip, error: BaseException) -> None:
        lost = isinstance(error, DeviceFault) and error.kind == "lost"
        chip.strikes += 1
        if chip.lives and (lost or chip.strikes >= _STRIKES):
            chip.lives = False
            left = sum(other.lives for other in self._chips)
            self._note(f"device {chip.number} is left out, {left} go on ({getattr(error, 'received', error)})")

    def _close(self) -> None:
        for chip in self._chips:
            if chip.late:
                chip.device.abandon()
        _close_all([chip.device for chip in self._chips])


class _Chip:
    """One opened chip, and what the pool knows of it."""

    def __init__(self, number: int, device: Device):
        self.number, self.device = number, device
        self.free = device.max_in_flight
        self.lives, self.strikes = True, 0
        self.late: set[Future] = set()


def _close_all(devices: Sequence[Device]) -> None:
    with ThreadPoolExecutor(max(1, len(devices))) as executor:
        for closing in [executor.submit(device.close) for device in devices]:
            closing.result()
