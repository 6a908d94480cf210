"""Counts what is in a graph: ops, multiply-accumulates, parameter bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from helpers.graph.read import opset_of, tensor_shapes


@dataclass(frozen=True)
class GraphSummary:
    """Totals of a graph for a batch of one.

    `macs` counts one multiplication and addition of a convolution or matrix product; nodes whose shapes are
    unknown are named in `uncounted`.
    """

    opset: int
    ops: dict[str, int]
    macs: int
    macs_by_op: dict[str, int]
    parameters: int
    parameter_bytes: int
    uncounted: tuple[str, ...]


def summarize_graph(model: onnx.ModelProto) -> GraphSummary:
    """The summary of a graph."""
    shapes = tensor_shapes(model)
    macs_by_op: dict[str, int] = {}
    ops: dict[str, int] = {}
    uncounted = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            continue
        ops[node.op_type] = ops.get(node.op_type, 0) + 1
        if node.op_type in _MACS:
            macs = _MACS[node.op_type](node, shapes)
            if macs is None:
                uncounted.append(node.name or node.output[0])
            else:
                macs_by_op[node.op_type] = macs_by_op.get(node.op_type, 0) + macs
    # Scales and regions of a Resize are floats too, but no weights.
    control = {name for node in model.graph.node if node.op_type == "Resize" for name in node.input[1:]}
    control |= {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT64}
    floats = [tensor for tensor in model.graph.initializer if tensor.name not in control]
    return GraphSummary(
        opset=opset_of(model),
        ops=dict(sorted(ops.items(), key=lambda item: (-item[1], item[0]))),
        macs=sum(macs_by_op.values()),
        macs_by_op=macs_by_op,
        parameters=sum(math.prod(tensor.dims) for tensor in floats),
        parameter_bytes=sum(numpy_helper.to_array(tensor).nbytes for tensor in floats),
        uncounted=tuple(uncounted),
    )


def _one_sample(shape: tuple[int | None, ...] | None) -> list[int] | None:
    if shape is None or None in shape[1:]:
        return None
    return [1, *shape[1:]]


def _conv_macs(node: onnx.NodeProto, shapes: dict) -> int | None:
    output, weight = _one_sample(shapes.get(node.output[0])), shapes.get(node.input[1])
    if output is None or weight is None:
        return None
    return math.prod(output) * math.prod(weight[1:])  # the weight is (out, in / groups, kernel...)


def _transposed_macs(node: onnx.NodeProto, shapes: dict) -> int | None:
    source, weight = _one_sample(shapes.get(node.input[0])), shapes.get(node.input[1])
    if source is None or weight is None:
        return None
    return math.prod(source) * math.prod(weight[1:])  # the weight is (in, out / groups, kernel...)


def _product_macs(node: onnx.NodeProto, shapes: dict) -> int | None:
    output, left = _one_sample(shapes.get(node.output[0])), shapes.get(node.input[0])
    if output is None or left is None or left[-1] is None:
        return None
    return math.prod(output) * left[-1]


_MACS = {
    "Conv": _conv_macs,
    "ConvTranspose": _transposed_macs,
    "Gemm": _product_macs,
    "MatMul": _product_macs,
}
