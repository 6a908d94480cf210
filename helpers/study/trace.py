"""Reads the tensors inside a graph, in ONNX Runtime or OpenVINO, and compares two models node by node."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from helpers.compile.quantize import LAYER_OPS, quantizable_layers, select_fp32_layers
from helpers.graph.read import constants_of, load_graph, open_reference, relative_error, tensor_shapes
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.stages.artifact import compiled_path, read_manifest
from helpers.stages.graph import FINAL

# Size of the tensors that are fetched together; a large graph is traced in parts to limit memory.
_CHUNK_BYTES = 256 * 2**20
_FLOAT_BYTES = 4


class Tracer(Protocol):
    """A model whose intermediate tensors can be read."""

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the named tensors for these feeds, as far as the model has them."""


class OnnxTracer:
    """An ONNX graph in ONNX Runtime, its nodes as written."""

    def __init__(self, model: onnx.ModelProto):
        self._model = model

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """As `Tracer.run`."""
        known = {name for node in self._model.graph.node for name in node.output}
        wanted = [name for name in names if name in known]
        if not wanted:
            return {}
        session = open_reference(mark_outputs(self._model, wanted))
        return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))


class OpenVinoTracer:
    """An ONNX graph or an OpenVINO file in OpenVINO, in a given precision."""

    def __init__(self, source: onnx.ModelProto | Path, precision: str = "f32"):
        self._source, self._precision = source, precision

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """As `Tracer.run`."""
        import openvino

        core = openvino.Core()
        source = self._source.SerializeToString() if isinstance(self._source, onnx.ModelProto) else str(self._source)
        model = core.read_model(source)
        known = {name for op in model.get_ops() for port in op.outputs() for name in port.get_names()}
        wanted = [name for name in names if name in known]
        present = {name for port in model.outputs for name in port.get_names()}
        model.add_outputs([name for name in wanted if name not in present])
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": self._precision})
        outputs = compiled(dict(feeds))
        return {name: np.array(outputs[name]) for name in wanted}


def open_tracer(run: Run) -> Tracer:
    """Opens the compiled model of a run on a CPU runtime for reading its tensors."""
    path, manifest = compiled_path(run), read_manifest(run)
    if manifest.runtime == "openvino":
        return OpenVinoTracer(path, "bf16" if manifest.precision == "bf16" else "f32")
    return OnnxTracer(load_graph(path))


def mark_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Copies a graph and makes these tensors its only outputs."""
    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    del marked.graph.output[:]
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    marked.graph.output.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in names)
    return marked


@dataclass(frozen=True)
class NodeError:
    """The difference of one node's output from the reference.

    Attributes:
        node, op: name and op of the node.
        tensor, shape: name and shape of its first output.
        error: maximum difference, as a fraction of the tensor's range in the reference.
        input_error: maximum `error` of the tensors that the node reads.
        reference_range, range: (minimum, maximum) of the values in the reference and in the candidate.
    """

    node: str
    op: str
    tensor: str
    shape: tuple[int, ...]
    error: float
    input_error: float
    reference_range: tuple[float, float]
    range: tuple[float, float]

    @property
    def growth(self) -> float:
        """The increase of the error by this node; 0 if the error of its inputs is already infinite."""
        return 0.0 if math.isinf(self.input_error) else self.error - self.input_error


def compare_nodes(
    model: onnx.ModelProto,
    reference: Tracer,
    candidate: Tracer,
    feeds: Mapping[str, np.ndarray],
    *,
    chunk_bytes: int = _CHUNK_BYTES,
) -> list[NodeError]:
    """Compares the tensors of two models node by node, in the graph's order and in bounded memory.

    Args:
        model: the graph whose nodes are compared; both models know its tensors by name.
        reference, candidate: the two models.
        feeds: one batch by input name.
        chunk_bytes: size of the tensors that are fetched together.
    """
    rows: list[NodeError] = []
    errors: dict[str, float] = {}
    for nodes in _chunks(model, next(iter(feeds.values())).shape[0], chunk_bytes):
        names = [node.output[0] for node in nodes]
        expected = reference.run(feeds, names)
        actual = candidate.run(feeds, list(expected))
        for node in nodes:
            name = node.output[0]
            if name not in expected or name not in actual or expected[name].dtype.kind != "f":
                continue
            want, got = expected.pop(name), actual.pop(name)
            errors[name] = relative_error(want, got)
            input_error = max((errors.get(each, 0.0) for each in node.input), default=0.0)
            ranges = (_range(want), _range(got))
            rows.append(
                NodeError(node.name or name, node.op_type, name, want.shape, errors[name], input_error, *ranges)
            )
    return rows


def _chunks(model: onnx.ModelProto, batch: int, chunk_bytes: int) -> Iterator[list[onnx.NodeProto]]:
    shapes, constants = tensor_shapes(model), set(constants_of(model))
    chunk: list[onnx.NodeProto] = []
    size = 0
    for node in model.graph.node:
        if node.output[0] in constants:
            continue
        shape = shapes.get(node.output[0], ())
        need = _FLOAT_BYTES * math.prod(batch if axis is None else axis for axis in shape)
        if chunk and size + need > chunk_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(node)
        size += need
    if chunk:
        yield chunk


def _range(values: np.ndarray) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (math.nan, math.nan)


def rank_layers(recipe: Recipe, base: Run, quantised: Run, windows: Sequence[np.ndarray]) -> list[str]:
    """Ranks the int8 layers by how much each increases the error on some windows, the most harmful first.

    Args:
        recipe: the recipe of both runs.
        base: the run with the float32 model.
        quantised: the run with the int8 model.
        windows: batches (1, C, *window).
    """
    graph = base.path(FINAL)
    model, spec = load_graph(graph), recipe.model.graph_spec(base.params)
    growth: dict[str, float] = {}
    for window in windows:
        for row in compare_nodes(model, OnnxTracer(model), open_tracer(quantised), {spec.input_name: window}):
            if row.op in LAYER_OPS:
                growth[row.node] = max(growth.get(row.node, 0.0), row.error - row.input_error)
    keep = set(select_fp32_layers(graph)) | set(quantised.params.fp32_layers)
    layers = [name for name in quantizable_layers(graph) if name not in keep]
    return sorted(layers, key=lambda name: -growth.get(name, 0.0))
