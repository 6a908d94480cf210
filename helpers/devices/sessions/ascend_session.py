"""Ascend, on pyACL alone: the module `acl` that CANN's set_env.sh puts on PYTHONPATH."""

import atexit
import contextlib
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .ascend.calls import AclError
from .ascend.model import Model
from .ascend.process import AclDevice, start_acl
from .ascend.slot import Slot


class AscendSession:
    """A model on one device, run through a pipeline of slots: one copies in or out while another executes.

    Everything is opened and freed on a thread of the session's own, which no KeyboardInterrupt reaches.

    Args:
        path: the .om.
        device_id: number of the device.
        max_in_flight: slots; fewer, with a line in `notes`, if the device's memory is too small.
        timeout_s: seconds until a task that does not end counts as lost.
        device, precision: of the target; the .om has both already.

    Raises:
        AclError: acl refused; nothing is left behind.
    """

    torch_network = None

    def __init__(self, path, device_id=0, max_in_flight=2, timeout_s=600.0, device="NPU", precision="f16"):
        self.notes, self.max_in_flight = [], 0
        self._timeout_s = timeout_s
        self._device: Any = None
        self._lost: AclError | None = None
        self._execute_lock = threading.Lock()
        self._slots: queue.Queue = queue.Queue()
        self._stack = contextlib.ExitStack()
        self._home: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "acl")
        try:
            self._home.submit(self._open, path, device_id, max_in_flight).result()
        except BaseException:
            self.close()
            raise

    def run(self, feeds, allocate=np.empty):
        """Runs one batch in a free slot.

        Args:
            feeds: arrays by name.
            allocate: called with (shape, dtype) for the memory of each output.

        Raises:
            ValueError: no gear has these shapes.
            AclError: the call failed; `kind` says what that means for the next one.
        """
        if self._lost is not None:
            raise self._lost
        gear = self._model.find_gear({name: array.shape for name, array in feeds.items()})
        slot = self._slots.get()
        try:
            if slot is None:
                raise RuntimeError("the session is closed")
            self._device.enter()
            return slot.run(feeds, gear, self._execute_lock, allocate)
        except AclError as error:
            if error.kind == "lost":
                self._lost = error
            raise
        finally:
            self._slots.put(slot)

    def close(self):
        """Frees everything, in reverse order; every step is tried, even on a device that does not answer."""
        if self._home is None:
            return
        home, self._home = self._home, None
        with contextlib.suppress(AclError):
            home.submit(self._free).result()
        home.shutdown()

    def _open(self, path, device_id, max_in_flight):
        calls = start_acl()
        self.simulated = bool(getattr(calls.module, "__double__", False))
        # For a session that is never closed. It runs before acl is finalised, since it is registered after that.
        atexit.register(self._free)
        self._device = AclDevice(calls, device_id, self._stack)
        self._model = Model(calls, path, self._stack)
        self._open_slots(calls, max_in_flight)
        self.inputs = [tensor.describe() for tensor in self._model.inputs]
        self.outputs = [tensor.describe() for tensor in self._model.outputs]

    def _open_slots(self, calls, wanted):
        """As many slots, and as large, as fit in the device's memory."""
        gears = sorted(range(len(self._model.gears)), key=lambda gear: _feed_bytes(self._model, gear))
        plans = [(gears[:kept], count) for kept in range(len(gears), 0, -1) for count in sorted({wanted, 1})[::-1]]
        refused: AclError | None = None
        for allowed, count in plans:
            with contextlib.ExitStack() as trial:
                try:
                    slots = [
                        Slot(calls, self._device, self._model, allowed, self._timeout_s, trial) for _ in range(count)
                    ]
                except AclError as error:
                    if error.kind != "memory":
                        raise
                    refused = refused or error
                    continue
                self._stack.push(trial.pop_all())
            self._keep_slots(slots, allowed, wanted, refused)
            return
        raise refused or ValueError("the model has no gear")

    def _keep_slots(self, slots, gears, wanted, refused):
        self.max_in_flight = len(slots)
        self.batches = sorted({self._model.inputs[0].shapes[gear][0] for gear in gears})
        for slot in slots:
            self._slots.put(slot)
        if refused is not None:
            largest = max(shape[0] for shape in self._model.inputs[0].shapes)
            self.notes.append(
                f"the device's memory is too small for {wanted} calls in flight with batches of {largest}"
                f" ({refused}): using {len(slots)} with batches of up to {self.batches[-1]}"
            )

    def _free(self):
        atexit.unregister(self._free)
        # A call may still be running: an interrupted caller does not know of a thread that was about to start.
        for _ in range(self.max_in_flight):
            self._slots.get()
        self.max_in_flight = 0
        self._slots.put(None)
        if self._device is not None:
            with contextlib.suppress(AclError):
                self._device.enter()
        self._stack.close()


def _feed_bytes(model, gear):
    return sum(int(np.prod(t.shapes[gear], dtype=np.int64)) * t.dtype.itemsize for t in model.inputs)


def open_session(path, **options):
    """Opens an .om."""
    return AscendSession(path, **options)


def count_devices():
    """Devices that acl finds on this machine."""
    return start_acl()("rt.get_device_count")
