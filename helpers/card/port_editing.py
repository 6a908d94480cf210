"""Rewrites the ports of an ONNX model into the form that every stage expects; the rest is left as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from helpers.card.ports import PortForm, limits
from helpers.errors import GraphError, last_line
from helpers.graph.read import all_graphs, inner_graphs, load_graph, opset_of
from helpers.graph.spec import GraphSpec

_INTEGERS = (TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8, TensorProto.BOOL)
_COERCING, _SOFTMAX_OPSET = ("Softmax", "LogSoftmax", "Hardmax"), 13
_LARGEST_BYTES = 2_000_000_000


def write_in_form(path: Path, form: PortForm, spec: GraphSpec, target: Path) -> list[str]:
    """Writes the model with the ports of the cookbook, and returns what was changed, in words.

    Raises:
        GraphError: the operator set cannot be converted, or the model is too large for one file.
    """
    model, changes = load_graph(path), []
    if model.ByteSize() > _LARGEST_BYTES:
        raise GraphError("the model is too large", received=f"{model.ByteSize() / 1e9:.1f} GB", expected="below 2 GB")
    if (opset := opset_of(model)) != spec.opset:
        model = _convert_opset(model, spec.opset)
        changes.append(f"converted from opset {opset} to {spec.opset}")
    if widen_float16(model.graph):
        changes.append("its float16 numbers become float32: the precision is chosen when it is compiled")
    graph = _Editor(model.graph, opset_of(model))
    if len(model.graph.output) > 1:
        changes.append(f"only the output {form.output.name} is kept")
    if form.scores != form.output.name:
        changes.append("the final ArgMax is left out: labels are taken from the scores before it")
    graph.keep_only(form.scores)
    del model.graph.output[:]  # its shape is that of another tensor, if an ArgMax is left out
    graph.rename(form.scores, form.output.name)
    changes += _adapt_input(graph, form, spec)
    changes += _adapt_output(graph, form)
    del model.graph.value_info[:]
    graph.declare_ports(form, spec)
    onnx.save(model, str(target))
    return changes


def _convert_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    softmax = [node.name for node in model.graph.node if node.op_type in _COERCING]
    if softmax and opset < _SOFTMAX_OPSET <= opset_of(model):
        raise GraphError(
            f"the model cannot be converted from opset {opset_of(model)} to {opset}",
            received=f"{softmax[0] or 'Softmax'}, whose meaning changed in opset {_SOFTMAX_OPSET}",
            remedy=f"Use opset {_SOFTMAX_OPSET}, or leave the Softmax out: the labels stay the same.",
        )
    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception as error:
        raise GraphError(
            f"the model cannot be converted from opset {opset_of(model)} to {opset}",
            received=last_line(error),
            remedy="Export it again with that opset, or choose a target that takes its own.",
        ) from None


def _adapt_input(graph: _Editor, form: PortForm, spec: GraphSpec) -> list[str]:
    name, changes = form.input.name, []
    dtype = np.dtype(form.input.dtype)
    steps: list[tuple[str, list[str], dict]] = []
    if form.channels_last:
        perm = [0, *range(2, form.spatial + 2), 1]
        steps.append(("Transpose", [], {"perm": perm}))
        changes.append("a Transpose makes the input channels-first")
    if form.input.element != TensorProto.FLOAT:
        if dtype.kind in "iu":
            low, high = limits(dtype)
            if graph.opset < 11:
                steps.append(("Clip", [], {"min": low, "max": high}))
            else:
                steps.append(("Clip", [graph.constant(np.float32(low)), graph.constant(np.float32(high))], {}))
        steps.append(("Cast", [], {"to": form.input.element}))
        changes.append(f"a Cast makes the input float32 instead of {dtype}")
    if steps:
        inner = graph.fresh(f"{name}_in_file")
        graph.rename(name, inner)
        graph.insert_before(steps, name, inner)
    return changes


def _adapt_output(graph: _Editor, form: PortForm) -> list[str]:
    steps: list[tuple[str, list[str], dict]] = []
    changes: list[str] = []
    axes = form.spatial + 2
    rank = graph.rank_of(form.output.name)
    if form.batch_axis:
        count = rank or axes
        steps.append(
            ("Transpose", [], {"perm": [form.batch_axis, *(a for a in range(count) if a != form.batch_axis)]})
        )
        changes.append("a Transpose puts the batch first in the output")
    if rank == axes - 1:
        steps.append(graph.unsqueeze(1))
        changes.append("the output gets a channel axis")
    elif form.scores_last:
        steps.append(("Transpose", [], {"perm": [0, axes - 1, *range(1, axes - 1)]}))
        changes.append("a Transpose makes the output channels-first")
    if form.class_numbers:
        shape = (1, form.class_numbers, *(1,) * form.spatial)
        numbers = np.arange(form.class_numbers, dtype=np.int32).reshape(shape)
        steps += [("Cast", [], {"to": TensorProto.INT32}), ("Equal", [graph.constant(numbers)], {})]
        changes.append("class numbers become one channel of 0 and 1 per class")
    if form.class_numbers or form.output.element not in (TensorProto.FLOAT, *_INTEGERS):
        steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
    if steps:
        inner = graph.fresh(f"{form.output.name}_in_file")
        graph.rename(form.output.name, inner)
        graph.append_after(steps, inner, form.output.name)
    return changes


class _Editor:
    """Edits the nodes of a graph in place."""

    def __init__(self, graph: onnx.GraphProto, opset: int):
        self._graph, self.opset = graph, opset
        self._names = {name for node in _nodes(graph) for name in (*node.input, *node.output, node.name)}
        self._names |= {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}

    def fresh(self, name: str) -> str:
        """A name that the graph does not use yet."""
        candidate, number = name, 1
        while candidate in self._names:
            candidate, number = f"{name}_{number}", number + 1
        self._names.add(candidate)
        return candidate

    def constant(self, values: np.ndarray | np.generic) -> str:
        """Adds an initialiser and returns its name."""
        name = self.fresh("cookbook_constant")
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def unsqueeze(self, axis: int) -> tuple[str, list[str], dict]:
        """A step that adds an axis; its axes are an attribute before opset 13."""
        if self.opset < 13:
            return "Unsqueeze", [], {"axes": [axis]}
        return "Unsqueeze", [self.constant(np.array([axis], np.int64))], {}

    def rank_of(self, name: str) -> int | None:
        """Number of axes of a tensor, if shape inference finds it."""
        model = helper.make_model(self._graph, opset_imports=[helper.make_opsetid("", self.opset)])
        try:
            inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False).graph
        except Exception:
            inferred = self._graph
        for value in (*inferred.value_info, *inferred.output):
            if value.name == name and value.type.tensor_type.HasField("shape"):
                return len(value.type.tensor_type.shape.dim)
        return None

    def keep_only(self, output: str) -> None:
        """Removes every node and initialiser that an output does not need."""
        needed, kept = {output}, []
        for node in reversed(self._graph.node):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
                for part in (part for inner in inner_graphs(node) for part in all_graphs(inner)):
                    needed.update(name for inside in part.node for name in inside.input)
                    needed.update(value.name for value in part.output)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        held = [tensor for tensor in self._graph.initializer if tensor.name in needed]
        held = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in held]
        del self._graph.initializer[:]
        self._graph.initializer.extend(held)

    def rename(self, old: str, new: str) -> None:
        """Renames a tensor wherever it is made or used."""
        if old == new:
            return
        for node in _nodes(self._graph):
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        outputs = [value for part in all_graphs(self._graph) for value in part.output]
        for value in (*self._graph.value_info, *outputs):
            if value.name == old:
                value.name = new

    def insert_before(self, steps: list[tuple[str, list[str], dict]], source: str, target: str) -> None:
        """Puts a chain of nodes at the beginning."""
        nodes = self._chain(steps, source, target)
        rest = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self._graph.node]
        del self._graph.node[:]
        self._graph.node.extend([*nodes, *rest])

    def append_after(self, steps: list[tuple[str, list[str], dict]], source: str, target: str) -> None:
        """Puts a chain of nodes at the end."""
        self._graph.node.extend(self._chain(steps, source, target))

    def declare_ports(self, form: PortForm, spec: GraphSpec) -> None:
        """Declares the only input and the only output."""
        batch = "batch" if spec.dynamic_batch else spec.batch_size
        shape = [batch, *spec.input_shape]
        constants = {tensor.name for tensor in self._graph.initializer}
        del self._graph.input[:]
        del self._graph.output[:]
        self._graph.input.append(helper.make_tensor_value_info(form.input.name, TensorProto.FLOAT, shape))
        unknown: list[str | int | None] = [batch, *[None] * (form.spatial + 1)]
        self._graph.output.append(helper.make_tensor_value_info(form.output.name, TensorProto.FLOAT, unknown))
        if form.input.name in constants:
            raise GraphError(f"the model's input {form.input.name} is also a constant")

    def _chain(self, steps: list[tuple[str, list[str], dict]], source: str, target: str) -> list[onnx.NodeProto]:
        nodes = []
        for index, (op, extra, attributes) in enumerate(steps):
            made = target if index == len(steps) - 1 else self.fresh(f"{target}_{op.lower()}")
            name = self.fresh(f"cookbook_{op}")
            nodes.append(helper.make_node(op, [source, *extra], [made], name, **attributes))
            source = made
        return nodes


def widen_float16(graph: onnx.GraphProto) -> bool:
    """Makes float32 of every float16 tensor of a graph, in place; returns whether there was one.

    A runtime without float16 arithmetic rounds between some nodes and not between others, as it likes, so that a file
    with float16 inside has no exact output to compare with.
    """
    found = False
    for node in _nodes(graph):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i, found = TensorProto.FLOAT, True
            elif attribute.HasField("t"):
                found |= _widen(attribute.t)
    for part in all_graphs(graph):
        for tensor in part.initializer:
            found |= _widen(tensor)
        for value in (*part.input, *part.output):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type, found = TensorProto.FLOAT, True
        if found:
            del part.value_info[:]
    return found


def _widen(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT16:
        return False
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    return True


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of its branches and loops."""
    return (node for part in all_graphs(graph) for node in part.node)
