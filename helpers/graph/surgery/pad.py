"""Removes Pad nodes that pad nothing."""

from __future__ import annotations

import numpy as np
import onnx

from helpers.graph.read import all_graphs
from helpers.graph.surgery.base import GraphView, Replacement, Rewrite


class DropEmptyPad(Rewrite):
    """Removes a Pad whose constant pads are all zero; its consumers read its input instead.

    A U-Net that pads to the size of its skip connections has such nodes where the sizes agree already. The published
    script removes two nodes by their numbers in one particular export; this rewrite finds them in any graph.
    """

    name = "drop_empty_pad"
    why = "a Pad by zero only costs a copy on the device"

    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """Removes a Pad by zero, unless it writes the graph's output."""
        if node.op_type != "Pad":
            return None
        outputs = {value.name for graph in all_graphs(view.model.graph) for value in graph.output}
        pads = _pads(node, view)
        if pads is None or np.any(pads) or node.output[0] in outputs:
            return None
        return Replacement([], [], "all pads are zero", passes_on=node.input[0])


def _pads(node: onnx.NodeProto, view: GraphView) -> np.ndarray | None:
    # An attribute before opset 11.
    if len(node.input) > 1:
        return view.constants.get(node.input[1])
    return next((np.array(a.ints) for a in node.attribute if a.name == "pads"), None)
