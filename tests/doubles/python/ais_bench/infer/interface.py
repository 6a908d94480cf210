"""The double of `ais_bench.infer.interface`: `InferSession` with what the documents name, nothing more."""
import numpy as np

from tool_double_model import Model, ToolError


class _Tensor:
    def __init__(self, port):
        self.name, self.shape, self.realsize = port.name, list(port.dims), port.size


class InferSession:
    """One model on one device. infer(arrays, mode) takes a list of arrays and returns a list of arrays."""

    def __init__(self, device_id, model_path):
        if not isinstance(device_id, int) or not isinstance(model_path, str):
            raise TypeError("InferSession(device_id: int, model_path: str)")
        self._batch = 0
        self._model = Model(model_path, device_id)
        self._model.__enter__()
        self._times = {"h2d": [], "npu": [], "d2h": []}

    def get_inputs(self):
        return [_Tensor(port) for port in self._model.data_inputs]

    def get_outputs(self):
        return [_Tensor(port) for port in self._model.outputs]

    def infer(self, feeds, mode="static", custom_sizes=100000):
        if mode != "static":
            raise RuntimeError("the double of ais_bench runs static models only")
        if not isinstance(feeds, list) or len(feeds) != len(self._model.data_inputs):
            raise RuntimeError("infer takes a list of %d arrays" % len(self._model.data_inputs))
        raws = []
        for array, port in zip(feeds, self._model.data_inputs):
            if not isinstance(array, np.ndarray) or not array.flags.c_contiguous or array.nbytes != port.size:
                raise RuntimeError("input %s needs %d contiguous bytes" % (port.name, port.size))
            raws.append(array.tobytes())
        answers, spent = self._model.execute(raws)
        for name, value in spent.items():
            self._times[name].append(value)
        ports = self._model.current_outputs()
        return [np.frombuffer(raw, port.dtype).reshape(port.dims).copy() for raw, port in zip(answers, ports)]

    def __del__(self):
        model, self._model = getattr(self, "_model", None), None
        if model is not None and hasattr(model, "out_set"):
            model.__exit__()


__all__ = ["InferSession", "ToolError"]
