"""Several devices as one: each batch goes to a device that is free, and no device's failure loses a batch."""

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

_MAX_FAILURES = 3  # batches in a row before a device that still answers is left out
_LATE_FACTOR = 5.0  # a call that takes this many times the median is run on another device too
_PATIENCE_S = 5.0  # but not before this time
_POLL_S = 0.5


class DevicePool(Device):
    """Devices behind one `submit`: batches are distributed as they come, and futures keep the outputs apart.

    A batch that fails on one device is run on the others. A device that is lost, or keeps failing, is left out. A
    batch that a device is slow to answer is also run on another one, and the first answer counts. Each of these is a
    recovered error. The pool fails when no device is left, or when a batch fails on all of them.

    Args:
        open_one: opens one device by its number, given as `device_id`.
        numbers: of the devices.
        output_batch_axis, name: as in `Device`.
        patience_s: minimum time that a call may take before another device tries.

    Raises:
        DeviceError: no device opens.
    """

    def __init__(
        self,
        open_one: Callable[..., Device],
        numbers: Sequence[int],
        output_batch_axis: int = 0,
        patience_s: float = _PATIENCE_S,
        name: str = "the devices",
    ):
        super().__init__(output_batch_axis, name)
        self._patience_s = patience_s
        self._seconds: deque[float] = deque(maxlen=64)
        self._changed = threading.Condition()
        self._stopping = False
        self._members = self._open_all(open_one, numbers)
        first = self._members[0].device
        self.inputs, self.outputs = first.inputs, first.outputs
        self.simulated = any(member.device.simulated for member in self._members)
        limited = [member.device.batches for member in self._members if member.device.batches is not None]
        is_open = len(limited) < len(self._members)
        self.batches = None if is_open else min(limited, key=lambda batches: batches[-1])
        # One more per device than run at once, so that a device finds its next batch while the oldest is awaited.
        self.max_in_flight = sum(member.free for member in self._members) + len(self._members)

    def recovered_errors(self) -> list[str]:
        lines = super().recovered_errors()
        for member in self._members:
            lines += [f"device {member.number}: {line}" for line in member.device.recovered_errors()]
        return lines

    def timings(self) -> list[CallTiming]:
        return [
            replace(timing, device=member.number) for member in self._members for timing in member.device.timings()
        ]

    def close(self, give_up: bool = False) -> None:
        with self._changed:
            self._stopping = self._stopping or give_up
            self._changed.notify_all()
        super().close(give_up)

    def _open_all(self, open_one: Callable[..., Device], numbers: Sequence[int]) -> list[_Member]:
        members, errors = [], []
        with ThreadPoolExecutor(len(numbers)) as executor:
            opening = {number: executor.submit(open_one, device_id=number) for number in numbers}
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
                members.append(_Member(number, future.result()))
        if not members:
            raise errors[0]
        return members

    def _run_batch(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one batch on a free device, and on others if that one fails or is late.

        Each device pads, retries and measures for itself.
        """
        in_flight: dict[Future, _Member] = {}
        tried: list[_Member] = []
        error: BaseException | None = None
        while True:
            member = self._take(tried, may_wait=not in_flight)
            if member is not None:
                self._note_retry(tried, in_flight, member)
                tried.append(member)
                in_flight[self._start(member, feeds)] = member
            elif not in_flight:
                raise error or DeviceError("no device of the pool is left", remedy="Open the device again.")
            for future in self._wait(in_flight, is_late=len(tried) > 1):
                del in_flight[future]
                error = future.exception()
                if error is None:
                    return future.result()

    def _wait(self, in_flight: dict[Future, _Member], is_late: bool) -> set[Future]:
        """The calls that ended; none when they take so long that another device should try."""
        start = time.perf_counter()
        while True:
            patience = _POLL_S if is_late else self._patience()
            left = _POLL_S if patience is None else max(0.0, start + patience - time.perf_counter())
            done = wait(in_flight, timeout=left, return_when=FIRST_COMPLETED).done
            if done or patience is not None or self._stopping:
                return done

    def _patience(self) -> float | None:
        """Seconds until a call counts as late; unknown before the first call ended."""
        seconds = list(self._seconds)
        return max(self._patience_s, _LATE_FACTOR * statistics.median(seconds)) if seconds else None

    def _take(self, tried: Sequence[_Member], may_wait: bool) -> _Member | None:
        """A free slot on a working device that has not tried this batch; None if there is none, or none free yet."""
        with self._changed:
            while True:
                if self._stopping:
                    raise CancelledError
                working = [member for member in self._members if member.works and member not in tried]
                free = [member for member in working if member.free]
                if free:
                    member = max(free, key=lambda member: member.free)
                    member.free -= 1
                    return member
                if not working or not may_wait:
                    return None
                self._changed.wait()

    def _start(self, member: _Member, feeds: dict[str, np.ndarray]) -> Future:
        start = time.perf_counter()
        future = member.device.submit(feeds)

        def release(done: Future) -> None:
            error = CancelledError() if done.cancelled() else done.exception()
            with self._changed:
                member.free += 1
                member.late.discard(done)
                if error is None:
                    member.failures = 0
                    self._seconds.append(time.perf_counter() - start)
                else:
                    self._count_failure(member, error)  # before another batch takes the slot
                self._changed.notify_all()

        future.add_done_callback(release)
        return future

    def _note_retry(self, tried: Sequence[_Member], in_flight: dict[Future, _Member], member: _Member) -> None:
        if not tried:
            return
        for future, slow in in_flight.items():
            slow.late.add(future)
        why = "did not answer in time" if in_flight else "failed"
        self._note(f"device {tried[-1].number} {why}: its batch was run again on device {member.number}")

    def _count_failure(self, member: _Member, error: BaseException) -> None:
        member.failures += 1
        is_lost = isinstance(error, DeviceFault) and error.kind == "lost"
        if member.works and (is_lost or member.failures >= _MAX_FAILURES):
            member.works = False
            left = sum(other.works for other in self._members)
            text = error.received if isinstance(error, DeviceError) else error
            self._note(f"device {member.number} is left out, {left} remain ({text})")

    def _close(self) -> None:
        for member in self._members:
            if member.late:
                member.device.abandon()
        _close_all([member.device for member in self._members])


class _Member:
    """One opened device and its state in the pool."""

    def __init__(self, number: int, device: Device):
        self.number, self.device = number, device
        self.free = device.max_in_flight
        self.works, self.failures = True, 0
        self.late: set[Future] = set()


def _close_all(devices: Sequence[Device]) -> None:
    with ThreadPoolExecutor(max(1, len(devices))) as executor:
        for closing in [executor.submit(device.close) for device in devices]:
            closing.result()
