"""The network as inference sees it: one protocol, the predictors that implement it and the ones that wrap another."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

import numpy as np

from helpers.errors import DeviceError
from helpers.inference.on_torch import TorchNetwork
from helpers.inference.scores import ACTIVATIONS, refuse_other_shape
from helpers.inference.windows import WindowPlan, mirror_combinations


class Answer(Protocol):
    """The output for one batch, perhaps not computed yet; a `concurrent.futures.Future` is one."""

    def result(self) -> np.ndarray:
        """Waits for the output, or computes it."""


@runtime_checkable
class Predictor(Protocol):
    """A network that is run on batches.

    Attributes:
        name: for messages.
        max_in_flight: calls worth keeping pending; 0 when an answer is computed in the caller's thread by `result()`.
        simulated: whether the runtime is a double, whose times mean nothing.
        fixed_batches: whether batches must come exactly as planned, because they are recorded or replayed.
        torch_network: the network as a torch module, to sum the windows where it runs; None when only arrays go in
            and out.
    """

    name: str
    max_in_flight: int
    simulated: bool
    fixed_batches: bool
    torch_network: TorchNetwork | None

    def submit(self, batch: np.ndarray) -> Answer:
        """Starts one batch (N, C, *window) float32; the answer is (N, classes, *window).

        The batch may be a view of the volume with any strides, and must not be changed.
        """

    def recovered_errors(self) -> list[str]:
        """Errors since the last call of this method that did not stop the inference."""


class LazyAnswer:
    """An answer that is computed on demand, in the thread that calls `result()`.

    Nothing is cached, so a caller that reads answers one after another holds the scores of one at a time.
    """

    def __init__(self, compute: Callable[..., np.ndarray], *arguments: object):
        self._compute, self._arguments = compute, arguments

    def result(self) -> np.ndarray:
        return self._compute(*self._arguments)


class CallablePredictor:
    """A plain function of batches, run in the caller's thread.

    Args:
        infer: maps (N, C, *window) to (N, classes, *window).
        name: for messages.
        fixed_batches: as `Predictor.fixed_batches`.
    """

    max_in_flight = 0
    simulated = False
    torch_network: TorchNetwork | None = None

    def __init__(
        self, infer: Callable[[np.ndarray], np.ndarray], name: str = "the network", fixed_batches: bool = False
    ):
        self._infer, self.name, self.fixed_batches = infer, name, fixed_batches

    def submit(self, batch: np.ndarray) -> LazyAnswer:
        return LazyAnswer(self._run, batch)

    def recovered_errors(self) -> list[str]:
        return []

    def _run(self, batch: np.ndarray) -> np.ndarray:
        is_mirrored = any(stride < 0 for stride in batch.strides)  # torch.from_numpy refuses negative strides
        return self._infer(batch.copy() if is_mirrored else batch)


def as_predictor(infer: Predictor | Callable[[np.ndarray], np.ndarray]) -> Predictor:
    """A predictor as it is; a plain function of batches as a `CallablePredictor`."""
    return infer if isinstance(infer, Predictor) else CallablePredictor(infer)


class NamedTensor(Protocol):
    """One input or output of a model."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> str: ...


class OpenedModel(Protocol):
    """The part of `helpers.devices.Device` that a predictor uses."""

    name: str
    max_in_flight: int
    output_batch_axis: int
    simulated: bool

    @property
    def inputs(self) -> Sequence[NamedTensor]: ...

    @property
    def outputs(self) -> Sequence[NamedTensor]: ...

    @property
    def batches(self) -> Sequence[int] | None: ...

    @property
    def torch_network(self) -> tuple | None: ...

    def submit(self, feeds: Mapping[str, np.ndarray]) -> Future: ...

    def recovered_errors(self) -> list[str]: ...


class DevicePredictor:
    """One named input and output of a device.

    Batches larger than the device accepts are split. The input is converted to the model's own dtype, and a float16
    output to float32, in which scores are summed.

    Args:
        device: an opened compiled model.
        input_name, output_name: the tensors to use. A compiler may rename tensors, so a model's only input or output
            is used whatever its name.

    Raises:
        DeviceError: the device has several tensors, none of them of that name.
    """

    fixed_batches = False

    def __init__(self, device: OpenedModel, input_name: str, output_name: str):
        self._device = device
        self._input = _find_tensor(device.inputs, input_name)
        self._output = _find_tensor(device.outputs, output_name)
        self.name, self.max_in_flight, self.simulated = device.name, device.max_in_flight, device.simulated
        self.torch_network = TorchNetwork(*device.torch_network) if device.torch_network else None

    def through(self, wrap: Callable[[Any], OpenedModel]) -> DevicePredictor:
        """The same tensors of the same device, with every call going through a wrapper of it."""
        return DevicePredictor(wrap(self._device), self._input.name, self._output.name)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """The output for one batch."""
        return self.submit(batch).result()

    def submit(self, batch: np.ndarray) -> LazyAnswer:
        batch = np.ascontiguousarray(batch, self._input.dtype)
        size = self._device.batches[-1] if self._device.batches else len(batch)
        parts = [batch[start : start + size] for start in range(0, len(batch), size)] or [batch]
        futures = [self._device.submit({self._input.name: part}) for part in parts]
        return LazyAnswer(self._join, futures)

    def recovered_errors(self) -> list[str]:
        return self._device.recovered_errors()

    def _join(self, futures: Sequence) -> np.ndarray:
        parts = [future.result()[self._output.name] for future in futures]
        output = parts[0] if len(parts) == 1 else np.concatenate(parts, self._device.output_batch_axis)
        return output.astype(np.float32) if output.dtype == np.float16 else output


def _find_tensor(specs: Sequence[NamedTensor], name: str) -> NamedTensor:
    named = [spec for spec in specs if spec.name == name]
    if not named and len(specs) > 1:
        raise DeviceError(f"the model has no tensor {name!r}", expected=", ".join(spec.name for spec in specs))
    return (named or list(specs))[0]


class _Wrapper:
    """A predictor around another one, with the same properties."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        self.name, self.max_in_flight = predictor.name, predictor.max_in_flight
        self.simulated, self.fixed_batches = predictor.simulated, predictor.fixed_batches
        self.torch_network = predictor.torch_network

    def recovered_errors(self) -> list[str]:
        return self._predictor.recovered_errors()


class MirroredPredictor(_Wrapper):
    """Runs a predictor on every mirrored view of a batch and averages the scores.

    Args:
        predictor: the network, on (N, C, *window).
        plan: window, classes, mirror axes, and the activation that is applied before averaging.
    """

    def __init__(self, predictor: Predictor, plan: WindowPlan):
        super().__init__(predictor)
        self._flat, self._classes = plan.is_flat, plan.classes
        self._activate = ACTIVATIONS[plan.activation]
        self._mirrors = mirror_combinations(plan.mirror_axes)

    def submit(self, batch: np.ndarray) -> LazyAnswer:
        """Starts one pass per mirror for windows (N, C, Z, Y, X); the answer is (N, classes, Z, Y, X).

        Its `result()` raises a DeviceError when the scores have another shape.
        """
        expected = (batch.shape[0], self._classes, *batch.shape[2:])
        views = batch[:, :, 0] if self._flat else batch
        passes = [(axes, self._predictor.submit(np.flip(views, axes))) for axes in self._mirrors]
        return LazyAnswer(self._average, passes, expected)

    def _average(self, passes: Sequence[tuple[tuple[int, ...], Answer]], expected: tuple[int, ...]) -> np.ndarray:
        total = functools.reduce(np.add, (self._undo(answer.result(), axes, expected) for axes, answer in passes))
        return total if len(passes) == 1 else total / np.float32(len(passes))

    def _undo(self, scores: np.ndarray, axes: tuple[int, ...], expected: tuple[int, ...]) -> np.ndarray:
        scores = scores[:, :, None] if self._flat else scores
        refuse_other_shape(scores.shape, expected, self.name)
        return np.flip(self._activate(scores), tuple(axis + 1 for axis in axes) if self._flat else axes)


class ConstantWindowCache(_Wrapper):
    """Runs a predictor once on each batch of identical constant windows, and reuses its output for repetitions.

    Attributes:
        reused: windows that were not sent to the network.
    """

    def __init__(self, predictor: Predictor):
        super().__init__(predictor)
        self.reused = 0
        self._known: dict[tuple, LazyAnswer] = {}

    def submit(self, batch: np.ndarray) -> Answer:
        key = _constant_value(batch)
        if key is None:
            return self._predictor.submit(batch)
        if key in self._known:
            self.reused += len(batch)
        else:
            self._known[key] = LazyAnswer(functools.cache(self._predictor.submit(batch).result))
        return self._known[key]


def _constant_value(batch: np.ndarray) -> tuple | None:
    """(windows, value of each channel) of a batch whose windows all hold the same constant; else None."""
    origin: tuple = (0, slice(None), *(0,) * (batch.ndim - 2))
    end: tuple = (..., *(-1,) * (batch.ndim - 2))
    first, corner = batch[origin], batch[end]
    if not np.array_equal(np.broadcast_to(first, corner.shape), corner):  # settles most windows without a full pass
        return None
    shaped = first.reshape(1, -1, *(1,) * (batch.ndim - 2))
    return (len(batch), *first.tolist()) if (batch == shaped).all() else None
