"""ONNX Runtime, on the CPU, on CUDA, or on an Ascend device with the package onnxruntime-cann."""

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
_PROVIDERS = {"CPU": "CPUExecutionProvider", "CUDA": "CUDAExecutionProvider", "CANN": "CANNExecutionProvider"}
# CANN compiles the graph itself, in f16 by default; precisions have ATC's names.
_CANN_PRECISION = {"f16": "force_fp16", "f32": "must_keep_origin_dtype"}


class OnnxRuntimeSession:
    """An ONNX Runtime session on one named provider, never silently on another one."""

    simulated = False
    notes = ()
    torch_network = None

    def __init__(
        self,
        path,
        precision="f32",
        device="CPU",
        threads=0,
        max_in_flight=2,
        device_id=0,
        profile_folder="",
    ):
        import onnxruntime

        provider = _PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeError(f"this build of ONNX Runtime has no {provider}")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        if profile_folder:
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(profile_folder, "times")
            options.optimized_model_filepath = os.path.join(profile_folder, "optimised.onnx")
        chosen = (provider, _provider_options(device, device_id, precision))
        self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=[chosen])
        # The runtime falls back to the CPU with just a warning, and onnxruntime-cann lists its provider as available
        # on a machine without CANN: only the session's own list counts.
        actual = self._session.get_providers()[0]
        if actual != provider:
            raise RuntimeError(f"ONNX Runtime fell back to {actual}; asked for {provider}")
        self.inputs = [_describe(value) for value in self._session.get_inputs()]
        self.outputs = [_describe(value) for value in self._session.get_outputs()]
        first = self.inputs[0][2][0]
        self.batches = None if first is None else [first]
        self.max_in_flight = max_in_flight

    def run(self, feeds, allocate=np.empty):
        """Runs one batch; ONNX Runtime allocates the outputs itself."""
        names = [name for name, _, _ in self.outputs]
        return dict(zip(names, self._session.run(names, dict(feeds)))), {}  # noqa: B905 (Python 3.8)

    def end_profiling(self):
        """Ends the profile that `profile_folder` started, and returns the path of its JSON."""
        return self._session.end_profiling()

    def close(self):
        """Frees the session."""
        self._session = None


def _describe(value):
    shape = [dim if isinstance(dim, int) else None for dim in value.shape]
    return value.name, np.dtype(_DTYPES[value.type]).name, shape


def _provider_options(device, device_id, precision):
    if device == "CANN":
        if precision not in _CANN_PRECISION:
            raise ValueError(f"CANN runs {' or '.join(_CANN_PRECISION)}; asked for {precision}")
        return {"device_id": str(device_id), "precision_mode": _CANN_PRECISION[precision]}
    if precision not in ("f32", "f16_weights", "int8"):
        raise ValueError(f"ONNX Runtime runs the precision that is in the graph; asked for {precision}")
    return {"device_id": str(device_id)} if device == "CUDA" else {}


def open_session(path, **options):
    """Opens an ONNX file."""
    return OnnxRuntimeSession(path, **options)
