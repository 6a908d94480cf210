"""The parent's side of a worker: feeds it through shared memory and turns a crash into an error."""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

from helpers.devices.base import Arrays, SessionDevice, TensorSpec, device_error
from helpers.devices.worker.process import WorkerProcess, reserve_shared_file

_ALIGN = 64
_MAP = -1  # key of the mapping request among the slots that wait for an answer


class WorkerDevice(SessionDevice):
    """A device whose runtime is in a child process of another interpreter.

    Args:
        python: the interpreter; it needs numpy and the runtime, nothing of this project.
        session_file: a module of `helpers.devices.sessions`.
        model: the compiled model.
        options: passed to the session.
        output_batch_axis, name: as in `Device`.
        environment: variables added to the child's, for instance a vendor's own PYTHONPATH.

    Attributes:
        worker: the session in the child.
    """

    def __init__(
        self,
        python: str,
        session_file: Path,
        model: Path,
        options: Mapping[str, Any],
        output_batch_axis: int = 0,
        environment: Mapping[str, str] | None = None,
        name: str = "the device",
    ):
        self.worker = WorkerSession(python, session_file, model, options, environment)
        super().__init__(self.worker, output_batch_axis, name)

    def abandon(self) -> None:
        self.worker.process.kill()


class WorkerSession:
    """A session whose calls are run by a child process; see `helpers.devices.sessions` for the contract.

    Args:
        python, session_file, model, options, environment: as in `WorkerDevice`.

    Attributes:
        process: the child.
        interpreter: versions of its Python and numpy, for messages.
    """

    torch_network: tuple | None = None  # a network in another process is out of reach

    def __init__(
        self,
        python: str,
        session_file: Path,
        model: Path,
        options: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
    ):
        self._waiting: dict[int, Future] = {}
        self.process = WorkerProcess(python, environment or {})
        request = {"session_file": str(session_file), "model": str(model), "options": options}
        try:
            opened = self.process.ask({"open": request})
        except BaseException:
            self.process.end()
            self.process.free()
            raise
        self.inputs, self.outputs, self.batches = opened["inputs"], opened["outputs"], opened["batches"]
        self.max_in_flight, self.simulated = opened["max_in_flight"], opened["simulated"]
        self.notes = opened["notes"]
        self.interpreter = f"Python {opened['python']}, numpy {opened['numpy']}"
        self._memory: mmap.mmap | None = None
        self._slot_bytes = 0
        self._slots: Queue[int] = Queue()
        self._grow = threading.Lock()
        self._reader = threading.Thread(target=self._read_answers, name="worker-answers", daemon=True)
        self._reader.start()

    def run(
        self, feeds: Arrays, allocate: Callable[..., np.ndarray] = np.empty
    ) -> tuple[dict[str, np.ndarray], Mapping[str, float]]:
        """Runs one batch in a free slot of the shared memory.

        Raises:
            DeviceError: the session failed, or the worker died.
            ResourceError: no room for the arrays.
        """
        self._reserve(feeds)
        slot = self._slots.get()
        try:
            answer = self._ask(slot, self._place(slot, feeds))
            outputs = {}
            for name, dtype, shape, offset in answer["outputs"]:
                outputs[name] = allocate(tuple(shape), np.dtype(dtype))
                outputs[name][...] = self._view(np.dtype(dtype), shape, offset)
            return outputs, answer["seconds"]
        finally:
            self._slots.put(slot)

    def close(self) -> None:
        """Lets the worker free its device and end."""
        self.process.end()
        self._reader.join(timeout=10)
        self.process.free()

    def _place(self, slot: int, feeds: Arrays) -> dict:
        """Writes the feeds into a slot; returns the request that names their places."""
        at = start = slot * self._slot_bytes
        placed = []
        for name, array in feeds.items():
            self._view(array.dtype, array.shape, at)[...] = array
            placed.append([name, array.dtype.str, list(array.shape), at])
            at += _aligned(array.nbytes)
        return {"run": slot, "feeds": placed, "outputs_at": at, "outputs_room": start + self._slot_bytes - at}

    def _reserve(self, feeds: Arrays) -> None:
        """Makes the shared memory large enough for these feeds and their outputs in every slot."""
        batch, *spatial = next(iter(feeds.values())).shape
        need = sum(_aligned(array.nbytes) for array in feeds.values())
        for name, dtype, shape in self.outputs:
            need += _aligned(_output_bytes(TensorSpec(name, dtype, tuple(shape)), batch, tuple(spatial)))
        with self._grow:
            if need <= self._slot_bytes:
                return
            if self._slot_bytes:
                for _ in range(self.max_in_flight):  # every call in flight must end before its memory goes
                    self._slots.get()
            try:
                self._memory = self._map_shared(need * self.max_in_flight)
                self._slot_bytes = need
            finally:
                # Also after a failure, so that the next call fails too instead of waiting for a slot.
                for slot in range(self.max_in_flight if self._slot_bytes else 0):
                    self._slots.put(slot)

    def _map_shared(self, size: int) -> mmap.mmap:
        with reserve_shared_file(size) as stream:
            memory = mmap.mmap(stream.fileno(), 0)
            # Both sides have it mapped before its name goes, so a crash leaves no file behind.
            self._ask(_MAP, {"map": stream.name})
        return memory

    def _ask(self, tag: int, request: dict) -> dict:
        future: Future = Future()
        self._waiting[tag] = future
        self.process.send(request)
        return future.result()

    def _view(self, dtype: np.dtype, shape: tuple[int, ...], at: int) -> np.ndarray:
        if self._memory is None:
            raise ValueError("no shared memory is mapped yet")
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._memory, dtype, count, at).reshape(shape)

    def _read_answers(self) -> None:
        # However the exchange ends, every waiting call must get an error instead of waiting forever.
        with contextlib.suppress(KeyError):
            for answer in self.process.answers():
                future = self._waiting.pop(answer.get("done", answer.get("failed", _MAP)))
                if "error" in answer:
                    future.set_exception(device_error("the worker's device failed", answer["error"], answer["kind"]))
                else:
                    future.set_result(answer)
        error = self.process.explain_death()
        for slot in list(self._waiting):
            self._waiting.pop(slot).set_exception(error)


def count_devices(python: str, session_file: Path, environment: Mapping[str, str] | None = None) -> int:
    """Devices that a runtime finds, counted in a process of its own, so that this one does not load the runtime.

    Raises:
        DeviceError: the runtime is not installed.
    """
    process = WorkerProcess(python, environment or {})
    try:
        return process.ask({"count": str(session_file)})
    finally:
        process.end()
        process.free()


def _aligned(count: int) -> int:
    return (count + _ALIGN - 1) // _ALIGN * _ALIGN


def _output_bytes(spec: TensorSpec, batch: int, spatial: tuple[int, ...]) -> int:
    # The first open axis is the batch; further ones follow the input's size, counted from the last axis.
    sizes = list(spec.shape)
    open_axes = [index for index, axis in enumerate(sizes) if axis is None]
    for index in open_axes:
        sizes[index] = batch if index == open_axes[0] else spatial[max(index - len(sizes), -len(spatial))]
    return int(np.prod([size or 0 for size in sizes], dtype=np.int64)) * np.dtype(spec.dtype).itemsize
