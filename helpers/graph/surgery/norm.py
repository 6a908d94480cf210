"""Rewrites InstanceNormalization with means that are taken axis by axis, which preserves precision in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx

from helpers.graph.read import opset_of
from helpers.graph.surgery.base import GraphView, Replacement, Rewrite, SubgraphBuilder

# A plain float32 sum of fewer values is accurate enough.
_MINIMUM_VALUES = 4096
_DEFAULT_EPSILON = 1e-5


class AxiswiseInstanceNorm(Rewrite):
    """Replaces a large InstanceNormalization with explicit means that are reduced one axis at a time.

    The formula is that of the op, (x - mean) / sqrt(variance + epsilon) * scale + bias per sample and channel, but
    the mean over (D, H, W) becomes a mean over W, a sum over H, a mean over D, and a constant factor.

    ONNX Runtime and OpenVINO add up all values of a channel in one float32 accumulator. In a window that is mostly
    constant air, every addition rounds in the same direction, and the error grows with the number of voxels: on a
    real brain window the scores were off by up to 2e-3 of their range. Axis by axis all sums are short, and the error
    was 8e-7, for about 25 % more CPU time. Means and sums alternate because runtimes fuse two equal reductions in a
    row back into one long reduction.

    The rewrite is used only with float32 arithmetic. In bf16 and int8, runtimes compute an InstanceNormalization in
    float32 but round the results of separate nodes (three times the error in bf16, twice in int8, at half the speed).
    """

    name = "axiswise_instance_norm"
    why = "a long float32 sum over mostly constant values loses digits"
    tolerance = 1e-3
    precisions = frozenset({"f32", "f16_weights"})

    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """The nodes that replace an InstanceNormalization of known, large spatial size; else None."""
        if node.op_type != "InstanceNormalization":
            return None
        shape = view.shapes.get(node.input[0])
        scale, bias = (view.constants.get(name) for name in node.input[1:3])
        if shape is None or len(shape) < 4 or scale is None or bias is None:
            return None
        sizes = [size for size in shape[2:] if size is not None]
        if len(sizes) < len(shape) - 2 or math.prod(sizes) < _MINIMUM_VALUES:
            return None
        return _AxiswiseNorm(node, sizes, view).build(scale, bias)


class _AxiswiseNorm:
    """The nodes for one norm over spatial axes of the given sizes."""

    def __init__(self, node: onnx.NodeProto, sizes: Sequence[int], view: GraphView):
        self._node, self._sizes, self._opset = node, sizes, opset_of(view.model)
        self._builder = SubgraphBuilder(node, view)

    def build(self, scale: np.ndarray, bias: np.ndarray) -> Replacement:
        add, constant = self._builder.add, self._builder.constant
        epsilon = next((a.f for a in self._node.attribute if a.name == "epsilon"), _DEFAULT_EPSILON)
        source, result = self._node.input[0], self._node.output[0]
        centred = add("Sub", [source, self._mean(source, "mean")], "centred")
        square = add("Mul", [centred, centred], "square")
        variance = self._mean(square, "variance")
        shifted = add("Add", [variance, constant("epsilon", np.array(epsilon, np.float32))], "shifted")
        deviation = add("Sqrt", [shifted], "deviation")
        if (scale == 1).all() and (bias == 0).all():
            add("Div", [centred, deviation], "plain", result)
        else:
            plain = add("Div", [centred, deviation], "plain")
            per_channel = (1, -1, *(1 for _ in self._sizes))
            scaled = add("Mul", [plain, constant("scale", scale.reshape(per_channel))], "scaled")
            add("Add", [scaled, constant("bias", bias.reshape(per_channel))], "biased", result)
        return self._builder.finish(f"means over {tuple(self._sizes)} axis by axis")

    def _mean(self, tensor: str, suffix: str) -> str:
        """The mean over all spatial axes, from the last to the first, as alternating means and sums."""
        factor = 1.0
        for turn, (axis, size) in enumerate(reversed(list(enumerate(self._sizes, start=2)))):
            op = "ReduceSum" if turn % 2 else "ReduceMean"
            factor /= size if turn % 2 else 1
            tensor = self._reduce(op, tensor, axis, f"{suffix}_{axis}")
        factor_name = self._builder.constant(f"{suffix}_factor", np.array(factor, np.float32))
        return self._builder.add("Mul", [tensor, factor_name], suffix)

    def _reduce(self, op: str, tensor: str, axis: int, suffix: str) -> str:
        # The axes became an input with opset 13 for sums and opset 18 for means.
        if self._opset >= (13 if op == "ReduceSum" else 18):
            axes = self._builder.constant(f"{suffix}_axes", np.array([axis], np.int64))
            return self._builder.add(op, [tensor, axes], suffix, keepdims=1)
        return self._builder.add(op, [tensor], suffix, axes=[axis], keepdims=1)
