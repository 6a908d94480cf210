"""One device for several cases at once: the earliest case that has a batch ready goes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future

import numpy as np

from helpers.devices.base import Device


class DeviceInTurn:
    """A device as one of several cases sees it.

    No more calls are handed to the device than it runs, and one that waits, so that an earlier case never queues
    behind many calls of a later one.

    Args:
        device: shared by all cases.
        take_turn: waits until this case may make one of so many calls; returns the function that frees its turn.
    """

    def __init__(self, device: Device, take_turn: Callable[[int], Callable[[object], None]]):
        self._device, self._take_turn = device, take_turn
        self.name, self.max_in_flight, self.simulated = device.name, device.max_in_flight, device.simulated
        self.inputs, self.outputs, self.batches = device.inputs, device.outputs, device.batches
        self.output_batch_axis, self.torch_network = device.output_batch_axis, device.torch_network

    def submit(self, feeds: Mapping[str, np.ndarray]) -> Future:
        """As `Device.submit`, once it is this case's turn."""
        free = self._take_turn(self.max_in_flight + 1)
        try:
            future = self._device.submit(feeds)
        except BaseException:
            free(None)
            raise
        future.add_done_callback(free)
        return future

    def recovered_errors(self) -> list[str]:
        """As `Device.recovered_errors`: those of all cases since the last call."""
        return self._device.recovered_errors()
