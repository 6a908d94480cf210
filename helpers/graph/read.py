"""Reads ONNX models (opset, shapes, constants, ops) and runs them in ONNX Runtime as the reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from helpers.errors import GraphError, last_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Numbers of a tensor that may be a shape, a scale or a slice, and not weights.
_SMALL_CONSTANT = 4096


def load_graph(path: Path) -> onnx.ModelProto:
    """Reads an ONNX model with its weights, in the form that the rest of the cookbook expects.

    An initializer that is listed among the inputs (older files list all of them) becomes a plain constant, and a
    negative length, which some exporters write for an axis of any length, an unknown one. Nodes of one name, which
    ONNX Runtime refuses, get numbers, and outputs without a shape the inferred one.

    Raises:
        GraphError: the file is not an ONNX model, is of a newer version than this machine's `onnx`, or refers to
            external data that is missing.
    """
    model = _parse(path)
    _check_versions(path, model)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise GraphError(
            f"the weights of {path} are missing",
            received=last_line(error),
            expected=f"{', '.join(sorted(_external_files(model)))} next to it",
            remedy="Copy these files with the model.",
        ) from None
    clean_ports(model)
    make_names_unique(model)
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return model
    set_shapes(model)
    return model


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise GraphError(f"{path} is not an ONNX model", received=type(error).__name__) from None
    if not model.graph.node and not model.graph.output:
        raise GraphError(f"{path} is not an ONNX model", received="no nodes and no outputs")
    return model


def _check_versions(path: Path, model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    if model.ir_version > onnx.IR_VERSION:
        raise GraphError(
            f"{path} is of a newer version of ONNX",
            received=f"IR version {model.ir_version}",
            expected=f"at most {onnx.IR_VERSION}",
            remedy="Export it again with an older opset, or update onnx.",
        )
    if opset_of(model) > newest:
        raise GraphError(
            f"{path} has a newer operator set",
            received=f"opset {opset_of(model)}",
            expected=f"at most {newest}",
            remedy="Export it again with an older opset, or update onnx.",
        )


def _external_files(model: onnx.ModelProto) -> set[str]:
    tensors = [tensor for graph in all_graphs(model.graph) for tensor in graph.initializer]
    entries = [entry for tensor in tensors for entry in tensor.external_data]
    return {entry.value for entry in entries if entry.key == "location"}


def clean_ports(model: onnx.ModelProto) -> None:
    """Removes initializers from the inputs and negative lengths from all shapes, in place."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in constants:
            del graph.input[index]
    for part in all_graphs(graph):
        for value in (*part.input, *part.output, *part.value_info):
            for axis in value.type.tensor_type.shape.dim:
                if axis.dim_value < 0:
                    axis.Clear()


def make_names_unique(model: onnx.ModelProto) -> None:
    """Gives a number to every node whose name another node has, in place; names of tensors stay."""
    taken = {node.name for node in all_nodes(model)}
    seen: set[str] = set()
    for node in all_nodes(model):
        if node.name and node.name in seen:
            node.name = new_name(node.name, taken)
        seen.add(node.name)


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the graphs within its If, Loop and Scan nodes, outermost first."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner)


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The branches of an If, or the body of a Loop or Scan."""
    single = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return single + [graph for a in node.attribute if a.type == onnx.AttributeProto.GRAPHS for graph in a.graphs]


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those within If, Loop and Scan included."""
    return (node for graph in all_graphs(model.graph) for node in graph.node)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default operator set that a model declares."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return entry.version
    raise GraphError("the graph declares no default operator set")


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with the shapes that ONNX can infer.

    Raises:
        GraphError: the shapes contradict each other, or the operator set is unknown.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    set_shapes(copy)
    return copy


def set_shapes(model: onnx.ModelProto) -> None:
    """As `infer_shapes`, in place, without a second copy of the weights."""
    if any(inner_graphs(node) for node in model.graph.node):
        model.CopyFrom(_infer(model))
        return
    inferred = _infer(without_weights(model)).graph
    for field in ("value_info", "output"):
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(getattr(inferred, field))


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=False)
    except Exception as error:  # its class depends on the version of onnx
        raise GraphError("ONNX cannot infer the shapes of the graph", received=last_line(error)) from None


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights are inputs of the same shape: enough for shape inference and for ONNX's checker.

    Both copy the whole model several times, which for a model of 100 MB costs more than the work itself. Small
    constants stay, because shapes may depend on them.
    """
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    light.graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    known = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL_CONSTANT:
            light.graph.initializer.append(tensor)
        elif tensor.name not in known:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def check_graph(model: onnx.ModelProto, problem: str = "ONNX's checker rejects the graph") -> None:
    """Runs ONNX's checker with shape inference.

    Raises:
        GraphError: the checker rejects the graph.
    """
    try:
        onnx.checker.check_model(without_weights(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(problem, received=str(error).strip()) from None


def tensor_shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Shape of every tensor that shape inference can determine; a dynamic axis is None."""
    if _has_negative_axis(model):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        clean_ports(copy)
        model = copy
    shapes: dict[str, tuple[int | None, ...]] = {}
    for graph in all_graphs(_infer(without_weights(model)).graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.HasField("shape"):
                shapes[value.name] = tuple(
                    dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
                )
        shapes.update({tensor.name: tuple(tensor.dims) for tensor in graph.initializer})
    return shapes


def _has_negative_axis(model: onnx.ModelProto) -> bool:
    return any(
        axis.dim_value < 0
        for graph in all_graphs(model.graph)
        for value in (*graph.input, *graph.output, *graph.value_info)
        for axis in value.type.tensor_type.shape.dim
    )


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every constant by name, from initializers and Constant nodes in all their forms."""
    constants: dict[str, np.ndarray] = {}
    for graph in all_graphs(model.graph):
        constants |= {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            value = constant_value(node)
            if value is not None:
                constants[node.output[0]] = value
    return constants


def known_values(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The constants, and the outputs of Identity nodes that pass one on."""
    values = constants_of(model)
    for node in all_nodes(model):
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    return values


def constant_value(node: onnx.NodeProto) -> np.ndarray | None:
    """The array of a Constant node; None for other nodes, and for strings.

    >>> constant_value(onnx.helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    if node.op_type != "Constant":
        return None
    for attribute in node.attribute:
        if attribute.name == "value":
            return numpy_helper.to_array(attribute.t)
        if attribute.name == "sparse_value":
            return _densify(attribute.sparse_tensor)
        if attribute.name in ("value_float", "value_floats"):
            values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            return np.array(values, np.float32)
        if attribute.name in ("value_int", "value_ints"):
            values = attribute.i if attribute.name == "value_int" else list(attribute.ints)
            return np.array(values, np.int64)
    return None


def _densify(sparse: onnx.SparseTensorProto) -> np.ndarray:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    dense[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dense.shape)] = values
    return dense


def constants_to_initializers(model: onnx.ModelProto) -> None:
    """Turns Constant nodes, and Identity nodes of constants, into initializers of the outermost graph, in place."""
    graph = model.graph
    constants = known_values(model)
    outputs = {value.name for value in graph.output}
    named = {tensor.name for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        is_constant = node.op_type == "Constant" or (node.op_type == "Identity" and node.input[0] in constants)
        name = node.output[0] if node.output else ""
        if not is_constant or name not in constants or name in outputs:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
        elif name not in named:
            graph.initializer.append(numpy_helper.from_array(constants[name], name))
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in all_nodes(model) for name in node.input} | outputs
    unread = [index for index, tensor in enumerate(graph.initializer) if tensor.name not in used]
    for index in reversed(unread):
        del graph.initializer[index]


def names_in(model: onnx.ModelProto) -> set[str]:
    """Every name of a node or a tensor, those within If, Loop and Scan included."""
    names: set[str] = set()
    for graph in all_graphs(model.graph):
        names |= {value.name for value in (*graph.input, *graph.output, *graph.value_info)}
        names |= {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            names |= {node.name, *node.input, *node.output}
    return names - {""}


def new_name(wanted: str, taken: set[str]) -> str:
    """A name that is not taken, and takes it: the wanted one, with a number if need be.

    >>> new_name("up", {"up", "up_2"})
    'up_3'
    """
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name


def count_ops(model: onnx.ModelProto) -> dict[str, int]:
    """Number of nodes by op, without Constant nodes."""
    return dict(Counter(node.op_type for node in all_nodes(model) if node.op_type != "Constant"))


def input_shape_of(model: onnx.ModelProto) -> tuple[int | None, ...]:
    """Shape of the first input that is not an initializer; a dynamic axis is None.

    Raises:
        GraphError: there is no such input, or its number of axes is unknown.
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in initializers]
    shapes = tensor_shapes(model)
    if not names or names[0] not in shapes:
        received = f"{names[0]} of unknown rank" if names else "no input"
        raise GraphError("the graph has no input of known rank", received=received)
    return shapes[names[0]]


def open_reference(graph: onnx.ModelProto | Path, *, optimise: bool = False) -> InferenceSession:
    """Opens an ONNX Runtime session on the CPU.

    Without optimisation the nodes run as written, so that two graphs differ only by their own arithmetic.

    Raises:
        GraphError: ONNX Runtime does not read the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error is raised, and need not be printed as well
    # Threads that wait actively take the processor from other processes, and double the CPU time of a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = graph.SerializeToString() if isinstance(graph, onnx.ModelProto) else str(graph)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes share no base of their own
        raise GraphError("ONNX Runtime does not read the graph", received=last_line(error)) from None


def run_reference(graph: onnx.ModelProto | Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs a graph once and returns its outputs by name."""
    session = open_reference(graph)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def relative_error(expected: np.ndarray, actual: np.ndarray) -> float:
    """The maximum difference as a fraction of the expected values' range; infinite for NaN or a different shape.

    >>> relative_error(np.array([-1.0, 0.0, 3.0]), np.array([-1.0, 0.1, 3.0]))
    0.025
    >>> relative_error(np.zeros(3), np.array([0.0, np.nan, 0.0]))
    inf
    """
    if expected.shape != actual.shape:
        return math.inf
    difference = np.abs(expected.astype(np.float64) - actual).max(initial=0.0)
    span = max(float(np.ptp(expected)), float(np.finfo(np.float32).tiny))
    # NaN compares false with every limit, so it must not pass for a small error.
    return float(difference / span) if np.isfinite(difference) else math.inf
