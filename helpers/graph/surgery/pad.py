"""Removes Pad nodes that pad nothing."""

from __future__ import annotations

import onnx

from helpers.graph.surgery.base import GraphView, Replacement, Rewrite


class DropEmptyPad(Rewrite):
    """Removes a Pad whose constant pads are all zero; its consumers read its input.

    A U-Net that pads to the size of its skips has such nodes wherever the sizes agree. The published script removes
    two of them by their numbers in one particular export; this rewrite finds them in any.
    """

    name = "drop_empty_pad"
    why = "a Pad by zero only costs a copy on the device"

    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """Nothing in place of a Pad by zero; a Pad that writes the graph's output stays."""
        if node.op_type != "Pad" or len(node.input) < 2:
            return None
        pads = view.constants.get(node.input[1])
        outputs = {value.name for value in view.model.graph.output}
        if pads is None or pads.any() or node.output[0] in outputs:
            return None
        return Replacement([], [], "all pads are zero", passes_on=node.input[0])
