"""Turns anything with `submit(feeds)` into the callable that inference wants."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from helpers.errors import DeviceError
from helpers.inference.on_torch import TorchNetwork


class DeviceCall:
    """(N, C, *window) float32 in, (N, classes, *window) out, through one named input and output.

    Batches larger than the device takes are split. The input is converted to the model's own dtype, and a float16
    answer to float32, which scores are summed in.

    Args:
        device: a `helpers.devices.Device`, or what behaves like one.
        input_name, output_name: the tensors to use. A compiler may rename tensors, so the only one of a model is
            taken under any name.

    Attributes:
        simulated: whether a double answers, whose times mean nothing.
        torch_network: what to sum the windows with on the device itself; None where only arrays go in and out.

    Raises:
        DeviceError: the device has several tensors, and none of that name.
    """

    def __init__(self, device, input_name: str, output_name: str):
        self._device = device
        self._input = _find_tensor(device.inputs, input_name)
        self._output = _find_tensor(device.outputs, output_name)
        self.max_in_flight = device.max_in_flight
        self.simulated = bool(getattr(device, "simulated", False))
        network = getattr(device, "torch_network", None)
        self.torch_network = TorchNetwork(*network) if network else None

    def incidents(self) -> list[str]:
        """What went wrong on the device and was mended since the last look."""
        return self._device.incidents()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.submit(batch).result()

    def submit(self, batch: np.ndarray) -> _Answer:
        """Starts one batch; `result()` waits for it."""
        batch = batch.astype(self._input.dtype, copy=False)
        size = self._device.batches[-1] if self._device.batches else len(batch)
        parts = [batch[start : start + size] for start in range(0, len(batch), size)] or [batch]
        futures = [self._device.submit({self._input.name: part}) for part in parts]
        return _Answer(futures, self._output.name, self._device.output_batch_axis)


class _Answer:
    def __init__(self, futures: Sequence[Future], name: str, batch_axis: int):
        self._futures, self._name, self._batch_axis = futures, name, batch_axis

    def result(self) -> np.ndarray:
        parts = [future.result()[self._name] for future in self._futures]
        answer = parts[0] if len(parts) == 1 else np.concatenate(parts, self._batch_axis)
        return answer.astype(np.float32) if answer.dtype == np.float16 else answer


def _find_tensor(specs, name: str):
    named = [spec for spec in specs if spec.name == name]
    if not named and len(specs) > 1:
        raise DeviceError(f"no tensor {name!r} in the model", expected=", ".join(spec.name for spec in specs))
    return (named or list(specs))[0]
