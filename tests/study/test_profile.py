"""Profiles: every layer of the graph is found in what each runtime executes, and the sums add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch

from helpers.compile.onnxruntime import quantize_onnxruntime
from helpers.compile.openvino import compile_openvino
from helpers.compile.torchscript import compile_torchscript
from helpers.graph.export import export_network
from helpers.graph.inspect import summarize_graph
from helpers.graph.read import load_graph
from helpers.graph.spec import GraphSpec
from helpers.graph.surgery import AxiswiseInstanceNorm, rewrite_graph
from helpers.graph.work import GraphWork
from helpers.params.targets import load_target
from helpers.study import profile as profile_module
from helpers.study.peaks import PeakMeter, Peaks
from helpers.study.profile import NodeTime, Profile, describe, profile_model
from helpers.study.profile_files import show_profile, write_profile
from helpers.study.profilers import Kernel, OpenVinoProfiler, _map_openvino_ops

SPEC = GraphSpec("image", "scores", (2, 64, 64))


class Net(torch.nn.Module):
    """A step down and up in two dimensions, with a large norm and one without learned values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(2, 16, 3, padding=1)
        self.norm = torch.nn.InstanceNorm2d(16, affine=True)
        self.down = torch.nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.up = torch.nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.last = torch.nn.Conv2d(32, 3, 1)
        torch.nn.init.normal_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.last(torch.cat([x, self.up(torch.relu(self.down(x)))], dim=1))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The graph as exported and as rewritten, and what each runtime opens."""
    folder = tmp_path_factory.mktemp("net")
    export_network(Net().eval(), SPEC, folder / "model.onnx")
    model, _ = rewrite_graph(load_graph(folder / "model.onnx"), [AxiswiseInstanceNorm()])
    onnx.save(model, str(folder / "rewritten.onnx"))
    compile_openvino(folder / "rewritten.onnx", folder / "ov")
    compile_torchscript(Net().eval(), SPEC, folder / "ts")
    windows = np.random.default_rng(0).standard_normal((2, *SPEC.input_shape), dtype=np.float32)
    quantize_onnxruntime(folder / "model.onnx", windows, folder / "int8", [_first_conv(folder)])
    return folder


def _first_conv(folder: Path) -> str:
    return next(node.name for node in load_graph(folder / "model.onnx").graph.node if node.op_type == "Conv")


@pytest.fixture
def without_peaks(monkeypatch):
    """The machine's peak as constants: what a double of it would measure."""

    class Meter:
        def __init__(self, precision): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def measure_once(self): ...
        def peaks(self):
            return Peaks(1e9, 1e9, "none")

    monkeypatch.setattr(profile_module, "PeakMeter", Meter)


@pytest.mark.parametrize(
    ("target", "name"), [("cpu", "ov.xml"), ("onnxruntime", "rewritten.onnx"), ("torch", "ts.pt")]
)
def test_every_layer_of_the_graph_has_a_time(files, without_peaks, target, name):
    model = load_graph(files / "model.onnx")
    names = {node.name for node in model.graph.node}
    found = profile_model(
        files / name,
        files / "rewritten.onnx",
        load_target(target),
        "f32",
        batch=2,
        budget_s=0.0,
        originals=names,
    )
    layers = [node for node in model.graph.node if node.op_type.startswith("Conv")]
    timed = {node.node: node for node in found.nodes}
    assert all(timed[node.name].macs > 0 and timed[node.name].ms > 0 for node in layers)
    assert found.macs == 2 * summarize_graph(model).macs
    assert 0 < found.sum_ms <= found.profiled_ms * 1.001  # the nodes are parts of the calls
    assert found.calls == 5 and found.batch == 2
    assert found.fallbacks()["layers in another precision"] == 0
    if target != "torch":
        norm = next(node for node in found.nodes if node.op == "InstanceNormalization")
        assert norm.node in names and norm.level == "64×64"  # the nodes it was rewritten to count as one
        assert {timed[node.name].level for node in layers} == {"64×64", "32×32"}


def test_a_layer_keeps_its_name_before_a_pad_that_does_nothing(tmp_path):
    """OpenVINO removes the Pad and gives the layer before it both names."""
    nodes = [
        onnx.helper.make_node("Conv", ["image", "weight"], ["wide"], "layer"),
        onnx.helper.make_node("Pad", ["wide", "pads"], ["padded"], "a_pad"),
        onnx.helper.make_node("Sigmoid", ["padded"], ["scores"], "last"),
    ]
    ports = [onnx.helper.make_tensor_value_info(name, 1, (1, 2, 8, 8)) for name in ("image", "scores")]
    constants = {"weight": np.ones((2, 2, 1, 1), np.float32), "pads": np.zeros(8, np.int64)}
    tensors = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = onnx.helper.make_graph(nodes, "graph", ports[:1], ports[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, str(tmp_path / "model.onnx"))
    compile_openvino(tmp_path / "model.onnx", tmp_path / "model")
    names = _map_openvino_ops(openvino.Core().read_model(str(tmp_path / "model.xml")), GraphWork(model))
    assert "layer" in names.values()


def test_layers_of_a_residual_chain_count_once(tmp_path, without_peaks):
    """ONNX Runtime fuses sums into convolutions and renames all tensors between them."""

    class Chain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(4))
            self.first = torch.nn.Conv2d(2, 16, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.first(x))
            for one, two in zip(self.layers[::2], self.layers[1::2], strict=True):
                x = torch.relu(x + two(torch.relu(one(x))))
            return x

    graph = tmp_path / "model.onnx"
    export_network(Chain().eval(), SPEC, graph)
    found = profile_model(graph, graph, load_target("onnxruntime"), "f32", budget_s=0.0)
    assert found.macs == summarize_graph(load_graph(graph)).macs


def test_a_layer_that_stays_in_float32_is_a_fallback(files, without_peaks):
    found = profile_model(files / "int8.onnx", files / "int8.onnx", load_target("onnxruntime"), "int8", budget_s=0.0)
    timed = {node.node: node for node in found.nodes}
    assert found.macs == summarize_graph(load_graph(files / "model.onnx")).macs
    # ONNX Runtime has no transposed convolution in int8.
    in_f32 = {node.node for node in found.nodes if node.macs and "f32" in node.precisions}
    assert in_f32 == {_first_conv(files), *(name for name, node in timed.items() if node.op == "ConvTranspose")}
    assert found.fallbacks()["layers in another precision"] == 2


def test_warm_up_calls_do_not_count(files, monkeypatch):
    """OpenVINO averages over all calls; two slow ones of 10 µs and two of 2 µs have a mean of 6 µs."""
    work = GraphWork(load_graph(files / "rewritten.onnx"))
    options = {"precision": "f32", "device": "CPU"}
    with OpenVinoProfiler(files / "ov.xml", work, options) as profiler:
        real = profiler._session.counters
        profiler.call({"image": np.zeros((1, *SPEC.input_shape), np.float32)})
        op = next(op for op, _ in real() if str(op.rt_info["layerType"].astype(str)) == "Convolution")
        monkeypatch.setattr(profiler._session, "run", lambda feeds: None)
        monkeypatch.setattr(profiler._session, "counters", lambda: [(op, 10.0)])
        profiler.call({})
        profiler.start()
        monkeypatch.setattr(profiler._session, "counters", lambda: [(op, 6.0)])
        profiler.call({})
        profiler.call({})
        assert [kernel.seconds for kernel in profiler.kernels()] == [pytest.approx(2e-6)]


def test_peaks_are_the_best_of_all_rounds(monkeypatch):
    seconds = iter([2e-3] * 6 + [0.1] + [1e-3] * 6 + [0.05])
    monkeypatch.setattr("helpers.study.peaks._timed", lambda work: (work() and 0) or next(seconds))
    monkeypatch.setattr("helpers.study.peaks._STREAM_VALUES", 1000)
    with PeakMeter("f32") as meter:
        meter.measure_once()
        meter.measure_once()
        found = meter.peaks()
    assert found.macs_per_second == pytest.approx(512 * 512 * 9 * 48 * 48 / 1e-3)
    assert found.bytes_per_second == pytest.approx(3 * 4000 / 0.05)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_peaks_of_lower_precisions_run(precision, monkeypatch):
    monkeypatch.setattr("helpers.study.peaks._STREAM_VALUES", 1000)
    with PeakMeter(precision) as meter:
        meter.measure_once()
        assert meter.peaks().macs_per_second > 0


def _profile(*nodes: NodeTime, latency_ms: float = 10.0, precision: str = "bf16") -> Profile:
    return Profile(
        "openvino", precision, 1, "a CPU", "0" * 64, 5, latency_ms, 10.0, nodes, len(nodes), Peaks(1e9, 1e9, "x"), 0.0
    )


def _node(
    name: str, ms: float, precision: str = "bf16", macs: int = 0, reference: int = 0, on: str = "CPU"
) -> NodeTime:
    return NodeTime(name, "Conv", (), "8×8", ms, macs, 10, 1.0, (precision,), (on,), reference)


def test_shares_and_fallbacks_by_hand():
    nodes = (
        _node("a", 6.0, macs=4_000_000),
        _node("b", 2.0, "f32", macs=1_000_000),
        _node("c", 1.0, reference=2),
        _node("d", 0.5, on="GPU"),
    )
    found = _profile(*nodes)
    assert found.explained == pytest.approx(0.95)
    assert found.share_of_peak == pytest.approx(0.5)  # 5e6 in 10 ms against 1e9 a second
    assert found.share_of_roofline == pytest.approx(4 / 9.5)
    assert found.fallbacks() == {
        "layers in another precision": 1,
        "nodes in reference code": 1,
        "nodes on another processor": 1,
    }
    assert [node.node for node in found.most_expensive(2)] == ["a", "b"]


def test_the_files_of_a_profile_name_every_node(tmp_path):
    found = _profile(_node("first", 6.0, macs=4_000_000), _node("<second>", 3.0))
    page, picture, csv, json = write_profile(found, tmp_path / "profile", "a title")
    text = page.read_text(encoding="utf-8")
    assert "first" in text and "&lt;second&gt;" in text and "<second>" not in text
    assert picture.stat().st_size > 5000 and "first" in csv.read_text(encoding="utf-8-sig")
    assert '"share_of_peak": 0.4' in json.read_text(encoding="utf-8")
    shown = repr(show_profile(found, "a title"))
    assert "90.0%" in shown and "first" in shown and "load" in describe(found)


def test_reference_code_is_recognised_by_its_name():
    assert Kernel("a", "MVN", 1.0, implementation="ref_any_f32").is_reference
    assert not Kernel("a", "MVN", 1.0, implementation="jit_avx512_f32").is_reference
