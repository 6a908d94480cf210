"""OpenVINO, ONNX Runtime and torch agree, in the requested precision; every other request is refused in one line."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import helpers.devices
from helpers.compile.openvino import compile_openvino
from helpers.compile.torchscript import compile_torchscript
from helpers.devices import open_device
from helpers.devices.open import session_file
from helpers.errors import DeviceError
from helpers.graph.export import export_network
from helpers.graph.spec import GraphSpec
from helpers.params.targets import Target, load_target

SPEC = GraphSpec("image", "scores", (2, 8, 16, 16))
TARGETS = {"openvino": "cpu", "onnxruntime": "onnxruntime", "torch": "torch"}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Conv3d(2, 16, 3, padding=1), torch.nn.Conv3d(16, 3, 3, padding=1)
        self.norm, self.act = torch.nn.InstanceNorm3d(16), torch.nn.LeakyReLU()

    def forward(self, x):
        return self.last(self.act(self.norm(self.first(x))))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(5)
    return Net().eval()


@pytest.fixture(scope="module")
def compiled(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    export_network(network, SPEC, folder / "model.onnx")
    return {
        "onnxruntime": folder / "model.onnx",
        "openvino": compile_openvino(folder / "model.onnx", folder / "model"),
        "torch": compile_torchscript(network, SPEC, folder / "model"),
    }


def sample(batch: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, 2, 8, 16, 16), dtype=np.float32)


def error_of(answer: np.ndarray, network, x: np.ndarray) -> float:
    with torch.inference_mode():
        expected = network.double()(torch.from_numpy(x).double()).numpy()
    network.float()
    return float(np.abs(answer - expected).max() / np.ptp(expected))


@pytest.mark.parametrize("runtime", TARGETS)
@pytest.mark.parametrize("batch", [1, 3])
def test_float32_is_float32(runtime, batch, compiled, network):
    with open_device(compiled[runtime], TARGETS[runtime], threads=1) as device:
        assert [(t.name, t.dtype) for t in device.inputs] == [("image", "float32")]
        assert device.inputs[0].shape == (None, 2, 8, 16, 16)
        answer = device.infer({"image": sample(batch)})
    assert list(answer) == ["scores"]
    assert answer["scores"].dtype == np.float32
    # bf16 keeps 8 bits, so it would be off by 1e-3 and more.
    assert error_of(answer["scores"], network, sample(batch)) < 5e-6


def test_openvino_runs_the_requested_precision(compiled):
    import openvino

    for asked, hint in (("f32", "f32"), ("bf16", "bf16")):
        with open_device(compiled["openvino"], "cpu", precision=asked) as device:
            said = device._session._model.get_property("INFERENCE_PRECISION_HINT")
            assert said == getattr(openvino.Type, hint)


@pytest.mark.parametrize("runtime", TARGETS)
def test_calls_in_flight_keep_their_outputs_apart(runtime, compiled, network):
    inputs = [sample(1 + seed % 2, seed) for seed in range(8)]
    with open_device(compiled[runtime], TARGETS[runtime], max_in_flight=3, threads=1) as device:
        assert device.max_in_flight == 3
        answers = [future.result()["scores"] for future in [device.submit({"image": x}) for x in inputs]]
    for x, answer in zip(inputs, answers, strict=True):
        assert error_of(answer, network, x) < 5e-6


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_static_model_pads_a_smaller_batch(runtime, network, tmp_path):
    spec = GraphSpec("image", "scores", (2, 8, 16, 16), dynamic_batch=False, batch_size=3)
    export_network(network, spec, tmp_path / "static.onnx")
    with open_device(tmp_path / "static.onnx", TARGETS[runtime], threads=1) as device:
        assert device.batches == (3,)
        answer = device.infer({"image": sample(2)})["scores"]
        assert answer.shape[0] == 2
        assert error_of(answer, network, sample(2)) < 5e-6
        with pytest.raises(DeviceError, match="1 to 3"):
            device.submit({"image": sample(4)})


@pytest.mark.parametrize("runtime", TARGETS)
def test_a_file_that_is_not_a_model_is_refused_in_one_line(runtime, tmp_path):
    path = tmp_path / "junk.onnx"
    path.write_bytes(b"\xff" * 99)
    with pytest.raises(DeviceError) as refusal:
        open_device(path, TARGETS[runtime])
    assert "cannot open junk.onnx" in str(refusal.value)


@pytest.mark.parametrize("runtime", TARGETS)
def test_a_missing_file_and_an_unknown_option_are_refused(runtime, compiled, tmp_path):
    with pytest.raises(DeviceError, match="no compiled model"):
        open_device(tmp_path / "nothing.onnx", TARGETS[runtime])
    with pytest.raises(DeviceError, match="flavour"):
        open_device(compiled[runtime], TARGETS[runtime], flavour="vanilla")


def test_onnxruntime_refuses_a_precision_that_the_graph_does_not_have(compiled):
    with pytest.raises(DeviceError, match="asked for f16"):
        open_device(compiled["onnxruntime"], "onnxruntime", precision="f16")


def test_onnxruntime_on_cuda_never_falls_back_to_the_cpu(compiled):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match="CUDA"):
        open_device(compiled["onnxruntime"], "onnxruntime", device="CUDA")


def test_torch_without_cuda_names_the_package_to_install(compiled):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError, match=r"no CUDA device.*Needed: A CUDA device, and the CUDA build"):
        open_device(compiled["torch"], "cuda")


def test_a_runtime_without_a_device_is_refused(compiled):
    target = Target(name="made", title="Test target", runtime="magicmind")
    with pytest.raises(DeviceError, match="magicmind"):
        open_device(compiled["onnxruntime"], target)


def test_a_missing_runtime_names_the_package_to_install(compiled, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError) as refusal:
        open_device(compiled["openvino"], "cpu")
    assert load_target("cpu").needs.rstrip(".") in str(refusal.value)


def test_files_for_other_interpreters_are_python_3_8():
    folder = Path(helpers.devices.__file__).parent
    files = [folder / "worker" / "child.py", *(folder / "sessions").rglob("*.py")]
    assert len(files) >= 4
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        assert not any(name and name.split(".")[0] == "helpers" for name in imported)


def test_a_runtime_cannot_be_a_path(tmp_path):
    (tmp_path / "evil_session.py").write_text("", encoding="utf-8")
    with pytest.raises(DeviceError, match="unsupported runtime"):
        session_file(str(tmp_path / "evil"))
    assert session_file("openvino").is_file()
