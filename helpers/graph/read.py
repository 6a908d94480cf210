"""Reads ONNX models (opset, shapes, constants, ops) and runs them in ONNX Runtime as the reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from helpers.errors import GraphError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def load_graph(path: Path) -> onnx.ModelProto:
    """Reads an ONNX model with its weights.

    Raises:
        GraphError: the file is not an ONNX model.
    """
    try:
        return onnx.load(str(path))
    except Exception as error:
        raise GraphError(f"{path} is not an ONNX model", received=type(error).__name__) from None


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default operator set that a model declares."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return entry.version
    raise GraphError("the graph declares no default operator set")


def tensor_shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Shape of every tensor that shape inference can determine; a dynamic axis is None."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False)
    shapes: dict[str, tuple[int | None, ...]] = {}
    graph = inferred.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
            )
    shapes.update({tensor.name: tuple(tensor.dims) for tensor in graph.initializer})
    return shapes


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every constant by name, from initializers and Constant nodes."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    constants[node.output[0]] = numpy_helper.to_array(attribute.t)
    return constants


def count_ops(model: onnx.ModelProto) -> dict[str, int]:
    """Number of nodes by op, without Constant nodes."""
    return dict(Counter(node.op_type for node in model.graph.node if node.op_type != "Constant"))


def input_shape_of(model: onnx.ModelProto) -> tuple[int | None, ...]:
    """Shape of the first input that is not an initializer; a dynamic axis is None."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    first = next(value for value in model.graph.input if value.name not in initializers)
    return tensor_shapes(model)[first.name]


def open_reference(graph: onnx.ModelProto | Path, *, optimise: bool = False) -> InferenceSession:
    """Opens an ONNX Runtime session on the CPU.

    Without optimisation the nodes run as written, so that two graphs differ only by their own arithmetic.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error is raised, and need not be printed as well
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = graph.SerializeToString() if isinstance(graph, onnx.ModelProto) else str(graph)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


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
