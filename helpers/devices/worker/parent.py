"""The near side of the worker: starts it, feeds it, and turns its crash into an error here."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import subprocess
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from queue import Queue

import numpy as np

from helpers.devices.base import Device, TensorSpec
from helpers.devices.worker.shared_file import reserve_shared_file
from helpers.errors import DeviceError

_CHILD = Path(__file__).with_name("child.py")
# Variables of this environment that would lead another interpreter to our packages.
_SCRUBBED = ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONPATH")
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
        self._lock_write = threading.Lock()
        self._waiting: dict[int, Future] = {}
        self._process = _start(python, environment or {})
        try:
            opened = self._ask({"open": {"session_file": str(session_file), "model": str(model), "options": options}})
        except BaseException:
            self._process.kill()
            self._free_process()
            raise
        self.inputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in opened["inputs"])
        self.outputs = tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in opened["outputs"])
        self.batches = None if opened["batches"] is None else tuple(sorted(opened["batches"]))
        self.max_in_flight = opened["max_in_flight"]
        self.interpreter = f"Python {opened['python']}, numpy {opened['numpy']}"
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
        return {
            name: np.array(self._view(np.dtype(dtype), tuple(shape), offset))
            for name, dtype, shape, offset in answer["outputs"]
        }

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
        self._send(request)
        return future.result()

    def _view(self, dtype: np.dtype, shape: tuple[int, ...], at: int) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._memory, dtype, count, at).reshape(shape)

    def _read_answers(self) -> None:
        # Anything but an answer ends the conversation: whoever waits must get an error, never wait on.
        with contextlib.suppress(ValueError, KeyError, OSError):
            for line in self._process.stdout:
                answer = json.loads(line)
                if "closed" in answer:
                    return
                future = self._waiting.pop(answer.get("done", answer.get("failed", _MAP)))
                if "error" in answer:
                    future.set_exception(DeviceError("the worker's device failed", received=answer["error"]))
                else:
                    future.set_result(answer)
        error = self._crash()
        for slot in list(self._waiting):
            self._waiting.pop(slot).set_exception(error)

    def _ask(self, request: dict) -> dict:
        self._send(request)
        line = "start"
        while line and not line.startswith("{"):  # an interpreter's start-up files may print before the worker runs
            line = self._process.stdout.readline()
        if not line:
            raise self._crash()
        answer = json.loads(line)
        if "error" in answer:
            raise DeviceError(
                "the worker cannot open the model",
                received=answer["error"],
                remedy="Check the target's `python`.",
            )
        return answer.get("opened", answer)

    def _send(self, request: dict) -> None:
        with self._lock_write:
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                raise self._crash() from None

    def _crash(self) -> DeviceError:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it hung up but lives on
            self._process.kill()
            code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        last = [line for line in self._stderr.read().splitlines() if line.strip()][-1:]
        return DeviceError("the worker died", received="; ".join([how, *last]), remedy="Open the device again.")

    @property
    def _stderr(self):
        return self._process.cookbook_stderr

    def _close(self) -> None:
        if self._process.poll() is None:
            try:
                self._send({"close": True})
                self._process.wait(timeout=30)
            except (DeviceError, subprocess.TimeoutExpired):
                self._process.kill()
        self._reader.join(timeout=10)
        self._free_process()

    def _free_process(self) -> None:
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # what a dead worker never read
            self._process.stdin.close()
        self._process.stdout.close()
        self._stderr.close()


def _start(python: str, environment: dict[str, str]) -> subprocess.Popen:
    clean = {name: value for name, value in os.environ.items() if name not in _SCRUBBED}
    stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
    try:
        process = subprocess.Popen(
            [python, str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**clean, **environment},
        )
    except OSError as error:
        stderr.close()
        raise DeviceError(
            "the worker's interpreter cannot be started",
            received=f"{python} ({error.strerror})",
            remedy="Correct `python` in the target's file.",
        ) from None
    process.cookbook_stderr = stderr
    return process


def _aligned(count: int) -> int:
    return (count + _ALIGN - 1) // _ALIGN * _ALIGN


def _output_bytes(spec: TensorSpec, batch: int, spatial: tuple[int, ...]) -> int:
    # The first open axis is the batch; further ones follow the input's size, counted from the last axis.
    sizes = list(spec.shape)
    open_axes = [index for index, axis in enumerate(sizes) if axis is None]
    for index in open_axes:
        sizes[index] = batch if index == open_axes[0] else spatial[max(index - len(sizes), -len(spatial))]
    return int(np.prod(sizes, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
