"""A small model as an `.om` of the double, and the doubles of the three tools as programs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

DOUBLES = Path(__file__).parents[1] / "doubles"
PROGRAMS = {"msame": "msame", "python3": "ais_bench"}


def double_environment(report: Path | None = None, **settings: str) -> dict[str, str]:
    """The environment in which the doubles of ATC, pyACL and the tools are found."""
    environment = {**os.environ, "CANN_DOUBLE_PYTHON": sys.executable, **settings}
    environment["PYTHONPATH"] = str(DOUBLES / "cann" / "python")
    if report is not None:
        environment["CANN_DOUBLE_REPORT"] = str(report / "acl-%p.json")
    return environment


def make_graph(path: Path, window: tuple[int, ...], *, classes: int = 2, outputs: int = 1, class_map: bool = False):
    """An ONNX file: one convolution a output; or a class map (1, N, ...) of int64 with its batch on axis 1."""
    random = np.random.default_rng(5)
    rank = len(window)
    nodes, values, weights = [], [], []
    for index in range(outputs):
        weight = random.standard_normal((classes, 1, *[3] * rank)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        name = "class" if index == 0 else f"extra{index}"
        conv = "scores" if class_map else name
        nodes.append(helper.make_node("Conv", ["image", f"w{index}"], [conv], pads=[1] * 2 * rank))
        if class_map:
            nodes.append(helper.make_node("ArgMax", ["scores"], ["labels"], axis=1, keepdims=0))
            weights.append(numpy_helper.from_array(np.array([0], np.int64), "axes"))
            nodes.append(helper.make_node("Unsqueeze", ["labels", "axes"], [name]))
            values.append(helper.make_tensor_value_info(name, TensorProto.INT64, [1, "n", *window]))
        else:
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", classes, *window]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, *window])
    graph = helper.make_graph(nodes, "small", [image], values, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@pytest.fixture
def doubles():
    """The folder of the doubles, and the environment in which they find each other."""
    return SimpleNamespace(folder=DOUBLES, environment=double_environment)


@pytest.fixture
def compile_om(tmp_path):
    """Compiles a small graph with the double of ATC: `compile_om(window, batch, **graph)` gives the `.om`."""

    def build(window: tuple[int, ...], batch: int, **graph) -> Path:
        make_graph(tmp_path / "small.onnx", window, **graph)
        shape = ",".join(str(axis) for axis in (batch, 1, *window))
        layout = "NCDHW" if len(window) == 3 else "NCHW"
        command = [
            str(DOUBLES / "cann" / "bin" / "atc"), "--framework=5", "--model=small.onnx", f"--output=small_bs{batch}",
            f"--input_format={layout}", f"--input_shape=image:{shape}", "--soc_version=Ascend310P3",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, env=double_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return tmp_path / f"small_bs{batch}.om"

    return build


@pytest.fixture
def run_shown(tmp_path):
    """Runs command lines as they are shown, in a folder, with the doubles; the pyACL double must be content."""
    reports = tmp_path / "reports"
    reports.mkdir()

    def run(lines: list[str], folder: Path, **settings: str) -> SimpleNamespace:
        answers = [run_line(line, folder, double_environment(reports, **settings)) for line in lines]
        for path in reports.iterdir():
            report = json.loads(path.read_text())
            assert report["ok"], report
        assert len(list(reports.iterdir())) >= len(lines)
        return SimpleNamespace(printed="".join(answers))

    return run


def run_line(line: str, folder: Path, environment: dict[str, str]) -> str:
    """Runs one shown line, its `| tee FILE` too; every program must be one of the doubles."""
    command, _, log = line.partition(" | tee ")
    words = shlex.split(command)
    program = PROGRAMS.get(words[0], words[0])
    rest = words[3:] if words[:3] == ["python3", "-m", "ais_bench"] else words[1:]
    done = subprocess.run(
        [str(DOUBLES / "bin" / program), *rest], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if log:
        (folder / log).write_text(done.stdout)
    return done.stdout
