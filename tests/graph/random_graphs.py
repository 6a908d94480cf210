"""Random small segmentation graphs in two or three dimensions: encoder, skip connection, decoder; any opset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.graph.other_graphs import constant, value

# mode, coordinate transformation, nearest mode, whether sizes are given instead of scales
RESIZES = (
    ("nearest", "asymmetric", "floor", False),
    ("nearest", "half_pixel", "round_prefer_floor", False),
    ("nearest", "half_pixel", "round_prefer_ceil", False),
    ("nearest", "pytorch_half_pixel", "floor", False),
    ("nearest", "align_corners", "floor", False),
    ("nearest", "asymmetric", "ceil", False),
    ("nearest", "asymmetric", "floor", True),
    ("nearest", "half_pixel", "round_prefer_floor", True),
    ("linear", "half_pixel", "floor", False),
    ("linear", "align_corners", "floor", False),
    ("linear", "asymmetric", "floor", False),
    ("linear", "pytorch_half_pixel", "floor", True),
    ("cubic", "half_pixel", "floor", False),
)


@dataclass
class RandomGraph:
    """A graph under construction; every choice comes from one seed.

    Attributes:
        seed: of all choices.
        form: index in `RESIZES`; cubic interpolation exists in two dimensions only.
    """

    seed: int
    form: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        cubic = RESIZES[self.form][0] == "cubic"
        self.axes = 2 if cubic else int(self.random.integers(2, 4))
        self.opset = int(self.random.integers(11, 19))
        self.channels = int(self.random.integers(1, 4))
        self.size = tuple(int(side) for side in self.random.choice([8, 12, 16], self.axes))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.size)

    def build(self) -> onnx.ModelProto:
        width = 2 * int(self.random.integers(1, 4))
        skip = self.block("x", self.channels, width, first=True)
        deep = self.convolve(skip, width, 2 * width, stride=2)
        deep = self.block(deep, 2 * width, 2 * width)
        deep = self.upsample(deep, 2 * width)
        joined = self.add("Concat", [skip, deep], axis=1)
        joined = self.block(joined, 3 * width, width)
        classes = int(self.random.integers(1, 5))
        scores = self.convolve(joined, width, classes, kernel=1)
        ending = self.random.choice(["none", "Sigmoid", "Softmax"])
        if ending != "none":
            scores = self.add(ending, [scores], **({"axis": 1} if ending == "Softmax" else {}))
        self.nodes[-1].output[0] = "y"
        shapes = [["n", self.channels, *self.size], ["n", classes, *self.size]]
        graph = helper.make_graph(
            self.nodes, "random", [value("x", shapes[0])], [value("y", shapes[1])], self.initializers
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node without a name, with the name of another node, or with one that a rewrite would make up."""
        name = str(self.random.choice(["", "node", f"n{len(self.nodes)}", "up_plane", "node_mean"]))
        output = f"t{len(self.nodes)}" if self.random.random() < 0.8 else f"node_flat_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def constant(self, values: Any, dtype: type = np.float32) -> str:
        """Adds a constant: an initializer, a Constant node, or an Identity of one of them."""
        name = f"c{len(self.initializers)}_{len(self.nodes)}"
        tensor = constant(name, values, dtype)
        form = self.random.integers(4)
        if form in (0, 1):
            self.initializers.append(tensor)
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], "", value=tensor))
        if form in (0, 3):
            self.nodes.append(helper.make_node("Identity", [name], [f"{name}_i"], ""))
            return f"{name}_i"
        return name

    def block(self, tensor: str, channels_in: int, channels_out: int, *, first: bool = False) -> str:
        groups = 2 if channels_in % 2 == 0 and channels_out % 2 == 0 and self.random.random() < 0.4 else 1
        dilation = int(self.random.integers(1, 3))
        tensor = self.convolve(tensor, channels_in, channels_out, groups=1 if first else groups, dilation=dilation)
        tensor = self.norm(tensor, channels_out)
        residual = self.activate(tensor, channels_out)
        return self.add("Add", [residual, tensor]) if self.random.random() < 0.3 else residual

    def convolve(
        self,
        tensor: str,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> str:
        shape = (channels_out, channels_in // groups, *[kernel] * self.axes)
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        inputs = [tensor, self.constant(self.random.standard_normal(shape) * scale)]
        if self.random.random() < 0.7:
            inputs.append(self.constant(self.random.standard_normal(channels_out) * 0.1))
        pad = dilation * (kernel // 2)
        if kernel == 3 and self.random.random() < 0.2:
            pads = [0, 0, *[pad] * self.axes] * 2
            inputs[0] = self.add("Pad", [tensor, self.constant(pads, np.int64)])
            pad = 0
        return self.add(
            "Conv",
            inputs,
            pads=[pad] * 2 * self.axes,
            strides=[stride] * self.axes,
            dilations=[dilation] * self.axes,
            group=groups,
        )

    def norm(self, tensor: str, channels: int) -> str:
        kind = self.random.choice(["none", "batch", "instance"])
        if kind == "none":
            return tensor
        scale, bias = self.random.uniform(0.5, 1.5, channels), self.random.standard_normal(channels) * 0.2
        inputs = [tensor, self.constant(scale), self.constant(bias)]
        if kind == "instance":
            return self.add("InstanceNormalization", inputs, epsilon=1e-5)
        mean, variance = self.random.standard_normal(channels) * 0.1, self.random.uniform(0.5, 1.5, channels)
        return self.add("BatchNormalization", [*inputs, self.constant(mean), self.constant(variance)])

    def activate(self, tensor: str, channels: int) -> str:
        op = str(self.random.choice(["Relu", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "Softplus"]))
        if op == "PRelu":
            slope = self.random.uniform(0.05, 0.3, (channels, *[1] * self.axes))
            return self.add(op, [tensor, self.constant(slope)])
        return self.add(op, [tensor], **({"alpha": 0.1} if op == "LeakyRelu" else {}))

    def upsample(self, tensor: str, channels: int) -> str:
        if self.random.random() < 0.25:
            weight = self.random.standard_normal((channels, channels, *[2] * self.axes)) * 0.3
            return self.add("ConvTranspose", [tensor, self.constant(weight)], strides=[2] * self.axes)
        mode, coordinates, rounding, by_size = RESIZES[self.form]
        given = self.constant([1.0, 1.0, *[2.0] * self.axes])
        roi = "" if self.opset >= 13 else self.constant([])
        inputs = [tensor, roi, given]
        if by_size:  # the batch of a sizes input is fixed: the graph is run with one sample
            inputs = [tensor, roi, "" if self.opset >= 13 else self.constant([]), ""]
            inputs[3] = self.constant([1, channels, *self.size], np.int64)
        attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
        if mode == "nearest":
            attributes["nearest_mode"] = rounding
        return self.add("Resize", inputs, **attributes)
