"""A 5-D nearest Resize as two 4-D ones, for compilers whose Resize has no 5-D kernel."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from helpers.graph.surgery.base import GraphView, Replacement, Rewrite


class Resize5DTo4D(Rewrite):
    """Splits a nearest Resize of (N, C, D, H, W) into one over (H, W) and one over D.

    Nearest neighbour picks an index on each axis alone, so the two steps pick the same voxels. Between them the
    tensor is viewed with four axes; the batch axis is copied by Reshape's 0, so it may stay open:

        (N, C, D, H, W) -> (N, C*D, H, W) -> (N, C*D, sH, sW) -> (N, C, D, sH*sW) -> (N, C, sD, sH*sW)
                        -> (N, C, sD, sH, sW)

    Any C, D, H, W and any whole scale per axis, read from inferred shapes and the node's own constants.
    """

    name = "resize_5d_to_4d"
    why = "Ascend 310's Resize takes no 5-D input"

    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """The five nodes in place of a 5-D nearest Resize with whole constant scales; else None."""
        if node.op_type != "Resize" or _mode_of(node) != "nearest":
            return None
        shape = view.shapes.get(node.input[0])
        if shape is None or len(shape) != 5 or None in shape[1:]:
            return None
        scales = _whole_scales(node, shape, view)
        if scales is None or scales[:2] != (1, 1):
            return None
        _, c, d, h, w = shape
        _, _, sd, sh, sw = scales
        big_h, big_w = h * sh, w * sw
        return _Builder(node).build(
            flat=(0, c * d, h, w),
            plane_scales=(1, 1, sh, sw),
            rows=(0, c, d, big_h * big_w),
            depth_scales=(1, 1, sd, 1),
            full=(0, c, d * sd, big_h, big_w),
            description=f"({c}, {d}, {h}, {w}) × ({sd}, {sh}, {sw})",
        )


class _Builder:
    def __init__(self, node: onnx.NodeProto):
        self.node = node
        self.prefix = node.name or node.output[0]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def build(self, *, flat, plane_scales, rows, depth_scales, full, description: str) -> Replacement:
        tensor = self._reshape(self.node.input[0], "flat", flat)
        tensor = self._resize(tensor, "plane", plane_scales)
        tensor = self._reshape(tensor, "rows", rows)
        tensor = self._resize(tensor, "depth", depth_scales)
        self._reshape(tensor, "full", full, output=self.node.output[0])
        return Replacement(self.nodes, self.initializers, description)

    def _constant(self, suffix: str, values: np.ndarray) -> str:
        name = f"{self.prefix}_{suffix}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def _reshape(self, tensor: str, suffix: str, shape: tuple[int, ...], output: str | None = None) -> str:
        output = output or f"{self.prefix}_{suffix}_out"
        target = self._constant(f"{suffix}_shape", np.array(shape, dtype=np.int64))
        self.nodes.append(helper.make_node("Reshape", [tensor, target], [output], f"{self.prefix}_{suffix}"))
        return output

    def _resize(self, tensor: str, suffix: str, scales: tuple[int, ...]) -> str:
        output = f"{self.prefix}_{suffix}_out"
        # Opset 11 wants a region-of-interest input even where the mode ignores it.
        roi = self._constant(f"{suffix}_roi", np.array([], dtype=np.float32))
        factors = self._constant(f"{suffix}_scales", np.array(scales, dtype=np.float32))
        resize = helper.make_node("Resize", [tensor, roi, factors], [output], f"{self.prefix}_{suffix}")
        resize.attribute.extend(attribute for attribute in self.node.attribute if attribute.name in _KEPT)
        self.nodes.append(resize)
        return output


_KEPT = ("mode", "nearest_mode", "coordinate_transformation_mode")


def _mode_of(node: onnx.NodeProto) -> str:
    for attribute in node.attribute:
        if attribute.name == "mode":
            return attribute.s.decode()
    return "nearest"


def _whole_scales(node: onnx.NodeProto, shape: tuple, view: GraphView) -> tuple[int, ...] | None:
    """Whole factors per axis, from the scales or the sizes input; None where they are not constant or whole."""
    given = [view.constants.get(name) if name else None for name in node.input]
    scales = given[2] if len(given) > 2 else None
    sizes = given[3] if len(given) > 3 else None
    if sizes is not None and sizes.size == 5:
        pairs = zip(sizes[1:].tolist(), shape[1:], strict=True)
        scales = np.array([1.0, *(size / axis for size, axis in pairs)])
    if scales is None or scales.size != 5 or not np.array_equal(scales, np.round(scales)) or scales.min() < 1:
        return None
    return tuple(int(scale) for scale in scales)
