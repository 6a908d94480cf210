"""OpenVINO, the embedded CPU runtime."""

import os
import queue

import numpy as np

# OpenVINO's own default is silently bf16 on CPUs that support it, so the precision is always named.
# What int8 does not cover, norms above all, stays f32.
_PRECISION = {"f32": "f32", "f16": "f16", "bf16": "bf16", "f16_weights": "f32", "int8": "f32"}


class OpenVinoSession:
    """A compiled OpenVINO model with one infer request per slot."""

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
        cache_folder="",
        count_nodes=False,
    ):
        import openvino

        core = openvino.Core()
        config = {"INFERENCE_PRECISION_HINT": _PRECISION[precision], "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        if cache_folder:
            config["CACHE_DIR"] = cache_folder
        if count_nodes:  # costs a little, so only a profile asks for it
            config["PERF_COUNT"], max_in_flight = "YES", 1
        self._model = core.compile_model(os.fspath(path), device, config)
        self.inputs = [_describe(port) for port in self._model.inputs]
        self.outputs = [_describe(port) for port in self._model.outputs]
        first = self.inputs[0][2][0]
        self.batches = None if first is None else [first]
        self.max_in_flight = max_in_flight
        self._requests: queue.Queue = queue.Queue()
        for _ in range(max_in_flight):
            self._requests.put(self._model.create_infer_request())

    def run(self, feeds, allocate=np.empty):
        """Runs one batch on a free request."""
        request = self._requests.get()
        try:
            request.infer(dict(feeds), share_inputs=True)
            outputs = {}
            for index, (name, _, _) in enumerate(self.outputs):
                data = request.get_output_tensor(index).data
                outputs[name] = allocate(data.shape, data.dtype)
                np.copyto(outputs[name], data)  # the request's own tensors are overwritten by its next call
            return outputs, {}
        finally:
            self._requests.put(request)

    def counters(self):
        """The executed nodes and the mean microseconds of each over all calls, if the session counts nodes.

        A row is (node of OpenVINO's runtime model, microseconds).
        """
        request = self._requests.get()
        try:
            micros = {row.node_name: row.real_time.total_seconds() * 1e6 for row in request.profiling_info}
        finally:
            self._requests.put(request)
        ops = self._model.get_runtime_model().get_ordered_ops()
        return [(op, micros[op.get_friendly_name()]) for op in ops if micros.get(op.get_friendly_name())]

    def close(self):
        """Frees the requests and the model."""
        while not self._requests.empty():
            self._requests.get_nowait()
        self._model = None


def _describe(port):
    shape = [dim.get_length() if dim.is_static else None for dim in port.get_partial_shape()]
    return port.get_any_name(), np.dtype(port.get_element_type().to_dtype()).name, shape


def open_session(path, **options):
    """Opens an OpenVINO IR or an ONNX file."""
    return OpenVinoSession(path, **options)
