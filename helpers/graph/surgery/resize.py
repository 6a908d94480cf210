"""Rewrites a 5-D nearest Resize as two 4-D ones, for compilers without a 5-D kernel."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from helpers.graph.surgery.base import GraphView, Replacement, Rewrite, SubgraphBuilder

_KEPT_ATTRIBUTES = ("mode", "nearest_mode", "coordinate_transformation_mode")


class Resize5DTo4D(Rewrite):
    """Splits a nearest Resize of (N, C, D, H, W) into one over (H, W) and one over D.

    Nearest-neighbour interpolation picks an index on each axis independently, so two steps pick the same voxels.
    Reshapes give the tensor four axes; their 0 copies the batch axis, which may therefore stay dynamic:

        (N, C, D, H, W) -> (N, C*D, H, W) -> (N, C*D, sH, sW) -> (N, C, D, sH*sW) -> (N, C, sD, sH*sW)
                        -> (N, C, sD, sH, sW)

    Works for any C, D, H, W and any integer scale per axis, read from inferred shapes and the node's own constants,
    and for the op's earlier forms: Resize of opset 10 and Upsample of opsets 7 to 9.
    """

    name = "resize_5d_to_4d"
    why = "Ascend 310's Resize takes no 5-D input"

    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """The five nodes that replace a 5-D nearest Resize with constant integer scales; else None."""
        if node.op_type not in ("Resize", "Upsample") or _mode(node) != "nearest":
            return None
        shape = view.shapes.get(node.input[0])
        if shape is None or len(shape) != 5:
            return None
        axes = [axis for axis in shape[1:] if axis is not None]
        scales = _integer_scales(node, axes, view)
        if scales is None or scales[:2] != (1, 1):
            return None
        (c, d, h, w), (sd, sh, sw) = axes, scales[2:]
        builder = SubgraphBuilder(node, view)
        tensor = _reshape(builder, node.input[0], "flat", (0, c * d, h, w))
        tensor = _resize(builder, node, tensor, "plane", (1, 1, sh, sw))
        tensor = _reshape(builder, tensor, "rows", (0, c, d, h * sh * w * sw))
        tensor = _resize(builder, node, tensor, "depth", (1, 1, sd, 1))
        _reshape(builder, tensor, "full", (0, c, d * sd, h * sh, w * sw), output=node.output[0])
        return builder.finish(f"({c}, {d}, {h}, {w}) × ({sd}, {sh}, {sw})")


def _reshape(
    builder: SubgraphBuilder, tensor: str, suffix: str, shape: tuple[int, ...], output: str | None = None
) -> str:
    target = builder.constant(f"{suffix}_shape", np.array(shape, dtype=np.int64))
    return builder.add("Reshape", [tensor, target], suffix, output)


def _resize(
    builder: SubgraphBuilder, original: onnx.NodeProto, tensor: str, suffix: str, scales: tuple[int, ...]
) -> str:
    kept = {
        each.name: helper.get_attribute_value(each) for each in original.attribute if each.name in _KEPT_ATTRIBUTES
    }
    form = _form(original)
    if form == "scales as attribute":
        return builder.add("Upsample", [tensor], suffix, scales=[float(scale) for scale in scales], **kept)
    factors = builder.constant(f"{suffix}_scales", np.array(scales, dtype=np.float32))
    if form == "scales as input 1":
        return builder.add(original.op_type, [tensor, factors], suffix, **kept)
    # Opset 11 requires a region-of-interest input even in modes that ignore it.
    roi = builder.constant(f"{suffix}_roi", np.array([], dtype=np.float32))
    return builder.add("Resize", [tensor, roi, factors], suffix, **kept)


def _form(node: onnx.NodeProto) -> str:
    """Where the scales are: in an attribute (Upsample 7), in input 1 (Upsample 9, Resize 10), or in input 2."""
    if len(node.input) == 1:
        return "scales as attribute"
    return "scales as input 1" if len(node.input) == 2 else "scales as input 2"


def _mode(node: onnx.NodeProto) -> str:
    for attribute in node.attribute:
        if attribute.name == "mode":
            return attribute.s.decode()
    return "nearest"


def _integer_scales(node: onnx.NodeProto, axes: list[int], view: GraphView) -> tuple[int, ...] | None:
    """The scale of every axis, batch included, from the scales or the sizes input.

    Args:
        node: the Resize.
        axes: the known sizes of the axes after the batch.
        view: the graph with its constants.

    Returns:
        None if an axis is dynamic or the scales are not constant integers.
    """
    if len(axes) != 4 or _changes_scales(node):
        return None
    inputs = [view.constants.get(name) if name else None for name in node.input]
    form = _form(node)
    sizes = inputs[3] if len(inputs) > 3 else None
    if form == "scales as attribute":
        scales = next((np.array(a.floats) for a in node.attribute if a.name == "scales"), None)
    else:
        scales = inputs[1 if form == "scales as input 1" else 2]
    if sizes is not None and sizes.size == 5:
        scales = np.array([1.0, *(size / axis for size, axis in zip(sizes[1:].tolist(), axes, strict=True))])
    if scales is None or scales.size != 5 or not np.array_equal(scales, np.round(scales)) or scales.min() < 1:
        return None
    return tuple(int(scale) for scale in scales)


def _changes_scales(node: onnx.NodeProto) -> bool:
    """Whether attributes of opset 18 give the scales another meaning: fewer axes, or a policy that adapts them."""
    policy = next((a.s.decode() for a in node.attribute if a.name == "keep_aspect_ratio_policy"), "stretch")
    return policy != "stretch" or any(a.name == "axes" for a in node.attribute)
