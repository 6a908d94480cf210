"""Small graphs in the forms that other exporters and hand-made scripts write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def constant(name: str, values: Any, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def value(name: str, shape: Sequence[int | str | None] | None, element: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
    opset: int = 11,
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def upsampling(
    form: str, *, name: str = "up", source: str = "x", target: str = "y"
) -> tuple[onnx.NodeProto, list, int]:
    """A 2 x 3 x 2 nearest upsampling of five axes: the node, its constants, and the operator set that has it."""
    scales = [1.0, 1.0, 2.0, 3.0, 2.0]
    given = constant(f"{name}_s", scales)
    if form == "Upsample 7":
        return helper.make_node("Upsample", [source], [target], name, scales=scales, mode="nearest"), [], 8
    if form == "Upsample 9":
        return helper.make_node("Upsample", [source, given.name], [target], name, mode="nearest"), [given], 9
    if form == "Resize 10":
        return helper.make_node("Resize", [source, given.name], [target], name, mode="nearest"), [given], 10
    roi = constant(f"{name}_r", [])
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    node = helper.make_node("Resize", [source, roi.name, given.name], [target], name, **attributes)
    return node, [given, roi], 11


def branches(
    then: Sequence[onnx.NodeProto], otherwise: Sequence[onnx.NodeProto], target: str = "y"
) -> onnx.NodeProto:
    """An If of the input `flag` whose branches end in `then_out` and `else_out`."""
    graphs = {
        "then_branch": helper.make_graph(list(then), "then", [], [value("then_out", None)]),
        "else_branch": helper.make_graph(list(otherwise), "else", [], [value("else_out", None)]),
    }
    return helper.make_node("If", ["flag"], [target], "if", **graphs)
