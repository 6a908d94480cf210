"""Turns anything with `submit(feeds)` into the callable that inference wants."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from helpers.errors import DeviceError
from helpers.inference.on_torch import TorchNetwork
from helpers.inference.scores import ACTIVATIONS, refuse_other_shape
from helpers.inference.window_grid import mirror_combinations


class DevicePredictor:
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


class ConstantWindowCache:
    """The network as a callable of batches (N, C, *window) that answers batches of constant windows from memory.

    Args:
        infer: the network, with or without `submit` and `max_in_flight`.

    Attributes:
        reused: windows that were not sent to the network.
    """

    def __init__(self, infer):
        self._infer, self.reused = infer, 0
        self._known: dict[tuple, np.ndarray | Future] = {}
        if hasattr(infer, "submit"):
            self.max_in_flight = getattr(infer, "max_in_flight", 1)
            self.submit = self._submit

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        key = _constant_value(batch)
        if key is None:
            return self._infer(batch)
        if key not in self._known:
            self._known[key] = self._infer(batch)
        else:
            self.reused += len(batch)
        return self._known[key]

    def _submit(self, batch: np.ndarray):
        key = _constant_value(batch)
        if key is None:
            return self._infer.submit(batch)
        if key not in self._known:
            self._known[key] = self._infer.submit(batch)
        else:
            self.reused += len(batch)
        return self._known[key]


def _constant_value(batch: np.ndarray) -> tuple | None:
    """(windows, value of each channel) of a batch whose windows are all the same constant; else None."""
    first = batch[(0, slice(None), *(0,) * (batch.ndim - 2))]
    corner = batch[(..., *(-1,) * (batch.ndim - 2))]
    if not np.array_equal(np.broadcast_to(first, corner.shape), corner):  # most windows end here, without a pass
        return None
    shaped = first.reshape(1, -1, *(1,) * (batch.ndim - 2))
    return (len(batch), *first.tolist()) if (batch == shaped).all() else None


Calls = list[tuple[tuple[int, ...], object]]


class MirroredPredictor:
    """Starts and collects the calls of one batch.

    Args:
        infer: the network, with or without `submit` and `max_in_flight`.
        flat: windows are slices; the network knows no Z.
        classes: channels that the scores must have.
        axes: spatial axes of the window to mirror, 0 the first.
        activation: applied to each mirror's scores before they are averaged.
    """

    def __init__(self, infer, flat: bool, classes: int, axes: tuple[int, ...], activation: str | None):
        submit = getattr(infer, "submit", None)
        self._begin = (lambda view: submit(np.ascontiguousarray(view))) if submit else partial(_Later, infer)
        self.max_in_flight = getattr(infer, "max_in_flight", 1) if submit else 0
        self._flat, self._classes = flat, classes
        self._activate = ACTIVATIONS[activation]
        self._flips = mirror_combinations(axes)

    def start(self, batch: np.ndarray) -> Calls:
        """Starts one call a mirror for windows (N, C, *window)."""
        batch = batch[:, :, 0] if self._flat else batch
        return [(axes, self._begin(np.flip(batch, axes))) for axes in self._flips]

    def collect(self, calls: Calls, shape: tuple[int, ...]) -> np.ndarray:
        """Scores (N, classes, *window) once all mirrors are done.

        Raises:
            DeviceError: the scores have another shape.
        """
        total: np.ndarray | None = None
        expected = (shape[0], self._classes, *shape[2:])
        for axes, future in calls:
            scores = future.result()
            scores = scores[:, :, None] if self._flat else scores
            refuse_other_shape(scores.shape, expected)
            shifted = tuple(axis + 1 for axis in axes) if self._flat else axes
            scores = np.flip(self._activate(scores), shifted)
            total = scores if total is None else total + scores
        return total if len(calls) == 1 else total / np.float32(len(calls))


class _Later:
    """Infers when asked for the result, so that one mirror's scores are alive at a time."""

    def __init__(self, infer, view: np.ndarray):
        self._infer, self._view = infer, view

    def result(self) -> np.ndarray:
        flipped = any(stride < 0 for stride in self._view.strides)  # which torch does not take
        return self._infer(self._view.copy() if flipped else self._view)
