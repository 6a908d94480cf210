"""The near side of the worker: feeds it over shared memory and turns its crash into an error here."""

from __future__ import annotations

import contextlib
import mmap
import threading
from concurrent.futures import Future
from pathlib import Path
from queue import Queue

import numpy as np

from helpers.devices.base import Device, TensorSpec, device_error
from helpers.devices.worker.process import WorkerProcess, reserve_shared_file

_ALIGN = 64
_MAP = -1  # stands for the mapping request among the slots that wait for an answer


class WorkerDevice(Device):
    """A device whose runtime lives in a child process of another interpreter.

    Args:
        python: the interpreter; it needs numpy and the runtime, nothing of this project.
        session_file: a module of `helpers.devices.sessions`.
        model: the compiled model.
        options: passed to the session.
        environment: variables added to the child's (a vendor's own PYTHONPATH, say).
    """

    def __init__(
        self,
        python: str,
        session_file: Path,
        model: Path,
        options: dict,
        output_batch_axis: int = 0,
        environment: dict[str, str] | None = None,
    ):
        super().__init__(output_batch_axis)
        self._waiting: dict[int, Future] = {}
        self._process = WorkerProcess(python, environment or {})
        request = {"session_file": str(session_file), "model": str(model), "options": options}
        try:
            opened = self._process.ask({"open": request})
        except BaseException:
            self._process.end()
            self._process.free()
            raise
        self.inputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in opened["inputs"])
        self.outputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in opened["outputs"])
        self.batches = None if opened["batches"] is None else tuple(sorted(opened["batches"]))
        self.max_in_flight = opened["max_in_flight"]
        self.simulated = opened["simulated"]
        self.interpreter = f"Python {opened['python']}, numpy {opened['numpy']}"
        for note in opened["notes"]:
            self._note(note)
        self._memory: mmap.mmap | None = None
        self._slot_bytes = 0
        self._slots: Queue[int] = Queue()
        self._grow = threading.Lock()
        self._reader = threading.Thread(target=self._read_answers, name="worker-answers", daemon=True)
        self._reader.start()

    def _run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._reserve(feeds)
        slot = self._slots.get()
        try:
            return self._run_slot(slot, feeds)
        finally:
            self._slots.put(slot)

    def _run_slot(self, slot: int, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        at = start = slot * self._slot_bytes
        placed = []
        for name, array in feeds.items():
            self._view(array.dtype, array.shape, at)[...] = array
            placed.append([name, array.dtype.str, list(array.shape), at])
            at += _aligned(array.nbytes)
        room = start + self._slot_bytes - at
        answer = self._call(slot, {"run": slot, "feeds": placed, "outputs_at": at, "outputs_room": room})
        outputs = _Outputs(
            (name, np.array(self._view(np.dtype(dtype), tuple(shape), offset)))
            for name, dtype, shape, offset in answer["outputs"]
        )
        outputs.seconds = answer["seconds"]
        return outputs

    def _reserve(self, feeds: dict[str, np.ndarray]) -> None:
        """Makes the shared memory large enough for these feeds and their outputs in every slot."""
        batch, spatial = next(iter(feeds.values())).shape[0], next(iter(feeds.values())).shape[1:]
        need = sum(_aligned(array.nbytes) for array in feeds.values())
        need += sum(_aligned(_output_bytes(spec, batch, spatial)) for spec in self.outputs)
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
            self._call(_MAP, {"map": stream.name})
        return memory

    def _call(self, tag: int, request: dict) -> dict:
        future: Future = Future()
        self._waiting[tag] = future
        self._process.send(request)
        return future.result()

    def _view(self, dtype: np.dtype, shape: tuple[int, ...], at: int) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._memory, dtype, count, at).reshape(shape)

    def _read_answers(self) -> None:
        # Whatever ends the conversation: whoever waits must get an error, never wait on.
        with contextlib.suppress(KeyError):
            for answer in self._process.answers():
                future = self._waiting.pop(answer.get("done", answer.get("failed", _MAP)))
                if "error" in answer:
                    future.set_exception(device_error("the worker's device failed", answer["error"], answer["kind"]))
                else:
                    future.set_result(answer)
        error = self._process.explain_death()
        for slot in list(self._waiting):
            self._waiting.pop(slot).set_exception(error)

    def abandon(self) -> None:
        self._process.kill()

    def _close(self) -> None:
        self._process.end()
        self._reader.join(timeout=10)
        self._process.free()


class _Outputs(dict):
    seconds: dict[str, float]


def count_devices(python: str, session_file: Path, environment: dict[str, str] | None = None) -> int:
    """Chips that a runtime finds, counted in a process of its own, so that this one stays without the runtime.

    Raises:
        DeviceError: the runtime is not there.
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
    return int(np.prod(sizes, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
