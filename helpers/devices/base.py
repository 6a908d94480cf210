"""The base of every device: checked feeds, padded batches, calls in flight, a second try, orderly closing."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from helpers.errors import DeviceError

FaultKind = Literal["failed", "memory", "lost"]


class DeviceFault(DeviceError):
    """A device refused to open or to run, and said how bad it is.

    Attributes:
        kind: "failed" (this call; the same one may succeed next time), "memory" (the chip's is too small) or "lost"
            (the device cannot be used any more).
    """

    def __init__(self, problem: str, kind: FaultKind, **facts):
        super().__init__(problem, **facts)
        self.kind = kind


def device_error(problem: str, text: str, kind: str | None, remedy: str | None = None) -> DeviceError:
    """The error for what a runtime said; a DeviceFault where the runtime said how bad it is."""
    if explanation := _explain(text):
        remedy = " ".join(filter(None, [explanation, remedy]))
    if kind in get_args(FaultKind):
        return DeviceFault(problem, kind, received=text, remedy=remedy)
    return DeviceError(problem, received=text, remedy=remedy)


def _explain(text: str) -> str:
    """The sentence, cause and remedy of a return code of pyACL in the text; nothing where there is none."""
    try:
        from helpers.params.ascend_errors import explain_acl_message
    except ImportError:  # a device that was handed over runs with numpy alone; the code itself is in the text
        return ""
    return str(explain_acl_message(text) or "")


@dataclass(frozen=True)
class CallTiming:
    """One call that succeeded.

    Attributes:
        samples: of the caller; a partial batch was padded beyond them.
        batch: that ran.
        call_s: from the feeds to the outputs in this process, with everything in between: waiting for a free place
            on the device, copies, a worker's messages, a second try.
        h2d_s, execute_s, d2h_s: copy to the device, execution, copy back, by the host's clock; None where the runtime
            does not tell them apart.
        device: the chip's number in a pool, else 0.
    """

    samples: int
    batch: int
    call_s: float
    h2d_s: float | None = None
    execute_s: float | None = None
    d2h_s: float | None = None
    device: int = 0

    @classmethod
    def of(cls, samples: int, batch: int, call_s: float, steps: Mapping[str, float]) -> CallTiming:
        """From a session's `seconds`, which may be empty."""
        return cls(samples, batch, call_s, steps.get("h2d"), steps.get("execute"), steps.get("d2h"))


_log = logging.getLogger("cookbook")
_KEPT_TIMINGS = 10_000


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of one input or output; None is an open axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be fed."""
        return len(shape) == len(self.shape) and all(
            expected in (None, actual) for expected, actual in zip(self.shape, shape, strict=True)
        )


class Device(ABC):
    """An opened compiled model.

    `infer(feeds)` takes and returns arrays by name. `submit(feeds)` returns a Future and lets up to
    `max_in_flight` calls run at once. A batch between two allowed sizes is padded with zeros and the answer cut,
    so a partial last batch needs no care. A call that fails alone, on a device that lives, is run once more.
    Use it as a context manager.

    Attributes:
        inputs, outputs: tensor specs; batch axis first unless `output_batch_axis` says otherwise.
        batches: allowed batch sizes, ascending, or None for any.
        max_in_flight: calls that may run at once.
        output_batch_axis: axis of the outputs that counts samples.
        simulated: whether a double of the vendor's runtime answers; its times mean nothing.
        torch_network: (module, torch's device, autocast dtype) of a network on a GPU, else None.
        name: for messages.
    """

    name = "the device"
    simulated = False
    torch_network: tuple | None = None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: tuple[int, ...] | None
    max_in_flight: int

    def __init__(self, output_batch_axis: int = 0):
        self.output_batch_axis = output_batch_axis
        self._recovered: deque[str] = deque()
        self._timings: deque[CallTiming] = deque(maxlen=_KEPT_TIMINGS)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(give_up=kind is not None)

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one batch and waits for it.

        Raises:
            DeviceError: the feeds do not fit, or the device failed.
        """
        return self.submit(feeds).result()

    def submit(self, feeds: Mapping[str, np.ndarray]) -> Future:
        """Starts one batch; the Future holds the outputs by name. The feeds must live until it is done."""
        if self._closed:
            raise DeviceError("the device is closed", remedy="Open it again.")
        self._check(feeds)
        return self._executor().submit(self._run_padded, dict(feeds))

    def recovered_errors(self) -> list[str]:
        """What went wrong and was mended since the last look, in sentences; each was logged as a warning too."""
        return _take_all(self._recovered)

    def timings(self) -> list[CallTiming]:
        """Seconds of the calls since the last look, in the order they ended (the last 10,000 at most)."""
        return _take_all(self._timings)

    def close(self, give_up: bool = False) -> None:
        """Waits for the calls in flight and frees the device; a second call does nothing.

        Args:
            give_up: drop the calls that have not begun, since nobody waits for them.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=give_up)
        finally:
            self._close()

    def abandon(self) -> None:  # noqa: B027 (most devices cannot)
        """Ends a device that answers no more, so that `close` need not wait for it; where that can be done."""

    def _note(self, incident: str) -> None:
        """Records and logs what went wrong and was mended."""
        self._recovered.append(incident)
        _log.warning("%s", incident)

    @abstractmethod
    def _run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one checked batch of an allowed size; called from `max_in_flight` threads at once.

        Raises:
            DeviceFault: of the kind "failed" when the same batch may be run once more.
        """

    @abstractmethod
    def _close(self) -> None:
        """Frees what the device holds."""

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.max_in_flight, thread_name_prefix="device")
            return self._pool

    def _check(self, feeds: Mapping[str, np.ndarray]) -> None:
        expected = {spec.name: spec for spec in self.inputs}
        if set(feeds) != set(expected):
            raise DeviceError(
                "wrong input names",
                received=sorted(feeds),
                expected=sorted(expected),
                remedy="Rename the feeds.",
            )
        for name, array in feeds.items():
            spec = expected[name]
            if str(array.dtype) != spec.dtype or not spec.fits((spec.shape[0], *array.shape[1:])):
                raise DeviceError(
                    f"input {name!r} does not fit",
                    received=f"{array.dtype} {array.shape}",
                    expected=f"{spec.dtype} {_show(spec.shape)}",
                    remedy="Convert the array, or set the window the model was exported with.",
                )
            if not array.flags.c_contiguous:
                raise DeviceError(
                    f"input {name!r} is not contiguous",
                    received=f"strides {array.strides}",
                    expected="C order",
                    remedy="Pass numpy.ascontiguousarray(array).",
                )
            largest = self.batches[-1] if self.batches is not None else None
            if not 1 <= array.shape[0] <= (largest or array.shape[0]):
                raise DeviceError(
                    "the batch is empty or larger than the model was compiled for",
                    received=array.shape[0],
                    expected=f"1 to {largest}" if largest else "at least 1",
                    remedy="Set batch_size accordingly.",
                )

    def _run_padded(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        count = next(iter(feeds.values())).shape[0]
        allowed = count if self.batches is None else min(size for size in self.batches if size >= count)
        if allowed != count:
            feeds = {name: _pad_batch(array, allowed) for name, array in feeds.items()}
        outputs = self._run_twice(feeds)
        steps = getattr(outputs, "seconds", {})
        self._timings.append(CallTiming.of(count, allowed, time.perf_counter() - start, steps))
        if allowed == count:
            return outputs
        keep = [slice(None)] * self.output_batch_axis + [slice(count)]
        return {name: array[tuple(keep)] for name, array in outputs.items()}

    def _run_twice(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self._run(feeds)
        except DeviceFault as fault:
            if fault.kind != "failed":
                raise
            outputs = self._run(feeds)
            self._note(f"a batch failed and was run again ({fault.received})")
            return outputs


def _take_all(kept: deque) -> list:
    return [kept.popleft() for _ in range(len(kept))]


def _pad_batch(array: np.ndarray, size: int) -> np.ndarray:
    padded = np.zeros((size, *array.shape[1:]), array.dtype)
    padded[: array.shape[0]] = array
    return padded


def _show(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if axis is None else str(axis) for axis in shape) + ")"
