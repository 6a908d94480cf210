"""Cambricon MagicMind on an MLU, from a model of `helpers.compile.magicmind` with its interface file next to it."""

import contextlib
import json
import os
import queue
import time
from typing import Any

import numpy as np


class MagicMindSession:
    """A built model on one MLU; each slot has its own context, queue and inputs.

    The thread rules of contexts and queues are not public: a slot serves one call at a time, and every call
    activates the device in its own thread first.
    """

    notes = ()
    torch_network = None

    def __init__(self, path, precision=None, device="MLU", device_id=0, max_in_flight=1):
        import magicmind
        import magicmind.python.runtime as mm

        self.simulated = bool(getattr(magicmind, "__double__", False))
        with open(os.path.splitext(os.fspath(path))[0] + ".json", encoding="utf-8") as stream:
            interface = json.load(stream)
        _check_precision(interface["precision_mode"], precision)
        self._mm = mm
        self._stack = contextlib.ExitStack()
        self._system = self._stack.enter_context(mm.System())
        self._slots: queue.Queue = queue.Queue()
        self._engine: Any = None
        self._model: Any = None
        self.max_in_flight = max_in_flight
        try:
            self._open(path, device, device_id)
            self._describe(interface)
        except BaseException:
            self.close()
            raise

    def run(self, feeds, allocate=np.empty):
        """Runs one batch on a free slot."""
        slot = self._slots.get()
        try:
            _require(self._device.active(), "activating the device")
            return self._run_slot(slot, feeds, allocate)
        finally:
            self._slots.put(slot)

    def close(self):
        """Frees inputs, queues and contexts, then the engine, the model and the system, in this order."""
        while not self._slots.empty():
            slot = self._slots.get_nowait()
            slot.inputs = slot.queue = slot.context = None
        self._engine = None
        self._model = None
        self._stack.close()

    def _open(self, path, device_type, device_id):
        count = self._system.device_count()
        if not 0 <= device_id < count:
            raise ValueError(f"no MLU {device_id}; {count} found")
        mm = self._mm
        self._model = mm.Model()
        _require(self._model.deserialize_from_file(os.fspath(path)), "reading the model")
        self._device = mm.Device()
        self._device.id = device_id
        _require(self._device.active(), "activating the device")
        config = mm.Model.EngineConfig()
        config.device_type = device_type
        self._engine = self._model.create_i_engine(config)
        if self._engine is None:
            raise RuntimeError("MagicMind returned no engine for this model")
        for _ in range(self.max_in_flight):
            context = self._engine.create_i_context()
            self._slots.put(_Slot(context, self._device.create_queue(), context.create_inputs()))

    def _describe(self, interface):
        source, output = interface["input"], interface["output"]
        self.inputs = [(source["name"], source["dtype"], source["shape"])]
        self.outputs = [(output["name"], output["dtype"], output["shape"])]
        self.batches = interface["batches"]
        self._feed_axes, self._output_axes = _orders(source["layout"])[0], _orders(output["layout"])[1]
        (actual,) = [list(dims.GetDims()) for dims in self._model.get_input_dimensions()]
        expected = _reordered(source["shape"], self._feed_axes)
        agree = len(actual) == len(expected) and all(
            wanted is None or have in (-1, wanted)
            for have, wanted in zip(actual, expected)  # noqa: B905 (Python 3.8)
        )
        if not agree:
            raise ValueError(f"the model takes {actual}, its interface file says {expected}")

    def _run_slot(self, slot, feeds, allocate):
        started = time.perf_counter()
        (array,) = [feeds[name] for name, _, _ in self.inputs]
        if self._feed_axes is not None:
            array = np.ascontiguousarray(array.transpose(self._feed_axes))
        slot.inputs[0].from_numpy(array)
        slot.inputs[0].to(self._device)
        fed = time.perf_counter()
        outputs: list = []  # a new list per call: the tensors of the last one would be overwritten
        _require(slot.context.enqueue(slot.inputs, outputs, slot.queue), "enqueue")
        _require(slot.queue.sync(), "waiting for the device")
        done = time.perf_counter()
        answer = np.asarray(outputs[0].asnumpy())
        if self._output_axes is not None:
            answer = answer.transpose(self._output_axes)
        output = allocate(answer.shape, answer.dtype)
        np.copyto(output, answer)  # the tensor's memory goes with the list
        seconds = {"h2d": fed - started, "execute": done - fed, "d2h": time.perf_counter() - done}
        return {self.outputs[0][0]: output}, seconds


class MagicMindError(RuntimeError):
    """A status other than OK; the same call may succeed next time."""

    kind = "failed"


class _Slot:
    def __init__(self, context, device_queue, inputs):
        self.context, self.queue, self.inputs = context, device_queue, inputs


def count_devices():
    """Number of MLUs that this interpreter finds."""
    import magicmind.python.runtime as mm

    with mm.System() as system:
        return int(system.device_count())


def _orders(layout):
    """Transpositions from the graph's layout to the model's and back; None if they agree."""
    if layout is None:
        return None, None
    outside, inside = layout
    return [outside.index(axis) for axis in inside], [inside.index(axis) for axis in outside]


def _reordered(shape, axes):
    return list(shape) if axes is None else [shape[axis] for axis in axes]


def _check_precision(mode, precision):
    asked = {"f32": "force_float32", "f16": "force_float16"}.get(precision, precision)
    if asked not in (None, mode):
        raise ValueError(f"the model was built for {mode}; asked for {asked}")


def _require(status, what):
    if status is not None and not status.ok():
        raise MagicMindError(f"{what}: {status}")


def open_session(path, **options):
    """Opens a model written by `helpers.compile.magicmind`."""
    return MagicMindSession(path, **options)
