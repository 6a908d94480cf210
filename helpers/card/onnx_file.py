"""Reads what an ONNX file says about itself, and rewrites its ports into the form that every stage expects.

That form is one float32 input (N, C, ...) and one float32 output (N, channels, ...) of scores. Whatever lies between
the ports is left as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from helpers.errors import GraphError, ParameterError, last_line
from helpers.graph.read import load_graph, open_reference, opset_of
from helpers.graph.spec import GraphSpec

# Ops that pass the values of the class scores on.
_PASSING = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Transpose")
_RESIZING = ("Resize", "Upsample", "Slice")
_INTEGERS = (TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8, TensorProto.BOOL)
_COERCING, _SOFTMAX_OPSET = ("Softmax", "LogSoftmax", "Hardmax"), 13
_LARGEST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Port:
    """An input or output: its name, element type (a number of ONNX) and shape; an axis of any length is None."""

    name: str
    element: int
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} ({axes}) {self.dtype}"

    @property
    def dtype(self) -> str:
        """The name of its element type in NumPy."""
        return str(helper.tensor_dtype_to_np_dtype(self.element))


@dataclass(frozen=True)
class OnnxFacts:
    """What a file says about itself.

    Attributes:
        opset: its default operator set.
        inputs: without the initialisers.
        outputs: in order.
        endings: output to the op that makes its values, such as Softmax; Reshape, Cast and the like are skipped.
        domains: operator sets other than the default one that its nodes use.
    """

    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    endings: Mapping[str, str]
    domains: tuple[str, ...]

    def choose_input(self, name: str | None) -> Port:
        """The only input.

        Raises:
            ParameterError: there are several, or none has this name.
        """
        found = _choose("input", self.inputs, name)
        others = [str(port) for port in self.inputs if port is not found]
        if others:
            raise ParameterError(
                "the model has further inputs",
                received=", ".join(others),
                expected="an image as the only input",
                remedy="Make them constants when you export it.",
            )
        return found

    def choose_output(self, name: str | int | None) -> Port:
        """The output of a name or a position, or the first.

        Raises:
            ParameterError: there is none of that name.
        """
        if isinstance(name, int):
            if not 0 <= name < len(self.outputs):
                raise ParameterError("no such output", received=name, expected=f"0 to {len(self.outputs) - 1}")
            return self.outputs[name]
        return _choose("output", self.outputs, name)


def _choose(kind: str, ports: tuple[Port, ...], name: str | None) -> Port:
    if not ports:
        raise GraphError(f"the model has no {kind}")
    named = [port for port in ports if port.name == name]
    if name is not None and not named:
        known = ", ".join(port.name for port in ports)
        raise ParameterError(f"the model has no {kind} {name!r}", expected=known)
    return (named or list(ports))[0]


def read_facts(path: Path) -> OnnxFacts:
    """The facts of an ONNX file; a file that did not change is read once.

    Raises:
        GraphError: the file is not an ONNX model, or has a port that is not a tensor.
    """
    status = path.stat()
    return _read_facts(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _read_facts(path: Path, _changed: int, _size: int) -> OnnxFacts:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise GraphError(f"{path} is not an ONNX model", received=type(error).__name__) from None
    if not model.graph.node:
        raise GraphError(f"{path} is not an ONNX model", received="no nodes")
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_port(value) for value in model.graph.input if value.name not in constants)
    outputs = tuple(_port(value) for value in model.graph.output)
    endings = {port.name: _ending(model.graph, port.name) for port in outputs}
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    return OnnxFacts(opset_of(model), inputs, outputs, endings, tuple(sorted(domains)))


def widen_float16(graph: onnx.GraphProto) -> bool:
    """Makes float32 of every float16 tensor of a graph, in place; returns whether there was one.

    A runtime without float16 arithmetic rounds between some nodes and not between others, as it likes, so that a file
    with float16 inside has no exact output to compare with.
    """
    found = False
    for node in _all_nodes(graph):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i, found = TensorProto.FLOAT, True
            elif attribute.HasField("t"):
                found |= _widen(attribute.t)
    for part in (graph, *_branches(graph)):
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


def run_unchanged(path: Path, form: PortForm, batch: np.ndarray) -> np.ndarray | None:
    """The scores of a file with float16 inside as it is; None for other files."""
    model = load_graph(path)
    if not widen_float16(model.graph):
        return None
    return FileRunner(path, form, widen=False).scores(batch)


def _port(value: onnx.ValueInfoProto) -> Port:
    if not value.type.HasField("tensor_type"):
        raise GraphError(f"port {value.name} of the model is not a tensor", received=value.type.WhichOneof("value"))
    tensor = value.type.tensor_type
    element = TensorProto.FLOAT if tensor.elem_type == TensorProto.FLOAT16 else tensor.elem_type
    if not tensor.HasField("shape"):
        return Port(value.name, element, None)
    return Port(value.name, element, tuple(axis.dim_value or None for axis in _known(tensor.shape.dim)))


def _known(axes: Iterable[onnx.TensorShapeProto.Dimension]) -> list[onnx.TensorShapeProto.Dimension]:
    # Some exporters write a length of -1 for an axis of any length.
    return [axis if axis.dim_value >= 0 else onnx.TensorShapeProto.Dimension() for axis in axes]


def _ending(graph: onnx.GraphProto, name: str) -> str:
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in (*_PASSING, *_RESIZING):
        node = producers.get(node.input[0])
    return "" if node is None else node.op_type


@dataclass(frozen=True)
class PortForm:
    """How the ports of a file differ from those of the cookbook, and how one becomes the other.

    Attributes:
        input: of the file.
        output: of the file.
        scores: the tensor whose values are the scores: the output, or the input of a final ArgMax.
        spatial: number of spatial axes.
        channels_last: whether the file's input and output are (N, ..., C).
        scores_last: whether the classes are the last axis of the scores.
        batch_axis: of the output.
        class_numbers: number of classes, if the output has class numbers and no ArgMax makes them; else 0.
    """

    input: Port
    output: Port
    scores: str
    spatial: int
    channels_last: bool
    scores_last: bool
    batch_axis: int
    class_numbers: int = 0

    def to_file(self, batch: np.ndarray) -> np.ndarray:
        """A batch (N, C, ...) float32 as the file's input takes it."""
        dtype = np.dtype(self.input.dtype)
        if self.channels_last:
            batch = np.moveaxis(batch, 1, -1)
        if dtype.kind in "iu":
            batch = np.clip(batch, *_limits(dtype))
        return np.ascontiguousarray(batch, dtype)

    def from_file(self, scores: np.ndarray) -> np.ndarray:
        """Scores (N, channels, ...) float32 from the file's own."""
        if self.batch_axis:
            scores = np.moveaxis(scores, self.batch_axis, 0)
        if scores.ndim == self.spatial + 1:
            scores = scores[:, None]
        elif self.scores_last:
            scores = np.moveaxis(scores, -1, 1)
        if self.class_numbers:
            shape = (1, self.class_numbers, *(1,) * self.spatial)
            scores = scores.astype(np.int32) == np.arange(self.class_numbers, dtype=np.int32).reshape(shape)
        return np.ascontiguousarray(scores, np.float32)


def _limits(dtype: np.dtype) -> tuple[float, float]:
    # An exact float32 on both sides: 2 ** 31 - 1 is none.
    info = np.iinfo(dtype)
    return float(max(info.min, -(2**24))), float(min(info.max, 2**24))


def find_form(
    path: Path,
    spatial: int,
    output: str | int | None,
    *,
    name: str | None,
    channels_last: bool,
    batch_axis: int,
    classes: int,
) -> PortForm:
    """The form of a file's ports.

    Args:
        path: of the file.
        spatial: number of spatial axes.
        output, name: the output and the input to use.
        channels_last, batch_axis: as the card says.
        classes: number of classes, if the output is a label map; else 0.

    Raises:
        GraphError: a port has another number of axes.
    """
    facts = read_facts(path)
    source, target = facts.choose_input(name), facts.choose_output(output)
    if source.shape is not None and len(source.shape) != spatial + 2:
        raise GraphError(
            f"the model's input {source.name} has {len(source.shape)} axes",
            received=str(source),
            expected=f"{spatial + 2}: batch, channels and {spatial} of the image",
            remedy="Set data.kind and preparation.size to the model's.",
        )
    plain = PortForm(source, target, target.name, spatial, channels_last, channels_last, batch_axis)
    return _before_argmax(path, plain, classes) if classes else plain


def _before_argmax(path: Path, form: PortForm, classes: int) -> PortForm:
    """The form with the scores before the final ArgMax; without one, with one channel per class number."""
    found = _argmax_before(onnx.load(str(path), load_external_data=False).graph, form.output.name)
    axis = next((entry.i for entry in found.attribute if entry.name == "axis"), 0) if found else None
    if found is None or axis not in (1, -1, form.spatial + 1):
        return replace(form, class_numbers=classes)
    return replace(form, scores=found.input[0], scores_last=axis != 1, batch_axis=0)


def _argmax_before(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in _PASSING:
        node = producers.get(node.input[0])
    return node if node is not None and node.op_type == "ArgMax" else None


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
            low, high = _limits(dtype)
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
        self._names = {name for node in _all_nodes(graph) for name in (*node.input, *node.output, node.name)}
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
                needed.update(name for inner in _all_nodes(node) for name in inner.input)
                needed.update(value.name for branch in _branches(node) for value in branch.output)
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
        for node in _all_nodes(self._graph):
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        branches = [value for branch in _branches(self._graph) for value in branch.output]
        for value in (*self._graph.value_info, *self._graph.output, *branches):
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


def _all_nodes(part: onnx.GraphProto | onnx.NodeProto) -> Iterable[onnx.NodeProto]:
    """The nodes of a graph, or a node itself, with those of their branches and loops."""
    nodes = [part] if isinstance(part, onnx.NodeProto) else part.node
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for branch in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _all_nodes(branch)


def _branches(part: onnx.GraphProto | onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    """The graphs of the branches and loops in a graph or a node."""
    for node in _all_nodes(part):
        for attribute in node.attribute:
            yield from [attribute.g] if attribute.HasField("g") else attribute.graphs


class FileRunner:
    """Runs a file as it is in ONNX Runtime, with its input and scores in the form of the cookbook.

    Args:
        path: of the file.
        form: of its ports.
        widen: whether its float16 tensors become float32.
    """

    def __init__(self, path: Path, form: PortForm, *, widen: bool = True):
        model = load_graph(path)
        dtypes = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        self._is_half = not widen and dtypes[form.input.name] == TensorProto.FLOAT16
        if widen:
            widen_float16(model.graph)
        if form.scores != form.output.name:
            model.graph.output.append(helper.make_empty_tensor_value_info(form.scores))
        self._form, self._session = form, open_reference(model)
        axes = form.input.shape
        self._batch = axes[0] if axes else None

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, channels, ...) float32 of a batch (N, C, ...) float32, in batches of the file's own size."""
        return in_batches(self._run, batch, self._batch)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        given = self._form.to_file(batch)
        feeds = {self._form.input.name: given.astype(np.float16) if self._is_half else given}
        try:
            (scores,) = self._session.run([self._form.scores], feeds)
        except Exception as error:
            shape = " x ".join(str(axis) for axis in batch.shape)
            raise GraphError(
                f"the model cannot run on a batch of {shape}",
                received=last_line(error),
                remedy="Set preparation.size to a size that it takes; for a batch, -p dynamic_batch false.",
            ) from None
        return self._form.from_file(scores)


def in_batches(run: Callable[[np.ndarray], np.ndarray], batch: np.ndarray, size: int | None) -> np.ndarray:
    """Runs a batch in parts of the size that a model fixes, the last one filled up with copies.

    >>> in_batches(lambda part: part * len(part), np.arange(3), 2).tolist()
    [0, 2, 4]
    """
    if size is None:
        return run(batch)
    parts = []
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append(run(filled)[: len(part)])
    return np.concatenate(parts)
