"""Spells out the flattening of a Softmax from before opset 13, about which runtimes disagree."""

from __future__ import annotations

import onnx

from helpers.graph.read import opset_of
from helpers.graph.surgery.base import GraphView, Replacement, Rewrite, SubgraphBuilder

_OPS = ("Softmax", "LogSoftmax", "Hardmax")
_AXIS_OPSET = 13


class FlattenSoftmax(Rewrite):
    """Replaces a Softmax over flattened axes by Flatten, Softmax and Reshape.

    Before opset 13, `axis` is the first of the axes that are normalised *together*: over (N, C, H, W) with axis 1 the
    values of a whole sample add up to one. ONNX Runtime computes that; OpenVINO 2026.4 normalises over C alone. A
    matrix has one meaning for both. Exporters that mean C alone transpose it to the end first.
    """

    name = "flatten_softmax"
    why = "runtimes disagree about a Softmax of before opset 13 that is not over the last axis"

    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """Three nodes for a Softmax of before opset 13 over an axis that is not known to be the last; else None."""
        if node.op_type not in _OPS or opset_of(view.model) >= _AXIS_OPSET:
            return None
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = view.shapes.get(node.input[0])
        if shape is not None and axis in (-1, len(shape) - 1):
            return None
        if axis < 0 and opset_of(view.model) < 11:
            return None
        builder = SubgraphBuilder(node, view)
        sizes = builder.add("Shape", [node.input[0]], "sizes")
        flat = builder.add("Flatten", [node.input[0]], "matrix", axis=axis)
        scores = builder.add(node.op_type, [flat], "rows", axis=1)
        builder.add("Reshape", [scores, sizes], "restored", node.output[0])
        return builder.finish(f"over the axes from {axis} on, together")
