"""A small model as an `.om` of the double, and the shown command lines run with the doubles of the tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def write_graph(path: Path, window: tuple[int, ...], *, classes: int = 2, outputs: int = 1, class_map: bool = False):
    """An ONNX file: one convolution per output, or a class map (1, N, ...) of int64 with its batch on axis 1."""
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
def make_graph():
    """Writes a small graph."""
    return write_graph


@pytest.fixture
def compile_om(tmp_path, cann_doubles):
    """Compiles a small graph with the double of ATC: `compile_om(window, batch, **graph)` gives the `.om`."""

    def build(window: tuple[int, ...], batch: int, **graph) -> Path:
        write_graph(tmp_path / "small.onnx", window, **graph)
        shape = ",".join(str(axis) for axis in (batch, 1, *window))
        layout = "NCDHW" if len(window) == 3 else "NCHW"
        line = (
            f"atc --framework=5 --model=small.onnx --output=small_bs{batch} --input_format={layout}"
            f" --input_shape=image:{shape} --soc_version=Ascend310P3"
        )
        cann_doubles.run(line, tmp_path)
        return tmp_path / f"small_bs{batch}.om"

    return build


@pytest.fixture
def run_shown(cann_doubles):
    """Runs command lines as they are shown, in a folder, with the doubles; pyACL's must report no violation."""

    def run(lines: list[str], folder: Path, **settings: str) -> None:
        for line in lines:
            cann_doubles.run(line, folder, **settings)
        cann_doubles.assert_clean(at_least=len(lines))

    return run
