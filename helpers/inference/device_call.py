"""Turns anything with `submit(feeds)` into the callable that inference wants."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np


class DeviceCall:
    """(N, C, *window) float32 in, (N, classes, *window) out, through one named input and output.

    Args:
        device: has `submit(feeds) -> Future` and `max_in_flight`.
        input_name, output_name: the tensors to use.
    """

    def __init__(self, device, input_name: str, output_name: str):
        self._device, self._input, self._output = device, input_name, output_name
        self.max_in_flight = device.max_in_flight

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.submit(batch).result()

    def submit(self, batch: np.ndarray) -> _Named:
        """Starts one batch; `result()` waits for it."""
        return _Named(self._device.submit({self._input: batch}), self._output)


class _Named:
    def __init__(self, future: Future, name: str):
        self._future, self._name = future, name

    def result(self) -> np.ndarray:
        return self._future.result()[self._name]
