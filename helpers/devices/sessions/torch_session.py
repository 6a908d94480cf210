"""PyTorch, on the CPU or CUDA, from a TorchScript file that also holds its tensor names."""

import json
import os

import numpy as np


class TorchSession:
    """A traced network; f16 and bf16 run under autocast, so that norms keep float32."""

    simulated = False
    notes = ()

    def __init__(self, path, precision="f32", device="CPU", threads=0, max_in_flight=1):
        import torch

        self._torch = torch
        self._device = torch.device("cuda" if device == "CUDA" else "cpu")
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} finds no CUDA device")
        if threads:
            torch.set_num_threads(threads)
        names = {"interface.json": ""}
        self._module = torch.jit.load(os.fspath(path), map_location=self._device, _extra_files=names)
        interface = json.loads(names["interface.json"])
        self._module.eval()
        self.inputs = [tuple(entry) for entry in interface["inputs"]]
        self.outputs = [tuple(entry) for entry in interface["outputs"]]
        self.batches = None
        self.max_in_flight = max_in_flight
        self._autocast = {"f32": None, "f16": torch.float16, "bf16": torch.bfloat16}[precision]
        # On a GPU the windows are cut and summed there; on a CPU that would save nothing.
        on_gpu = self._device.type == "cuda"
        self.torch_network = (self._module, str(self._device), self._autocast) if on_gpu else None

    def run(self, feeds, allocate=np.empty):
        """Runs one batch; torch allocates the output itself."""
        torch = self._torch
        tensors = [torch.from_numpy(feeds[name]).to(self._device) for name, _, _ in self.inputs]
        autocast = torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None)
        with torch.inference_mode(), autocast:
            result = self._module(*tensors)
        name, dtype, _ = self.outputs[0]
        return {name: result.float().cpu().numpy() if dtype == "float32" else result.cpu().numpy()}, {}

    def close(self):
        """Frees the network."""
        self._module = self.torch_network = None


def open_session(path, **options):
    """Opens a TorchScript file written by `helpers.compile.torchscript`."""
    return TorchSession(path, **options)
