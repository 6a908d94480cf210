"""Models compiled for OpenVINO and torch compute the same outputs as the network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from helpers.compile.openvino import compile_openvino
from helpers.compile.torchscript import compile_torchscript
from helpers.devices import open_device
from helpers.errors import CompileError
from helpers.graph.export import export_network
from helpers.graph.spec import GraphSpec

SPEC = GraphSpec("image", "scores", (2, 6, 8))


class TwoOutputs(torch.nn.Module):
    """A small network with deep supervision; dropout reveals the training mode."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3, padding=1)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x):
        x = self.conv(self.drop(x))
        return [x, x.mean()]


class BatchOnAxisOne(torch.nn.Module):
    def forward(self, x):
        return x.argmax(dim=1)[None]


def sample(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, 2, 6, 8), dtype=np.float32)


@pytest.mark.parametrize("batch", [1, 3])
def test_torchscript_keeps_the_first_output_in_eval_mode(tmp_path, batch):
    torch.manual_seed(0)
    network = TwoOutputs().train()
    path = compile_torchscript(network, SPEC, tmp_path / "model")
    assert path == tmp_path / "model.pt"
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(sample(batch)))[0].numpy()
    with open_device(path, "torch") as device:
        assert [(t.name, t.dtype, t.shape) for t in device.outputs] == [("scores", "float32", (None, 3, 6, 8))]
        np.testing.assert_allclose(device.infer({"image": sample(batch)})["scores"], expected, atol=1e-6)


def test_torchscript_describes_outputs_whose_batch_is_axis_one(tmp_path):
    spec = GraphSpec("image", "map", (2, 6, 8), output_batch_axis=1)
    path = compile_torchscript(BatchOnAxisOne(), spec, tmp_path / "model")
    extra = {"interface.json": ""}
    torch.jit.load(str(path), _extra_files=extra)
    assert json.loads(extra["interface.json"])["outputs"] == [["map", "int64", [1, None, 6, 8]]]
    with open_device(path, "torch", output_batch_axis=1) as device:
        assert np.array_equal(device.infer({"image": sample(3)})["map"], sample(3).argmax(1)[None])


def test_openvino_files_hold_float32_weights(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 3, 3, padding=1, bias=False)
    export_network(network, SPEC, tmp_path / "model.onnx")
    path = compile_openvino(tmp_path / "model.onnx", tmp_path / "model")
    weights = network.weight.detach().numpy().tobytes()
    assert path == tmp_path / "model.xml"
    assert weights in path.with_suffix(".bin").read_bytes()


def test_the_error_for_a_graph_that_openvino_cannot_read_is_one_line(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(CompileError) as refusal:
        compile_openvino(tmp_path / "junk.onnx", tmp_path / "model")
    assert "OpenVINO rejects the graph" in refusal.value.line()
    assert "\n" not in refusal.value.line()
