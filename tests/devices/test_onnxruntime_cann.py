"""ONNX Runtime on CANN: the session's own provider counts, because the package falls back without an error."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from helpers.devices import open_device
from helpers.errors import DeviceError
from helpers.params import load_target

PACKAGES = ["onnxruntime-cann==1.24.4", "numpy<2"]
SILENT = """
import sys, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=[("CANNExecutionProvider", {"device_id": "0"})])
print("answer", onnxruntime.__version__, onnxruntime.get_available_providers()[0], session.get_providers()[0])
"""


@pytest.fixture
def model(tmp_path):
    """A graph of one node."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", ports[:1], ports[1:])
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), str(path))
    return path


class FakeRuntime(SimpleNamespace):
    """Behaves like onnxruntime-cann: always lists its provider, and gives the one it could load."""

    def __init__(self, loads: str):
        super().__init__(SessionOptions=SimpleNamespace, asked=[])
        value = SimpleNamespace(name="x", type="tensor(float)", shape=[1, 2])

        def session(path, options, providers):
            self.asked += providers
            return SimpleNamespace(
                get_providers=lambda: [loads], get_inputs=lambda: [value], get_outputs=lambda: [value]
            )

        self.InferenceSession = session
        self.get_available_providers = lambda: ["CANNExecutionProvider", "CPUExecutionProvider"]


def test_a_fallback_is_refused(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime("CPUExecutionProvider"))
    with pytest.raises(DeviceError, match="fell back to CPUExecutionProvider; asked for CANNExecutionProvider"):
        open_device(model, "onnxruntime-cann", precision="f16")


@pytest.mark.parametrize(("precision", "mode"), [("f16", "force_fp16"), ("f32", "must_keep_origin_dtype")])
def test_the_precision_is_named_to_cann(model, monkeypatch, precision, mode):
    runtime = FakeRuntime("CANNExecutionProvider")
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    open_device(model, "onnxruntime-cann", precision=precision).close()
    assert runtime.asked == [("CANNExecutionProvider", {"device_id": "0", "precision_mode": mode})]


def test_a_build_without_the_provider_is_refused(model):
    with pytest.raises(DeviceError, match=r"no CANNExecutionProvider.*onnxruntime-cann==1\.24\.4"):
        open_device(model, "onnxruntime-cann", precision="f16")


@pytest.mark.slow
def test_the_real_package_falls_back_silently_and_ours_refuses(model, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], capture_output=True, text=True)
    if installed.returncode != 0:
        pytest.skip(f"pip cannot offer {PACKAGES[0]} here: {installed.stderr.strip().splitlines()[-1]}")
    done = subprocess.run([python, "-c", SILENT, str(model)], capture_output=True, text=True)
    answer = next(line for line in done.stdout.splitlines() if line.startswith("answer")).split()[1:]
    if answer[2] == "CANNExecutionProvider":
        pytest.skip("this machine has CANN and a chip")
    assert done.returncode == 0 and answer == ["1.24.4", "CANNExecutionProvider", "CPUExecutionProvider"]
    target = load_target("onnxruntime-cann").model_copy(update={"python": python})
    with pytest.raises(DeviceError, match="fell back to CPUExecutionProvider; asked for CANNExecutionProvider"):
        open_device(model, target, precision="f16")
    cpu = target.model_copy(update={"device": "CPU"})
    with open_device(model, cpu, precision="f32") as device:
        assert device.worker.interpreter.split(", ")[1].startswith("numpy 1.")
