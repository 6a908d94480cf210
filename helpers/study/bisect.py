"""Finds the first node where a model diverges from a reference, and how much repairing that node alone would help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from helpers.graph.read import constants_of, load_graph, relative_error
from helpers.graph.surgery import AxiswiseInstanceNorm, rewrite_graph
from helpers.recipes.base import Recipe
from helpers.run import Run, StageOutput, StageResult
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file
from helpers.stages.artifact import digest_compiled, read_manifest
from helpers.stages.data import digest_case, example_input, selected_cases
from helpers.stages.graph import FINAL
from helpers.study.trace import (
    NodeError,
    OnnxTracer,
    OpenVinoTracer,
    Tracer,
    compare_nodes,
    mark_outputs,
    open_tracer,
)
from helpers.view import figures

REPORT = "bisect/nodes.json"
# Error of a single node, as a fraction of its range, that rounding alone cannot explain.
_TOLERANCES = {"f32": 1e-3, "f16_weights": 1e-2, "f16": 2e-2, "bf16": 5e-2, "int8": 0.15}
# A node causes an error that exceeds this many times the error of its inputs; a smaller error started earlier.
_JUMP = 4.0


@dataclass(frozen=True)
class Bisection:
    """The result of comparing two models node by node.

    Attributes:
        rows: the error of every node, in the graph's order.
        tolerance: as a fraction of each tensor's range.
        culprit: the first node that diverges; None if every node is within the tolerance.
        final_error: error of the graph's output.
        repaired_error: error of the output if the culprit alone is computed by the reference, from the candidate's
            own inputs; None if that could not be tried.
    """

    rows: tuple[NodeError, ...]
    tolerance: float
    culprit: NodeError | None
    final_error: float
    repaired_error: float | None = None

    def verdict(self) -> str:
        """Describes the culprit in one sentence."""
        if self.culprit is None:
            return f"every node is within {self.tolerance:g} of its range"
        found = self.culprit
        text = (
            f"{found.op} {found.node} of shape {found.shape}: error {found.error:.1e} of the range, after"
            f" {found.input_error:.1e} at its inputs; values {_show(found.range)}, reference"
            f" {_show(found.reference_range)}"
        )
        if self.repaired_error is None:
            return text
        return f"{text}; with this node alone as in the reference the output's error is {self.repaired_error:.1e}"


def bisect_device(recipe: Recipe, run: Run) -> StageResult:
    """Compares every node of the run's compiled model with the reference on a window of the first case.

    The result's `values["culprit"]` is the name of the first node that diverges, or None. The tensors inside a
    vendor's model are not accessible; for such a model, the `--out_nodes` values that expose them are shown.
    """
    case = selected_cases(recipe, run)[0]

    def make(folder: Path) -> StageOutput:
        model, manifest = load_graph(run.require_file(FINAL)), read_manifest(run)
        if manifest.runtime not in ("openvino", "onnxruntime"):
            marks = out_nodes_arguments(model)
            facts = {f"--out_nodes, model {index}": value for index, value in enumerate(marks, start=1)}
            next_step = "Compile one model per value and compare its outputs with the reference."
            return StageOutput((), facts, {"culprit": None}, next_step, "not run here")
        sample = example_input(recipe, run, case)
        feeds = {recipe.model.graph_spec(run.params).input_name: np.ascontiguousarray(sample[None], np.float32)}
        return _report(recipe, _bisect_run(run, model, feeds), folder)

    inputs = {
        "graph": digest_file(run.require_file(FINAL)),
        "compiled": digest_compiled(run),
        "case": digest_case(case),
        "rules": recipe.model.cache_key_extras(run.params),
    }
    return run.perform(
        "bisect", "First node that diverges", inputs=inputs, make=make, code=(recipe.cases, recipe.preparation)
    )


def _bisect_run(run: Run, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Bisection:
    manifest = read_manifest(run)
    # The reference sums its norms axis by axis, because long float32 sums are often the cause of an error.
    exact, _ = rewrite_graph(model, [AxiswiseInstanceNorm()])
    precision = "bf16" if manifest.precision == "bf16" else "f32"

    def reopen(graph: onnx.ModelProto) -> Tracer:
        return OpenVinoTracer(graph, precision)

    can_reopen = manifest.runtime == "openvino" and manifest.precision in ("f32", "bf16")
    return bisect(
        model,
        OnnxTracer(exact),
        open_tracer(run),
        feeds,
        tolerance=_TOLERANCES.get(manifest.precision, _TOLERANCES["int8"]),
        reopen=reopen if can_reopen else None,
    )


def _report(recipe: Recipe, found: Bisection, folder: Path) -> StageOutput:
    (folder / REPORT).parent.mkdir()
    rows = [{name: _to_json(value) for name, value in asdict(row).items()} for row in found.rows]
    write_json(folder / REPORT, {"tolerance": found.tolerance, "nodes": rows})
    drawing = figures.draw_node_errors(recipe.title, found.rows, found.tolerance, found.culprit)
    figures.save_figure(drawing, folder / "figures/bisect.png")
    culprit = found.culprit.node if found.culprit else None
    facts: dict[str, object] = {"nodes compared": len(found.rows), "first that diverges": found.verdict()}
    if culprit:
        facts["keep it in float32"] = f"fp32_layers: [{culprit}], if it is a layer of an int8 model"
    pictures = {"figures/bisect.png": "The error of each node against the reference, from the input to the output."}
    return StageOutput((), facts, {"culprit": culprit}, pictures=pictures)


def bisect(
    model: onnx.ModelProto,
    reference: Tracer,
    candidate: Tracer,
    feeds: Mapping[str, np.ndarray],
    *,
    tolerance: float,
    reopen: Callable[[onnx.ModelProto], Tracer] | None = None,
    candidate_model: onnx.ModelProto | None = None,
) -> Bisection:
    """Compares every node and finds the first whose own error exceeds the tolerance.

    Args:
        model: the reference's graph.
        reference, candidate: the two models; tensors are matched by name.
        feeds: one batch by input name.
        tolerance: as a fraction of each tensor's range.
        reopen: opens a modified graph in the same way as the candidate, to repair the culprit alone.
        candidate_model: the candidate's own graph if it is not `model`.
    """
    rows = compare_nodes(model, reference, candidate, feeds)
    culprit = find_culprit(rows, tolerance)
    final = next((row.error for row in reversed(rows) if row.tensor == model.graph.output[0].name), float("nan"))
    repaired = None
    if culprit is not None and reopen is not None:
        graph = candidate_model or model
        repaired = _error_with_node_repaired(model, graph, culprit, reference, candidate, feeds, reopen)
    return Bisection(tuple(rows), tolerance, culprit, final, repaired)


def find_culprit(rows: Sequence[NodeError], tolerance: float) -> NodeError | None:
    """The first node beyond the tolerance whose error jumps, or else the one with the largest growth of the error."""
    beyond = [row for row in rows if row.error > tolerance]
    for row in beyond:
        if row.error > _JUMP * row.input_error:
            return row
    return max(beyond, key=lambda row: row.growth, default=None)


def out_nodes_arguments(model: onnx.ModelProto, nodes_per_model: int = 8) -> list[str]:
    """ATC's `--out_nodes` values (`name:0;name:0`) that together mark every node, a few per model."""
    constants = constants_of(model)
    names = [node.name for node in model.graph.node if node.name and node.output[0] not in constants]
    parts = [names[first : first + nodes_per_model] for first in range(0, len(names), nodes_per_model)]
    return [";".join(f"{name}:0" for name in part) for part in parts]


def _error_with_node_repaired(
    model: onnx.ModelProto,
    graph: onnx.ModelProto,
    culprit: NodeError,
    reference: Tracer,
    candidate: Tracer,
    feeds: Mapping[str, np.ndarray],
    reopen: Callable[[onnx.ModelProto], Tracer],
) -> float | None:
    """The error of the candidate's output when the reference computes the culprit from the candidate's own inputs."""
    node = next(node for node in model.graph.node if culprit.tensor in node.output)
    output = model.graph.output[0].name
    if culprit.tensor == output:
        return 0.0
    constants = constants_of(model)
    inputs = [name for name in node.input if name and name not in constants]
    inner = [name for name in inputs if name not in feeds]
    values = {**candidate.run(feeds, inner), **{name: feeds[name] for name in inputs if name in feeds}}
    if len(values) < len(set(inputs)):
        return None
    node_alone = mark_outputs(model, [culprit.tensor])
    for name in inner:
        node_alone = detach_tensor(node_alone, name, values[name].shape, values[name].dtype)
    repaired = OnnxTracer(node_alone).run(_select_feeds(node_alone, values), [culprit.tensor])
    rest = detach_tensor(graph, culprit.tensor, repaired[culprit.tensor].shape)
    got = reopen(rest).run(_select_feeds(rest, {**feeds, **repaired}), [output])[output]
    return relative_error(reference.run(feeds, [output])[output], got)


def detach_tensor(
    model: onnx.ModelProto, tensor: str, shape: Sequence[int], dtype: type | np.dtype = np.float32
) -> onnx.ModelProto:
    """Copies a graph and turns a tensor into a further input."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in cut.graph.node]
    nodes = [node for node in nodes if tensor not in node.output]
    del cut.graph.node[:], cut.graph.value_info[:]
    cut.graph.node.extend(_ancestors(nodes, {value.name for value in cut.graph.output}))
    read = {name for node in cut.graph.node for name in node.input}
    inputs = [value for value in cut.graph.input if value.name in read]
    inputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
    del cut.graph.input[:]
    cut.graph.input.extend(inputs)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    cut.graph.input.append(onnx.helper.make_tensor_value_info(tensor, kind, list(shape)))
    return cut


def _ancestors(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes, in topological order, that the wanted tensors depend on."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _select_feeds(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {value.name for value in model.graph.input}
    return {name: array for name, array in values.items() if name in names}


def _show(edges: tuple[float, float]) -> str:
    return f"{edges[0]:.4g} to {edges[1]:.4g}"


def _to_json(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}") if np.isfinite(value) else str(value)
    return [_to_json(part) for part in value] if isinstance(value, (list, tuple)) else value
