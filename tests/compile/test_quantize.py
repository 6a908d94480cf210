"""int8 and float16 weights: the chosen layers, per channel, close to float32, reproducible to the byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from helpers.compile.onnxruntime import quantize_onnxruntime, store_weights_in_f16
from helpers.compile.openvino import compile_openvino, quantize_openvino
from helpers.compile.quantize import quantizable_layers, select_fp32_layers
from helpers.devices import open_device
from helpers.errors import CompileError
from helpers.graph.export import export_network
from helpers.graph.spec import GraphSpec

SPEC = GraphSpec("image", "scores", (2, 12, 16))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Path:
    """Four convolutions, an InstanceNorm and a transposed convolution, opset 11."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(2, 6, 3, padding=1), torch.nn.InstanceNorm2d(6, affine=True), torch.nn.LeakyReLU(0.01)]
    layers += [torch.nn.Conv2d(6, 8, 3, stride=2, padding=1), torch.nn.LeakyReLU(0.01)]
    layers += [torch.nn.ConvTranspose2d(8, 6, 2, stride=2), torch.nn.Conv2d(6, 6, 3, padding=1)]
    network = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Conv2d(6, 3, 1))
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_network(network, SPEC, path)
    return path


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, 2, 12, 16), dtype=np.float32)


def answer(path: Path, target: str, precision: str, windows: np.ndarray) -> np.ndarray:
    with open_device(path, target, precision=precision, threads=1) as device:
        return device.infer({"image": windows})["scores"]


QUANTIZERS = {"cpu": quantize_openvino, "onnxruntime": quantize_onnxruntime}


@pytest.mark.parametrize("target", QUANTIZERS)
def test_int8_is_close_to_float32_but_not_equal(graph, windows, target, tmp_path):
    path = QUANTIZERS[target](graph, windows, tmp_path / "model", select_fp32_layers(graph))
    want, got = answer(graph, "onnxruntime", "f32", windows), answer(path, target, "int8", windows)
    error = np.abs(got - want).max() / np.ptp(want)
    assert 1e-4 < error < 0.1
    assert sorted(file.suffix for file in tmp_path.iterdir()) == ([".bin", ".xml"] if target == "cpu" else [".onnx"])


def test_onnxruntime_keeps_the_first_and_last_layer_and_quantises_per_channel(graph, windows, tmp_path):
    keep = select_fp32_layers(graph)
    assert keep == [quantizable_layers(graph)[0], quantizable_layers(graph)[-1]]
    model = onnx.load(quantize_onnxruntime(graph, windows, tmp_path / "model", keep))
    makers = {name: node for node in model.graph.node for name in node.output}
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            weight = makers.get(node.input[1])
            assert (weight is None) == (node.name in keep), node.name
            if weight is not None:
                channels = scales[weight.input[0]].shape[0 if node.op_type == "Conv" else 1]
                assert scales[weight.input[1]].shape == (channels,)
        if node.op_type == "InstanceNormalization":
            assert not any(makers[name].op_type == "DequantizeLinear" for name in node.input if name in makers)


def test_openvino_keeps_the_given_layers_in_float32(graph, windows, tmp_path):
    import openvino

    layers = quantizable_layers(graph)
    keep = select_fp32_layers(graph, [layers[2]])
    model = openvino.Core().read_model(quantize_openvino(graph, windows, tmp_path / "model", keep))
    quantised = set()
    for op in model.get_ordered_ops():
        is_layer = op.get_type_name() in ("Convolution", "ConvolutionBackpropData")
        if is_layer and op.input_value(0).get_node().get_type_name() == "FakeQuantize":
            quantised.add(op.get_friendly_name())
        if op.get_type_name() == "MVN":
            assert op.get_element_type().to_string() == "f32"
    assert quantised == set(layers) - set(keep)


def test_no_widget_is_created_in_a_notebook(graph, windows, tmp_path, monkeypatch):
    import ipywidgets
    import rich

    def refuse(*_, **__):
        raise AssertionError("a widget was created")

    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(ipywidgets.Output, "__init__", refuse)
    rich.reconfigure()
    assert rich.get_console().is_jupyter
    assert quantize_openvino(graph, windows, tmp_path / "model", []).is_file()


def test_an_unknown_layer_is_rejected(graph):
    with pytest.raises(CompileError, match="unknown layer"):
        select_fp32_layers(graph, ["Conv_99"])


_TWICE = """
import sys; from pathlib import Path; import numpy as np
from helpers.compile.onnxruntime import quantize_onnxruntime
from helpers.compile.openvino import quantize_openvino
from helpers.compile.quantize import select_fp32_layers
windows = np.random.default_rng(0).standard_normal((6, 2, 12, 16), dtype=np.float32)
graph, out = Path(sys.argv[1]), Path(sys.argv[2])
quantize_openvino(graph, windows, out, select_fp32_layers(graph))
quantize_onnxruntime(graph, windows, out, select_fp32_layers(graph))
"""


def test_separate_processes_write_the_same_bytes(graph, tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", _TWICE, str(graph), str(tmp_path / name / "model")]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=120)
        made.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert set(made[0]) == {"model.bin", "model.xml", "model.onnx"}
    assert made[0] == made[1]


@pytest.mark.parametrize("target", ["cpu", "onnxruntime"])
def test_float16_weights_halve_the_file_and_compute_in_float32(tmp_path, target):
    torch.manual_seed(0)
    path, spec = tmp_path / "model.onnx", GraphSpec("image", "scores", (8, 6, 6))
    network = torch.nn.Sequential(torch.nn.Conv2d(8, 64, 3), torch.nn.Conv2d(64, 64, 3))
    export_network(network, spec, path)
    stored = tmp_path / "stored"
    if target == "cpu":
        file = compile_openvino(path, stored, f16_weights=True)
        size = file.with_suffix(".bin").stat().st_size
    else:
        file = store_weights_in_f16(path, stored)
        size = file.stat().st_size
    assert size < 0.6 * path.stat().st_size
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 or target == "cpu":
                parameter.copy_(parameter.half().float())
        sample = np.random.default_rng(0).standard_normal((1, 8, 6, 6), dtype=np.float32)
        want = network(torch.from_numpy(sample)).numpy()
    got = answer(file, target, "f16_weights", sample)
    np.testing.assert_allclose(got, want, atol=2e-6)  # far below a float16 step of the activations, 5e-4
