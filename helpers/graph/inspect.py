"""Counts the ops, multiply-accumulates and parameters of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from helpers.graph.read import all_graphs, all_nodes, count_ops, known_values, opset_of, tensor_shapes

Shapes = Mapping[str, tuple[int | None, ...]]


@dataclass(frozen=True)
class GraphSummary:
    """The totals of a graph, for a batch of one.

    Attributes:
        opset: version of the default operator set.
        ops: number of nodes by op, the most frequent first; Constant nodes are not counted.
        macs, macs_by_op: multiply-accumulates of convolutions and matrix products.
        parameters, parameter_bytes: number and size of the weights.
        uncounted: convolutions and matrix products whose shapes are unknown.
    """

    opset: int
    ops: dict[str, int]
    macs: int
    macs_by_op: dict[str, int]
    parameters: int
    parameter_bytes: int
    uncounted: tuple[str, ...]


def summarize_graph(model: onnx.ModelProto) -> GraphSummary:
    """Counts the ops, multiply-accumulates and parameters of a graph.

    >>> from onnx import TensorProto, helper
    >>> tensor = helper.make_tensor_value_info
    >>> x, y = tensor("x", TensorProto.FLOAT, [1, 3, 8, 8]), tensor("y", TensorProto.FLOAT, [1, 4, 8, 8])
    >>> weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 1, 1], [0.0] * 12)
    >>> conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    >>> summary = summarize_graph(helper.make_model(helper.make_graph([conv], "graph", [x], [y], [weight])))
    >>> summary.ops, summary.macs, summary.parameters  # 4 x 8 x 8 outputs, 3 products each
    ({'Conv': 1}, 768, 12)
    """
    shapes = tensor_shapes(model)
    macs_by_op: dict[str, int] = {}
    uncounted = []
    for node in all_nodes(model):
        if node.op_type in _MACS:
            macs = _MACS[node.op_type](node, shapes)
            if macs is None:
                uncounted.append(node.name or node.output[0])
            else:
                macs_by_op[node.op_type] = macs_by_op.get(node.op_type, 0) + macs
    weights = _weights(model)
    return GraphSummary(
        opset=opset_of(model),
        ops=dict(sorted(count_ops(model).items(), key=lambda item: (-item[1], item[0]))),
        macs=sum(macs_by_op.values()),
        macs_by_op=macs_by_op,
        parameters=sum(array.size for array in weights),
        parameter_bytes=sum(array.nbytes for array in weights),
        uncounted=tuple(uncounted),
    )


def count_macs(node: onnx.NodeProto, shapes: Shapes) -> int | None:
    """Multiply-accumulates of a node for a batch of one: 0 if it is no layer, None if its shapes are unknown."""
    return _MACS[node.op_type](node, shapes) if node.op_type in _MACS else 0


def _weights(model: onnx.ModelProto) -> list[np.ndarray]:
    """The weights: float initializers, and constants in other forms that a layer reads."""
    # The scales and the region of interest of a Resize are floats too, but not weights.
    control = {name for node in all_nodes(model) if node.op_type in ("Resize", "Upsample") for name in node.input[1:]}
    stored = [tensor for graph in all_graphs(model.graph) for tensor in graph.initializer]
    integers = {tensor.name for tensor in stored if tensor.data_type == onnx.TensorProto.INT64}
    names = {tensor.name for tensor in stored} - control - integers
    constants = known_values(model)
    through_identity = {
        node.output[0]: node.input[0] for node in all_nodes(model) if node.op_type == "Identity" and node.input
    }
    read = {name for node in all_nodes(model) if node.op_type in _LAYERS for name in node.input[1:]}
    names |= {
        through_identity.get(name, name) for name in read if name in constants and not _is_neutral(constants[name])
    }
    return [constants[name] for name in sorted(names)]


def _is_neutral(values: np.ndarray) -> bool:
    """Whether a norm without learned scale and bias has these, which the op requires: all one, or all zero."""
    return values.ndim == 1 and bool((values == 1).all() or (values == 0).all())


def _sizes(shape: tuple[int | None, ...] | None) -> list[int] | None:
    """The sizes of all axes; None if the shape is unknown or has a dynamic axis."""
    sizes = [axis for axis in shape or () if axis is not None]
    return sizes if shape is not None and len(sizes) == len(shape) else None


def _sample_sizes(shape: tuple[int | None, ...] | None) -> list[int] | None:
    """As `_sizes`, without the batch axis."""
    return None if shape is None else _sizes(shape[1:])


def _conv_macs(node: onnx.NodeProto, shapes: Shapes) -> int | None:
    output, weight = _sample_sizes(shapes.get(node.output[0])), _sizes(shapes.get(node.input[1]))
    if output is None or weight is None:
        return None
    return math.prod(output) * math.prod(weight[1:])  # the weight is (out, in / groups, *kernel)


def _transposed_macs(node: onnx.NodeProto, shapes: Shapes) -> int | None:
    source, weight = _sample_sizes(shapes.get(node.input[0])), _sizes(shapes.get(node.input[1]))
    if source is None or weight is None:
        return None
    return math.prod(source) * math.prod(weight[1:])  # the weight is (in, out / groups, *kernel)


def _product_macs(node: onnx.NodeProto, shapes: Shapes) -> int | None:
    output, left = _sample_sizes(shapes.get(node.output[0])), shapes.get(node.input[0])
    if output is None or not left or left[-1] is None:
        return None
    return math.prod(output) * left[-1]


_MACS: dict[str, Callable[[onnx.NodeProto, Shapes], int | None]] = {
    "Conv": _conv_macs,
    "ConvTranspose": _transposed_macs,
    "Gemm": _product_macs,
    "MatMul": _product_macs,
}
_LAYERS = frozenset({*_MACS, "BatchNormalization", "InstanceNormalization", "GroupNormalization", "PRelu"})
