"""Removes Pad nodes that pad nothing."""

from __future__ import annotations

import onnx

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
        if node.op_type != "Pad" or len(node.input) < 2:
            return None
        pads = view.constants.get(node.input[1])
        outputs = {value.name for value in view.model.graph.output}
        if pads is None or pads.any() or node.output[0] in outputs:
            return None
        return Replacement([], [], "all pads are zero", passes_on=node.input[0])
