"""Tensors inside a graph, in any form that can mark them as outputs, compared node by node in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from helpers.compile.quantize import LAYER_OPS, quantizable_layers, select_fp32_layers
from helpers.graph.read import constants_of, load_graph, open_reference, tensor_shapes
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.stages.artifact import compiled_path, read_manifest
from helpers.stages.graph import FINAL

_CHUNK_BYTES = 256 * 2**20
_FLOAT_BYTES = 4


class TracedForm(Protocol):
    """A model that can be asked for tensors inside it."""

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """The named tensors for these feeds; a name that this form does not have is left out."""


class OnnxForm:
    """An ONNX graph in ONNX Runtime, its nodes as written."""

    def __init__(self, model: onnx.ModelProto):
        self._model = model

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """As `TracedForm.run`."""
        made = {name for node in self._model.graph.node for name in node.output}
        wanted = [name for name in names if name in made]
        if not wanted:
            return {}
        session = open_reference(mark_outputs(self._model, wanted))
        return dict(zip(wanted, session.run(wanted, dict(feeds)), strict=True))


class OpenVinoForm:
    """An ONNX graph or an OpenVINO file in OpenVINO, in a precision."""

    def __init__(self, source: onnx.ModelProto | Path, precision: str = "f32"):
        self._source, self._precision = source, precision

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """As `TracedForm.run`."""
        import openvino

        core = openvino.Core()
        source = self._source.SerializeToString() if isinstance(self._source, onnx.ModelProto) else str(self._source)
        model = core.read_model(source)
        known = {name for op in model.get_ops() for port in op.outputs() for name in port.get_names()}
        wanted = [name for name in names if name in known]
        present = {name for port in model.outputs for name in port.get_names()}
        model.add_outputs([name for name in wanted if name not in present])
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": self._precision})
        answers = compiled(dict(feeds))
        return {name: np.array(answers[name]) for name in wanted}


@dataclass(frozen=True)
class NodeError:
    """How far one node's output departs from the reference, as a fraction of its range there.

    `input_error` is the largest such error among the node's own inputs; ranges are (smallest, largest).
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
        """By how much the error grew in this node; what arrives without end leaves none to blame."""
        return 0.0 if math.isinf(self.input_error) else self.error - self.input_error


def compare_nodes(
    model: onnx.ModelProto,
    reference: TracedForm,
    candidate: TracedForm,
    feeds: Mapping[str, np.ndarray],
    *,
    ops: Sequence[str] | None = None,
    chunk_bytes: int = _CHUNK_BYTES,
) -> list[NodeError]:
    """Both forms' tensors compared along the graph, in its order.

    Args:
        model: names the nodes; both forms know its tensors by their names.
        reference, candidate: the two forms.
        feeds: one batch by input name.
        ops: kinds of nodes to compare; all where None.
        chunk_bytes: of tensors asked for at once, so that a large graph needs the memory of a part.
    """
    rows: list[NodeError] = []
    errors: dict[str, float] = {}
    for nodes in _chunks(model, next(iter(feeds.values())).shape[0], ops, chunk_bytes):
        names = [node.output[0] for node in nodes]
        expected = reference.run(feeds, names)
        actual = candidate.run(feeds, list(expected))
        for node in nodes:
            name = node.output[0]
            if name not in expected or name not in actual or expected[name].dtype.kind != "f":
                continue
            want, got = expected.pop(name), actual.pop(name)
            errors[name] = tensor_error(want, got)
            arriving = max((errors.get(each, 0.0) for each in node.input), default=0.0)
            ranges = (_range(want), _range(got))
            rows.append(NodeError(_name(node), node.op_type, name, want.shape, errors[name], arriving, *ranges))
    return rows


def tensor_error(want: np.ndarray, got: np.ndarray) -> float:
    """Largest difference as a fraction of the reference's range; infinite for NaN or another shape."""
    if want.shape != got.shape:
        return math.inf
    difference = np.abs(want.astype(np.float64) - got).max(initial=0.0)
    span = max(float(np.ptp(want)), float(np.finfo(np.float32).tiny))
    return float(difference / span) if np.isfinite(difference) else math.inf


def mark_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of a graph whose outputs are exactly these tensors."""
    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    del marked.graph.output[:]
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    marked.graph.output.extend(known.get(name) or onnx.ValueInfoProto(name=name) for name in names)
    return marked


def _chunks(
    model: onnx.ModelProto, batch: int, ops: Sequence[str] | None, chunk_bytes: int
) -> Iterator[list[onnx.NodeProto]]:
    shapes, constants = tensor_shapes(model), set(constants_of(model))
    chunk: list[onnx.NodeProto] = []
    size = 0
    for node in model.graph.node:
        if node.output[0] in constants or (ops is not None and node.op_type not in ops):
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


def _name(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]


def rank_layers(recipe: Recipe, base: Run, quantised: Run, windows: Sequence[np.ndarray]) -> list[str]:
    """Layers that int8 runs, the most harmful first: by the error that each adds to what arrives, over some windows.

    Args:
        recipe: of both runs.
        base: a run with the graph.
        quantised: a run with the int8 model.
        windows: batches (1, C, *window).
    """
    graph = base.path(FINAL)
    model, spec = load_graph(graph), recipe.graph_spec(base.params)
    added: dict[str, float] = {}
    before: dict[str, float] = {}
    for window in windows:
        rows = compare_nodes(model, OnnxForm(model), traced_form(quantised), {spec.input_name: window})
        before = {row.tensor: row.error for row in rows}
        for row in rows:
            if row.op in LAYER_OPS:
                added[row.node] = max(added.get(row.node, 0.0), row.error - row.input_error)
    kept = set(select_fp32_layers(graph)) | set(quantised.params.fp32_layers)
    layers = [name for name in quantizable_layers(graph) if name not in kept]
    return sorted(layers, key=lambda name: -added.get(name, 0.0)) if before else layers


def traced_form(run: Run) -> TracedForm:
    """The compiled model of a run on a CPU runtime, its tensors open to be asked for."""
    path, manifest = compiled_path(run), read_manifest(run)
    if manifest.runtime == "openvino":
        return OpenVinoForm(path, "bf16" if manifest.precision == "bf16" else "f32")
    return OnnxForm(load_graph(path))
