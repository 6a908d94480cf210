"""Puts the strict double of CANN on PATH, and runs ATC as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from helpers.compile.base import CompileJob
from helpers.graph.spec import GraphSpec
from helpers.params import load_target
from helpers.params.model import RunParams

DOUBLE = Path(__file__).parents[1] / "doubles" / "cann"


@pytest.fixture
def run_atc():
    """Runs an ATC command line with the double in a folder and returns the finished process."""

    def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PATH": f"{DOUBLE / 'bin'}:{os.environ['PATH']}"}
        environment |= {"PYTHONPATH": str(DOUBLE / "python"), "CANN_DOUBLE_PYTHON": sys.executable}
        command = [str(DOUBLE / "bin" / "atc"), *command[1:]]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def cann(monkeypatch, tmp_path):
    """Activates the double of CANN: `cann(CANN="5.0.4", SMI="a3")` sets its switches and its version file."""

    def source(version: str | None = "8.0.RC1", **switches: str) -> None:
        monkeypatch.setenv("PATH", f"{DOUBLE / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("CANN_DOUBLE_PYTHON", sys.executable)
        for name, value in switches.items():
            monkeypatch.setenv(f"CANN_DOUBLE_{name}", value)
        if version:
            home = tmp_path / "toolkit" / "x86_64-linux"
            home.mkdir(parents=True, exist_ok=True)
            (home / "ascend_toolkit_install.info").write_text(
                f"package_name=Ascend-cann-toolkit\nversion={version}\n", encoding="utf-8"
            )
            monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(home.parent))

    return source


@pytest.fixture
def norm_job(tmp_path):
    """A job and its graph, one 5-D InstanceNormalization: `norm_job(target, opset=11, **params)`."""

    def make(target: str = "ascend310p3", *, opset: int = 11, **given) -> tuple[CompileJob, Path]:
        spec = GraphSpec("image", "class", (2, 4, 4, 4), opset=opset)
        shapes = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2, 4, 4, 4]) for n in ("image", "class")
        ]
        weights = [helper.make_tensor(n, TensorProto.FLOAT, [2], [1.0, 1.0]) for n in ("scale", "bias")]
        node = helper.make_node("InstanceNormalization", ["image", "scale", "bias"], ["class"], "norm")
        graph = helper.make_graph([node], "norm", shapes[:1], shapes[1:], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 7
        onnx.save(model, str(tmp_path / "model.onnx"))
        params = RunParams(recipe="norm", target=target, **given)
        job = CompileJob(
            graph_name="model.onnx",
            output_name="compiled/model",
            spec=spec,
            target=load_target(target),
            precision=given.get("precision", "f16"),
            params=params,
            load_network=lambda: None,
            checkpoints=(),
            calibration=None,
            calibration_file="",
        )
        return job, tmp_path / "model.onnx"

    return make
