"""Ascend, through the Python interface of ais_bench (Ascend/tools), if that is installed."""

import math
import os
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_FULL_NAME = re.compile(r"[^:]*:\d+:(.+)")  # node:index:tensor, the names of a compiled model's outputs
_FLOATS = {4: "float32", 2: "float16"}


class AisBenchSession:
    """One model of one static batch size on one device.

    Args:
        path: the .om.
        device_id: number of the device.
        device, precision: of the target; the .om has both already.
    """

    notes = ()
    torch_network = None

    def __init__(self, path, device_id=0, device="NPU", precision="f16"):
        self.max_in_flight = 1
        # pyACL binds a context to a thread, and it is not documented who sets it: all calls share one thread.
        self._home = ThreadPoolExecutor(1, "ais-bench")
        try:
            self._home.submit(self._open, os.fspath(path), device_id).result()
        except BaseException:
            self.close()
            raise

    def run(self, feeds, allocate=np.empty):
        """Runs one batch; ais_bench allocates the outputs itself."""
        answers = self._home.submit(self._infer, [feeds[name] for name, _, _ in self.inputs]).result()
        return {name: answer for (name, _, _), answer in zip(self.outputs, answers)}, {}  # noqa: B905

    def close(self):
        """Frees the session, which ends with its last reference."""
        self._home.submit(self._forget).result()
        self._home.shutdown()

    def _open(self, path, device_id):
        import ais_bench
        from ais_bench.infer.interface import InferSession

        self.simulated = bool(getattr(ais_bench, "__double__", False))
        self._session = InferSession(device_id, path)
        self.inputs = [_describe(tensor) for tensor in self._session.get_inputs()]
        if any(axis is None for _, _, shape in self.inputs for axis in shape):
            raise ValueError("ais_bench runs models of one static batch size; compile without gears")
        # The interface reports the sizes of outputs but not their types: the answer to zeros shows them.
        answers = self._infer([np.zeros(shape, dtype) for _, dtype, shape in self.inputs])
        names = [_own_name(tensor.name) for tensor in self._session.get_outputs()]
        self.outputs = [(name, a.dtype.name, list(a.shape)) for name, a in zip(names, answers)]  # noqa: B905
        self.batches = [self.inputs[0][2][0]]

    def _infer(self, arrays):
        return self._session.infer(arrays)

    def _forget(self):
        self.__dict__.pop("_session", None)


def _describe(tensor):
    shape = [axis if axis > 0 else None for axis in tensor.shape]
    if None in shape:
        return tensor.name, "float32", shape
    itemsize = tensor.realsize // math.prod(tensor.shape)
    if itemsize not in _FLOATS:
        raise ValueError(f"input {tensor.name} has {itemsize} bytes per value; float32 or float16 is expected")
    return tensor.name, _FLOATS[itemsize], shape


def _own_name(name):
    full = _FULL_NAME.fullmatch(name)
    return full.group(1) if full else name


def open_session(path, **options):
    """Opens a compiled `.om`."""
    return AisBenchSession(path, **options)
