"""One slot of the pipeline: buffers on the device, pinned host memory for each, and a stream that copies between."""

import contextlib
import ctypes
import time

import numpy as np

HUGE_PAGES_FIRST = 0  # aclrtMemMallocPolicy
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3  # aclrtMemcpyKind


class Slot:
    """Buffers for one call, reused by every call.

    Args:
        calls: of `start_acl`; the thread has entered the device's context.
        device: the `AclDevice` of `process`.
        model: a loaded model.
        gears: indices of the gears that the buffers must hold.
        timeout_s: seconds until a task that does not end counts as lost.
        stack: a contextlib.ExitStack that frees everything, in reverse order.
    """

    def __init__(self, calls, device, model, gears, timeout_s, stack):
        self._calls, self._model, self._stack = calls, model, stack
        self._shares_memory, self._timeout_ms = device.shares_memory, int(timeout_s * 1000)
        self._has_timeout = calls.offers("rt.synchronize_stream_with_timeout")
        self._stream = calls("rt.create_stream")
        stack.callback(calls, "rt.destroy_stream", self._stream)
        self._feeds = self._create_dataset()
        self._inputs = [self._create_pair(self._feeds, _room(tensor, gears)) for tensor in model.inputs]
        if model.gear_index is not None:
            self._create_buffer(self._feeds, model.gear_bytes())
        if not model.outputs:
            model.read_outputs(self._feeds)
        self._answers = self._create_dataset()
        self._outputs = [self._create_pair(self._answers, _room(tensor, gears)) for tensor in model.outputs]
        self._views = {}

    def run(self, feeds, gear, execute_lock, allocate):
        """Copies in, executes and copies out, while other slots copy too; returns (outputs, seconds of the steps).

        Args:
            feeds: arrays by name, in the gear's shapes.
            gear: its index.
            execute_lock: the model has one work memory, so one slot executes at a time.
            allocate: called with (shape, dtype) for the memory of each output.

        Raises:
            AclError: a call failed; nothing of this slot is in flight any more, unless the device is lost.
        """
        inputs, outputs = self._find_views(gear)
        for tensor, view in zip(self._model.inputs, inputs):  # noqa: B905 (Python 3.8)
            np.copyto(view, feeds[tensor.name])
        try:
            seconds = self._run_steps(gear, inputs, outputs, execute_lock)
        except Exception:
            self._drain()
            raise
        answer = {}
        for tensor, view in zip(self._model.outputs, outputs):  # noqa: B905 (Python 3.8)
            answer[tensor.name] = allocate(view.shape, view.dtype)
            np.copyto(answer[tensor.name], view)
        return answer, seconds

    def _run_steps(self, gear, inputs, outputs, execute_lock):
        # The host waits for each step, so an error belongs to this call and needs no events between streams.
        start = time.perf_counter()
        for pair, view in zip(self._inputs, inputs):  # noqa: B905 (Python 3.8)
            self._copy(pair.device, pair.host, view.nbytes, HOST_TO_DEVICE)
        self._synchronise()
        copied_in = time.perf_counter()
        with execute_lock:
            if self._model.gear_index is not None:
                self._model.set_gear(self._feeds, gear)
            executing = time.perf_counter()
            self._calls("mdl.execute_async", self._model.id, self._feeds, self._answers, self._stream)
            self._synchronise()
            executed = time.perf_counter()
        for pair, view in zip(self._outputs, outputs):  # noqa: B905 (Python 3.8)
            self._copy(pair.host, pair.device, view.nbytes, DEVICE_TO_HOST)
        self._synchronise()
        copied_out = time.perf_counter()
        return {"h2d": copied_in - start, "execute": executed - executing, "d2h": copied_out - executed}

    def _copy(self, to, source, count, kind):
        kind = DEVICE_TO_DEVICE if self._shares_memory else kind
        self._calls("rt.memcpy_async", to, count, source, count, kind, self._stream)

    def _synchronise(self):
        if self._has_timeout:
            self._calls("rt.synchronize_stream_with_timeout", self._stream, self._timeout_ms)
        else:
            self._calls("rt.synchronize_stream", self._stream)

    def _drain(self):
        """Waits for what a failed call left on the stream, so that its buffers can be used or freed."""
        with contextlib.suppress(Exception):  # the first error is the one to report
            self._synchronise()

    def _find_views(self, gear):
        """Arrays over the pinned memory in a gear's shapes."""
        if gear not in self._views:
            self._views[gear] = tuple(
                [pair.view(tensor.shapes[gear], tensor.dtype) for tensor, pair in zip(tensors, pairs)]  # noqa: B905
                for tensors, pairs in ((self._model.inputs, self._inputs), (self._model.outputs, self._outputs))
            )
        return self._views[gear]

    def _create_dataset(self):
        dataset = self._calls.module.mdl.create_dataset()
        self._stack.callback(self._calls, "mdl.destroy_dataset", dataset)
        return dataset

    def _create_buffer(self, dataset, size):
        device = self._calls("rt.malloc", size, HUGE_PAGES_FIRST)
        self._stack.callback(self._calls, "rt.free", device)
        buffer = self._calls.module.create_data_buffer(device, size)
        self._stack.callback(self._calls, "destroy_data_buffer", buffer)
        self._calls("mdl.add_dataset_buffer", dataset, buffer)
        return device

    def _create_pair(self, dataset, size):
        device = self._create_buffer(dataset, size)
        if self._shares_memory:
            host = self._calls("rt.malloc", size, HUGE_PAGES_FIRST)
            self._stack.callback(self._calls, "rt.free", host)
        else:
            host = self._calls("rt.malloc_host", size)
            self._stack.callback(self._calls, "rt.free_host", host)
        return _Pair(device, host, size)


class _Pair:
    """A buffer on the device and its pinned twin on the host."""

    def __init__(self, device, host, size):
        self.device, self.host, self.size = device, host, size

    def view(self, shape, dtype):
        """An array over the pinned twin; valid until the slot is freed."""
        count = int(np.prod(shape, dtype=np.int64))
        memory = (ctypes.c_char * self.size).from_address(self.host)
        return np.frombuffer(memory, dtype, count).reshape(shape)


def _room(tensor, gears):
    """Bytes that a tensor needs at the largest of some gears; acl's own figure if these are all gears."""
    if len(gears) == len(tensor.shapes):
        return tensor.nbytes
    return max(int(np.prod(tensor.shapes[gear], dtype=np.int64)) * tensor.dtype.itemsize for gear in gears)
