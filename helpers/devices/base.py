"""An opened compiled model: checks its feeds, pads batches, keeps calls in flight and retries failed ones."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from helpers.errors import CookbookError, DeviceError

_LOG = logging.getLogger("cookbook")
_KEPT_TIMINGS = 10_000

Arrays = Mapping[str, np.ndarray]
FaultKind = Literal["failed", "memory", "lost"]


class DeviceFault(DeviceError):
    """An error of a device whose consequence for the next call is known.

    Attributes:
        kind: "failed" (this call; the same one may succeed next time), "memory" (the device has too little) or "lost"
            (the device can no longer be used).
    """

    def __init__(self, problem: str, kind: FaultKind, **facts: Any):
        super().__init__(problem, **facts)
        self.kind = kind


def device_error(problem: str, text: str, kind: str | None, remedy: str | None = None) -> DeviceError:
    """The error for a runtime's message; a DeviceFault when its kind is known."""
    if explanation := _explain(text):
        remedy = " ".join(filter(None, [explanation, remedy]))
    for known in get_args(FaultKind):
        if kind == known:
            return DeviceFault(problem, known, received=text, remedy=remedy)
    return DeviceError(problem, received=text, remedy=remedy)


def fault_kind(error: BaseException) -> str | None:
    """The `kind` that a session's own errors carry; the exceptions of a vendor's runtime have none."""
    return getattr(error, "kind", None)


def _explain(text: str) -> str:
    """Sentence, cause and remedy of a pyACL return code in the text; empty if there is none."""
    try:
        from helpers.params.ascend_errors import explain_acl_message
    except ImportError:  # a handed-over device runs with numpy alone; the code itself is in the text
        return ""
    return str(explain_acl_message(text) or "")


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of one input or output; None is an open axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, shape: Sequence[int | None]) -> bool:
        """Whether an array of this shape may be fed."""
        return len(shape) == len(self.shape) and all(
            expected in (None, actual) for expected, actual in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class CallTiming:
    """One call that succeeded.

    Attributes:
        samples: passed by the caller; a partial batch was padded beyond them.
        batch: size that ran.
        call_s: seconds from feeds to outputs in this process, including waiting for a free slot on the device,
            copies, a worker's messages and a retry.
        h2d_s, execute_s, d2h_s: copy to the device, execution, copy back, by the host's clock; None if the runtime
            does not report them separately.
        device: the device's number in a pool, else 0.
    """

    samples: int
    batch: int
    call_s: float
    h2d_s: float | None = None
    execute_s: float | None = None
    d2h_s: float | None = None
    device: int = 0


class Session(Protocol):
    """A compiled model opened by a runtime; `helpers.devices.sessions` documents the contract."""

    inputs: Sequence[tuple[str, str, Sequence[int | None]]]
    outputs: Sequence[tuple[str, str, Sequence[int | None]]]
    batches: Sequence[int] | None
    max_in_flight: int
    simulated: bool
    notes: Sequence[str]
    torch_network: tuple | None

    def run(
        self, feeds: Arrays, allocate: Callable[..., np.ndarray] = np.empty
    ) -> tuple[dict[str, np.ndarray], Mapping[str, float]]: ...

    def close(self) -> None: ...


class Device(ABC):
    """An opened compiled model, used as a context manager.

    `infer(feeds)` maps arrays by name to arrays by name. `submit(feeds)` returns a Future and lets up to
    `max_in_flight` calls run concurrently. A batch between two allowed sizes is padded with zeros and its outputs are
    cut, so a partial last batch needs no care. A call that fails on a working device is run once more.

    Attributes:
        name: for messages.
        inputs, outputs: tensor specs; batch axis first unless `output_batch_axis` says otherwise.
        batches: allowed batch sizes, ascending, or None for any.
        max_in_flight: calls that may run concurrently.
        output_batch_axis: axis of the outputs that counts samples.
        simulated: whether the runtime is a double, whose times mean nothing.
        torch_network: (module, torch's device, autocast dtype) of a network on a GPU, else None.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: tuple[int, ...] | None
    max_in_flight: int
    simulated: bool = False
    torch_network: tuple | None = None

    def __init__(self, output_batch_axis: int = 0, name: str = "the device"):
        self.output_batch_axis, self.name = output_batch_axis, name
        self._recovered: deque[str] = deque()
        self._timings: deque[CallTiming] = deque(maxlen=_KEPT_TIMINGS)
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(give_up=kind is not None)

    def infer(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """Runs one batch and waits for it.

        Raises:
            DeviceError: the feeds do not fit, or the device failed.
        """
        return self.submit(feeds).result()

    def submit(self, feeds: Arrays) -> Future:
        """Starts one batch; the Future holds the outputs by name. The feeds must stay unchanged until it is done.

        Raises:
            DeviceError: the feeds do not fit, or the device is closed.
        """
        if self._closed:
            raise DeviceError("the device is closed", remedy="Open it again.")
        _check_feeds(feeds, self.inputs, self.batches)
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.max_in_flight, thread_name_prefix="device")
        return self._threads.submit(self._run_batch, dict(feeds))

    def recovered_errors(self) -> list[str]:
        """Recovered errors since the last call of this method; each was logged as a warning."""
        return _take_all(self._recovered)

    def timings(self) -> list[CallTiming]:
        """Seconds of the calls since the last call of this method, in the order they ended (the last 10,000)."""
        return _take_all(self._timings)

    def close(self, give_up: bool = False) -> None:
        """Waits for the calls in flight and frees the device; a second call does nothing.

        Args:
            give_up: drop the calls that have not started, as their results are not needed.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            if self._threads is not None:
                self._threads.shutdown(wait=True, cancel_futures=give_up)
        finally:
            self._close()

    def abandon(self) -> None:  # noqa: B027 (most devices cannot)
        """Kills an unresponsive device, if possible, so that `close` does not wait for it."""

    @abstractmethod
    def _run_batch(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one checked batch; called from up to `max_in_flight` threads concurrently."""

    @abstractmethod
    def _close(self) -> None:
        """Frees what the device holds."""

    def _note(self, error: str) -> None:
        """Records and logs an error that was recovered from."""
        self._recovered.append(error)
        _LOG.warning("%s", error)


class SessionDevice(Device):
    """A device on one session of a runtime.

    Args:
        session: the opened model.
        output_batch_axis, name: as in `Device`.
    """

    def __init__(self, session: Session, output_batch_axis: int = 0, name: str = "the device"):
        super().__init__(output_batch_axis, name)
        self._session = session
        self.inputs = tuple(TensorSpec(tensor, dtype, tuple(shape)) for tensor, dtype, shape in session.inputs)
        self.outputs = tuple(TensorSpec(tensor, dtype, tuple(shape)) for tensor, dtype, shape in session.outputs)
        self.batches = None if session.batches is None else tuple(sorted(session.batches))
        self.max_in_flight, self.simulated = session.max_in_flight, session.simulated
        self.torch_network = session.torch_network
        for note in session.notes:
            self._note(note)

    def _run_batch(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one batch, padded to an allowed size; a second time if it failed on a working device."""
        start = time.perf_counter()
        count = next(iter(feeds.values())).shape[0]
        size = count if self.batches is None else min(size for size in self.batches if size >= count)
        if size != count:
            feeds = {name: _pad_batch(array, size) for name, array in feeds.items()}
        try:
            outputs, seconds = self._session.run(feeds)
        except Exception as error:  # ONNX Runtime's errors derive from Exception alone
            outputs, seconds = self._run_again(feeds, error)
        h2d_s, execute_s, d2h_s = (seconds.get(step) for step in ("h2d", "execute", "d2h"))
        self._timings.append(CallTiming(count, size, time.perf_counter() - start, h2d_s, execute_s, d2h_s))
        if size == count:
            return outputs
        kept = (*[slice(None)] * self.output_batch_axis, slice(count))
        return {name: array[kept] for name, array in outputs.items()}

    def _run_again(self, feeds: Arrays, error: Exception) -> tuple[dict[str, np.ndarray], Mapping[str, float]]:
        fault = _as_device_error(error)
        if not isinstance(fault, DeviceFault) or fault.kind != "failed":
            raise fault
        try:
            result = self._session.run(feeds)
        except CookbookError:
            raise
        except Exception as again:
            raise _as_device_error(again) from again
        self._note(f"a batch failed and was run again ({fault.received})")
        return result

    def _close(self) -> None:
        self._session.close()


def _as_device_error(error: Exception) -> CookbookError:
    """An error of ours as it is; a runtime's exception as a DeviceError."""
    if isinstance(error, CookbookError):
        return error
    return device_error("the device failed", str(error) or type(error).__name__, fault_kind(error))


def _check_feeds(feeds: Arrays, inputs: Sequence[TensorSpec], batches: Sequence[int] | None) -> None:
    expected = {spec.name: spec for spec in inputs}
    if set(feeds) != set(expected):
        raise DeviceError(
            "unknown or missing inputs",
            received=sorted(feeds),
            expected=sorted(expected),
            remedy="Rename the feeds.",
        )
    largest = batches[-1] if batches is not None else None
    for name, array in feeds.items():
        spec = expected[name]
        if str(array.dtype) != spec.dtype or not spec.fits((spec.shape[0], *array.shape[1:])):
            raise DeviceError(
                f"input {name!r} does not fit",
                received=f"{array.dtype} {array.shape}",
                expected=f"{spec.dtype} {_show_shape(spec.shape)}",
                remedy="Convert the array, or set the window the model was exported with.",
            )
        if not array.flags.c_contiguous:
            raise DeviceError(
                f"input {name!r} is not contiguous",
                received=f"strides {array.strides}",
                expected="C order",
                remedy="Pass numpy.ascontiguousarray(array).",
            )
        if not 1 <= array.shape[0] <= (largest or array.shape[0]):
            raise DeviceError(
                "the batch is empty or larger than the model was compiled for",
                received=array.shape[0],
                expected=f"1 to {largest}" if largest else "at least 1",
                remedy="Set batch_size accordingly.",
            )


def _take_all(kept: deque) -> list:
    return [kept.popleft() for _ in range(len(kept))]


def _pad_batch(array: np.ndarray, size: int) -> np.ndarray:
    padded = np.zeros((size, *array.shape[1:]), array.dtype)
    padded[: array.shape[0]] = array
    return padded


def _show_shape(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if axis is None else str(axis) for axis in shape) + ")"
