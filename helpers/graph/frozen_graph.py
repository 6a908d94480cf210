"""Converts a frozen graph of TensorFlow 1 to ONNX, without TensorFlow.

It reads the few kinds of nodes that a convolutional network of that time consists of, and refuses others by name.
Channels stay last, as in the file; a model card says so (`layout: channels_last`).

The messages are those of tensorflow/core/framework (graph.proto, node_def.proto, attr_value.proto, tensor.proto), as
far as they are needed here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from onnx import TensorProto, helper, numpy_helper

from helpers.errors import GraphError

OPSET = 13
_FLOAT, _INT32, _BOOL, _INT64 = 1, 3, 10, 9  # TensorFlow's numbers of element types
_DTYPES = {_FLOAT: np.float32, _INT32: np.int32, _INT64: np.int64}

# Message -> field -> (number, type, repeated). A type that is not a scalar names another message.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Graph": {"node": (1, "Node", True)},
    "Node": {"name": (1, "string", False), "op": (2, "string", False), "input": (3, "string", True),
             "attr": (5, "Entry", True)},
    "Entry": {"key": (1, "string", False), "value": (2, "Value", False)},
    "Value": {"list": (1, "List", False), "s": (2, "bytes", False), "i": (3, "int64", False),
              "f": (4, "float", False), "type": (6, "int32", False), "shape": (7, "Shape", False),
              "tensor": (8, "Tensor", False)},
    "List": {"i": (3, "int64", True)},
    "Tensor": {"dtype": (1, "int32", False), "shape": (2, "Shape", False), "content": (4, "bytes", False),
               "floats": (5, "float", True), "ints": (7, "int32", True)},
    "Shape": {"dim": (2, "Dim", True)},
    "Dim": {"size": (1, "int64", False)},
}  # fmt: skip


@dataclass(frozen=True)
class TfNode:
    """A node: `inputs` are names of nodes, `attributes` messages of TensorFlow's AttrValue."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


def convert_frozen_graph(source: Path, target: Path, *, output: str, shape: Sequence[int | None]) -> list[str]:
    """Writes the part of a frozen graph that an output needs as ONNX.

    Args:
        source: the `.pb` file.
        target: the `.onnx` file to write.
        output: name of the node that becomes the output.
        shape: of the input, channels last, such as (None, 128, 128, 128, 1); None is an axis of any length.

    Returns:
        The kinds of nodes that were converted.

    Raises:
        GraphError: the file is not a frozen graph, has no such node, or has a kind of node that is not supported.
    """
    nodes = {node.name: node for node in read_frozen_graph(source)}
    if output not in nodes:
        raise GraphError(f"{source.name} has no node {output!r}", expected=f"one of {', '.join(list(nodes)[-8:])}")
    writer = _Writer(nodes, tuple(shape))
    writer.convert(output)
    if writer.input is None:
        raise GraphError(f"{output} of {source.name} does not depend on an image")
    onnx.save(writer.model(output), str(target))
    return sorted(writer.kinds)


def read_frozen_graph(path: Path) -> list[TfNode]:
    """The nodes of a frozen graph, in the file's order.

    Raises:
        GraphError: the file is not one.
    """
    graph = _message("Graph")()
    try:
        graph.ParseFromString(path.read_bytes())
    except Exception as error:
        raise GraphError(f"{path} is not a frozen graph of TensorFlow", received=type(error).__name__) from None
    if not graph.node or not all(node.name and node.op for node in graph.node):
        raise GraphError(f"{path} is not a frozen graph of TensorFlow", received="no nodes")
    return [
        TfNode(
            node.name, node.op, tuple(map(_node_name, node.input)), {entry.key: entry.value for entry in node.attr}
        )
        for node in graph.node
    ]


def _node_name(text: str) -> str:
    """The node that an input names: without the number of its output, or the mark of a control dependency."""
    return text.partition(":")[0].removeprefix("^")


@functools.cache
def _message(name: str) -> Any:
    """The class of a message, built from the table above."""
    file = descriptor_pb2.FileDescriptorProto(name="frozen_graph.proto", package="frozen_graph", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for key, (number, kind, repeated) in fields.items():
            label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
            made = described.field.add(name=key, number=number, label=label)
            if kind in _MESSAGES:
                made.type, made.type_name = types.TYPE_MESSAGE, f".frozen_graph.{kind}"
            else:
                made.type = types.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"frozen_graph.{name}"))


def tensor_values(tensor: Any) -> np.ndarray:
    """The values of a constant; a short list is filled up with its last value, as TensorFlow does.

    Raises:
        GraphError: an element type that no convolution needs.
    """
    if tensor.dtype not in _DTYPES:
        raise GraphError("the frozen graph has a constant of an unsupported type", received=f"type {tensor.dtype}")
    dtype, shape = _DTYPES[tensor.dtype], tuple(dim.size for dim in tensor.shape.dim)
    if tensor.content:
        return np.frombuffer(tensor.content, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)
    values = np.array(list(tensor.floats or tensor.ints) or [0], dtype)
    filled = np.full(int(np.prod(shape)), values[-1], dtype)
    filled[: len(values)] = values
    return filled.reshape(shape)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding along one axis: the output has size / stride positions, rounded up; more at the end.

    >>> same_padding(128, 3, 1), same_padding(128, 2, 2), same_padding(7, 3, 2), same_padding(128, 3, 2)
    ((1, 1), (0, 0), (1, 1), (0, 1))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@dataclass
class _Writer:
    """Converts nodes on demand; `made` maps a node to the tensor that holds its value, channels first."""

    nodes: Mapping[str, TfNode]
    shape: tuple[int | None, ...]
    made: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    graph: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    input: str | None = None

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.shape) - 2

    def convert(self, name: str) -> str:
        """The tensor of a node, converted with everything that it needs."""
        waiting = [(name, False)]
        while waiting:  # without recursion: a network may be deeper than Python's stack
            current, ready = waiting.pop()
            if current in self.made:
                continue
            if ready:
                self.made[current] = self._convert_node(self._node(current))
            else:
                waiting += [(current, True), *((item, False) for item in self._needs(current))]
        return self.made[name]

    def _needs(self, name: str) -> Sequence[str]:
        node = self._node(name)
        if node.op == "Merge":
            return [self.branch_of_inference(node)]
        if node.op == "ConcatV2":
            return list(node.inputs[:-1])
        if node.op.endswith(("BackpropInput", "BackpropInputV2")):
            return [node.inputs[2]]
        return list(node.inputs[:1]) if not node.op.startswith("Placeholder") else []

    def _node(self, name: str) -> TfNode:
        if name not in self.nodes:
            raise GraphError(f"the frozen graph has no node {name!r}")
        return self.nodes[name]

    def _convert_node(self, node: TfNode) -> str:
        if node.op not in _CONVERTERS:
            raise GraphError(
                f"node {node.name} of the frozen graph is not supported",
                received=node.op,
                expected=f"one of {', '.join(sorted(_CONVERTERS))}",
            )
        self.kinds.add(node.op)
        return _CONVERTERS[node.op](self, node)

    def constant_of(self, name: str) -> np.ndarray:
        """The value of a constant node, also behind Identity.

        Raises:
            GraphError: it is computed.
        """
        node = self._node(name)
        while node.op == "Identity":
            node = self._node(node.inputs[0])
        if node.op != "Const":
            raise GraphError(f"node {name} of the frozen graph is computed", received=node.op, expected="a constant")
        return tensor_values(node.attributes["value"].tensor)

    def branch_of_inference(self, node: TfNode) -> str:
        """The branch of a dropout that passes its input on.

        Raises:
            GraphError: the node merges other branches.
        """
        for name in node.inputs:
            branch = self._node(name)
            while branch.op == "Identity":
                branch = self._node(branch.inputs[0])
            if branch.op == "Switch":
                return branch.inputs[0]
        raise GraphError(f"node {node.name} of the frozen graph is not a dropout", received=", ".join(node.inputs))

    def add_constant(self, name: str, values: np.ndarray) -> str:
        """Adds an initialiser and returns its name."""
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def add(self, op: str, node: TfNode, inputs: Sequence[str], size: tuple[int, ...], **attributes: Any) -> str:
        """Adds a node of ONNX and returns its output, of a spatial size."""
        self.graph.append(helper.make_node(op, list(inputs), [node.name], node.name, **attributes))
        self.sizes[node.name] = size
        return node.name

    def size_of(self, name: str) -> tuple[int, ...]:
        """Spatial size of a converted node."""
        return self.sizes[self.made[name]]

    def model(self, output: str) -> onnx.ModelProto:
        """The whole model, with channels last at both ports."""
        last = self.axes + 1
        inward = helper.make_node(
            "Transpose", [f"{self.input}_last"], [str(self.input)], "to_first", perm=[0, last, *range(1, last)]
        )
        outward = helper.make_node(
            "Transpose", [self.made[output]], ["scores"], "to_last", perm=[0, *range(2, last + 1), 1]
        )
        batch = self.shape[0] if self.shape[0] is not None else "batch"
        image = helper.make_tensor_value_info(f"{self.input}_last", TensorProto.FLOAT, [batch, *self.shape[1:]])
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, *[None] * (self.axes + 1)])
        held = [numpy_helper.from_array(values, name) for name, values in self.constants.items()]
        graph = helper.make_graph([inward, *self.graph, outward], "frozen_graph", [image], [scores], held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model


def _placeholder(writer: _Writer, node: TfNode) -> str:
    if writer.input not in (None, node.name):
        raise GraphError("the frozen graph has further inputs", received=node.name, expected=str(writer.input))
    writer.input = node.name
    sizes = writer.shape[1:-1]
    if None in sizes:
        raise GraphError(
            "SAME padding depends on the size of the input", received=writer.shape, expected="a fixed size"
        )
    writer.sizes[node.name] = tuple(size for size in sizes if size is not None)
    return node.name


def _same(writer: _Writer, node: TfNode) -> str:
    return writer.made[node.inputs[0]]


def _merge(writer: _Writer, node: TfNode) -> str:
    return writer.made[writer.branch_of_inference(node)]


def _convolution(writer: _Writer, node: TfNode) -> str:
    kernel = writer.constant_of(node.inputs[1])
    source, strides, dilations = node.inputs[0], _spatial(node, "strides"), _spatial(node, "dilations")
    reach = [(length - 1) * step + 1 for length, step in zip(kernel.shape, dilations, strict=False)]
    pads, size = _pads(node, writer.size_of(source), reach, strides)
    axes = writer.axes
    weights = kernel.transpose(axes + 1, axes, *range(axes))  # (..., in, out) to (out, in, ...)
    inputs = [writer.made[source], writer.add_constant(f"{node.name}/kernel", weights)]
    return writer.add("Conv", node, inputs, size, pads=pads, strides=strides, dilations=dilations)


def _transposed_convolution(writer: _Writer, node: TfNode) -> str:
    kernel, source, strides = writer.constant_of(node.inputs[1]), node.inputs[2], _spatial(node, "strides")
    if any(step != 1 for step in _spatial(node, "dilations")):
        raise GraphError(f"node {node.name} of the frozen graph is not supported", received="dilated and transposed")
    have = writer.size_of(source)
    if _text(node, "padding") == "SAME":
        size = tuple(length * step for length, step in zip(have, strides, strict=True))
    else:
        sides = zip(have, strides, kernel.shape, strict=False)
        size = tuple((length - 1) * step + side for length, step, side in sides)
    # It is the gradient of the convolution that would make `have` from `size`, and takes that convolution's padding.
    pads, _ = _pads(node, size, kernel.shape[: writer.axes], strides)
    axes = writer.axes
    weights = kernel.transpose(axes + 1, axes, *range(axes))  # (..., out, in) to (in, out, ...)
    inputs = [writer.made[source], writer.add_constant(f"{node.name}/kernel", weights)]
    return writer.add("ConvTranspose", node, inputs, size, pads=pads, strides=strides)


def _pool(writer: _Writer, node: TfNode) -> str:
    source, window, strides = node.inputs[0], _spatial(node, "ksize"), _spatial(node, "strides")
    pads, size = _pads(node, writer.size_of(source), window, strides)
    op, more = ("MaxPool", {}) if node.op.startswith("Max") else ("AveragePool", {"count_include_pad": 0})
    inputs = [writer.made[source]]
    return writer.add(op, node, inputs, size, kernel_shape=window, pads=pads, strides=strides, **more)


def _bias(writer: _Writer, node: TfNode) -> str:
    values = writer.constant_of(node.inputs[1])
    bias = writer.add_constant(f"{node.name}/bias", values.reshape(-1, *(1,) * writer.axes))
    source = node.inputs[0]
    return writer.add("Add", node, [writer.made[source], bias], writer.size_of(source))


def _concat(writer: _Writer, node: TfNode) -> str:
    axis, last = int(writer.constant_of(node.inputs[-1])), writer.axes + 1
    if axis not in (-1, last):
        raise GraphError(f"node {node.name} of the frozen graph is not supported", received=f"Concat along {axis}")
    parts = node.inputs[:-1]
    return writer.add("Concat", node, [writer.made[part] for part in parts], writer.size_of(parts[0]), axis=1)


def _activation(writer: _Writer, node: TfNode) -> str:
    attributes = {"axis": 1} if node.op == "Softmax" else {}
    source = node.inputs[0]
    return writer.add(node.op, node, [writer.made[source]], writer.size_of(source), **attributes)


_CONVERTERS: dict[str, Callable[[_Writer, TfNode], str]] = {
    "Placeholder": _placeholder,
    "PlaceholderWithDefault": _placeholder,
    "Identity": _same,
    "Switch": _same,
    "Merge": _merge,
    "BiasAdd": _bias,
    "ConcatV2": _concat,
    **dict.fromkeys(("Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _transposed_convolution),
    **dict.fromkeys(("MaxPool", "MaxPool3D", "AvgPool", "AvgPool3D"), _pool),
    **dict.fromkeys(("Relu", "Sigmoid", "Softmax", "Tanh"), _activation),
}


def _pads(
    node: TfNode, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], tuple[int, ...]]:
    """ONNX's pads (all at the beginning, then all at the end), and the size of the output."""
    sides = list(zip(size, kernel, strides, strict=True))
    if _text(node, "padding") == "SAME":
        pairs = [same_padding(*side) for side in sides]
        return [before for before, _ in pairs] + [after for _, after in pairs], tuple(-(-n // s) for n, _, s in sides)
    return [0] * (2 * len(sides)), tuple((n - k) // s + 1 for n, k, s in sides)


def _spatial(node: TfNode, name: str) -> list[int]:
    """The spatial part of an attribute such as strides, whose channels are last."""
    layout = _text(node, "data_format")
    if layout not in ("NHWC", "NDHWC"):
        raise GraphError(f"node {node.name} of the frozen graph is not supported", received=f"layout {layout}")
    return list(node.attributes[name].list.i)[1:-1] if name in node.attributes else [1] * (len(layout) - 2)


def _text(node: TfNode, name: str) -> str:
    return node.attributes[name].s.decode() if name in node.attributes else "NHWC"
