"""ONNX Runtime, on the CPU or CUDA."""

import os

import numpy as np

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}
_PROVIDERS = {"CPU": "CPUExecutionProvider", "CUDA": "CUDAExecutionProvider"}


class OnnxRuntimeSession:
    """An ONNX Runtime session on one named provider, never on another one silently."""

    def __init__(self, path, precision="f32", device="CPU", threads=0, max_in_flight=2):
        import onnxruntime

        if precision not in ("f32", "f16_weights", "int8"):
            raise ValueError(f"ONNX Runtime runs the precision that is in the graph; asked for {precision}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        provider = _PROVIDERS[device]
        self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=[provider])
        # The runtime falls back to the CPU with no more than a warning.
        actual = self._session.get_providers()[0]
        if actual != provider:
            raise RuntimeError(f"ONNX Runtime fell back to {actual}; asked for {provider}")
        self.inputs = [_describe(value) for value in self._session.get_inputs()]
        self.outputs = [_describe(value) for value in self._session.get_outputs()]
        first = self.inputs[0][2][0]
        self.batches = None if first is None else [first]
        self.max_in_flight = max_in_flight

    def run(self, feeds):
        """Runs one batch."""
        names = [name for name, _, _ in self.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds))))  # noqa: B905 (Python 3.8)

    def close(self):
        """Frees the session."""
        self._session = None


def _describe(value):
    shape = [dim if isinstance(dim, int) else None for dim in value.shape]
    return value.name, np.dtype(_DTYPES[value.type]).name, shape


def open_session(path, **options):
    """Opens an ONNX file."""
    return OnnxRuntimeSession(path, **options)
