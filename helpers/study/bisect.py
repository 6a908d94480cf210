"""Finds the first node where one form of a graph departs from another, and tries it alone as the reference has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from helpers.graph.read import constants_of, load_graph
from helpers.graph.surgery import AxiswiseInstanceNorm, rewrite_graph
from helpers.recipes.base import Recipe
from helpers.run import Run, StageOutput, StageResult
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file
from helpers.stages.artifact import digest_compiled, read_manifest
from helpers.stages.data import digest_case, selected_cases
from helpers.stages.graph import FINAL
from helpers.study.trace import (
    NodeError,
    OnnxForm,
    OpenVinoForm,
    TracedForm,
    compare_nodes,
    mark_outputs,
    tensor_error,
    traced_form,
)
from helpers.view import figures

# A node is to blame when its error is so many times what arrives; what only grows on its way started before it.
_JUMP = 4.0


@dataclass(frozen=True)
class Bisection:
    """The nodes in the graph's order, the first that departs, and what its repair alone would bring.

    Attributes:
        rows: error of every node.
        culprit: None where every node stays within the tolerance.
        final_error: of the graph's output.
        repaired_error: of the output with the culprit alone computed by the reference from the candidate's own
            inputs; None where that could not be tried.
    """

    rows: tuple[NodeError, ...]
    tolerance: float
    culprit: NodeError | None
    final_error: float
    repaired_error: float | None = None

    def verdict(self) -> str:
        """One sentence on the culprit."""
        if self.culprit is None:
            return f"every node stays within {self.tolerance:g} of its range"
        found = self.culprit
        text = (
            f"{found.op} {found.node} of shape {found.shape}: error {found.error:.1e} of range where"
            f" {found.input_error:.1e} arrives; values {_show(found.range)}, reference {_show(found.reference_range)}"
        )
        if self.repaired_error is None:
            return text
        return f"{text}; with this node alone as in the reference the output's error is {self.repaired_error:.1e}"


def bisect(
    model: onnx.ModelProto,
    reference: TracedForm,
    candidate: TracedForm,
    feeds: Mapping[str, np.ndarray],
    *,
    tolerance: float,
    reopen: Callable[[onnx.ModelProto], TracedForm] | None = None,
    candidate_model: onnx.ModelProto | None = None,
    **options: object,
) -> Bisection:
    """Compares every node and names the first whose own error is beyond the tolerance.

    Args:
        model: the reference's graph.
        reference, candidate: the two forms; tensors are matched by name.
        feeds: one batch by input name.
        tolerance: as a fraction of each tensor's range.
        reopen: opens a changed candidate's graph as the candidate is; needed to try the culprit alone.
        candidate_model: the candidate's own graph where it is another than `model`.
        options: of `compare_nodes`.
    """
    rows = compare_nodes(model, reference, candidate, feeds, **options)
    culprit = find_culprit(rows, tolerance)
    final = next((row.error for row in reversed(rows) if row.tensor == model.graph.output[0].name), float("nan"))
    repaired = None
    if culprit is not None and reopen is not None:
        graph = candidate_model or model
        repaired = _error_with_node_repaired(model, graph, culprit, reference, candidate, feeds, reopen)
    return Bisection(tuple(rows), tolerance, culprit, final, repaired)


def find_culprit(rows: Sequence[NodeError], tolerance: float) -> NodeError | None:
    """The first node beyond the tolerance whose error jumps there; where none jumps, the one that adds most."""
    beyond = [row for row in rows if row.error > tolerance]
    for row in beyond:
        if row.error > _JUMP * row.input_error:
            return row
    return max(beyond, key=lambda row: row.growth, default=None)


def out_nodes_arguments(model: onnx.ModelProto, per_model: int = 8) -> list[str]:
    """ATC's `--out_nodes` values that mark every node in turn, so many a model: `name:0;name:0`."""
    constants = constants_of(model)
    names = [node.name for node in model.graph.node if node.name and node.output[0] not in constants]
    parts = [names[first : first + per_model] for first in range(0, len(names), per_model)]
    return [";".join(f"{name}:0" for name in part) for part in parts]


def detach_tensor(
    model: onnx.ModelProto, tensor: str, shape: Sequence[int], dtype: type | np.dtype = np.float32
) -> onnx.ModelProto:
    """A copy of a graph that takes a tensor as a further input instead of computing it."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in cut.graph.node]
    kept = [node for node in kept if tensor not in node.output]
    del cut.graph.node[:], cut.graph.value_info[:]
    cut.graph.node.extend(_needed(kept, {value.name for value in cut.graph.output}))
    read = {name for node in cut.graph.node for name in node.input}
    inputs = [value for value in cut.graph.input if value.name in read]
    inputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
    del cut.graph.input[:]
    cut.graph.input.extend(inputs)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    cut.graph.input.append(onnx.helper.make_tensor_value_info(tensor, kind, list(shape)))
    return cut


def _error_with_node_repaired(model, graph, culprit, reference, candidate, feeds, reopen) -> float | None:
    node = next(node for node in model.graph.node if culprit.tensor in node.output)
    output = model.graph.output[0].name
    if culprit.tensor == output:
        return 0.0
    constants = constants_of(model)
    arriving = [name for name in node.input if name and name not in constants]
    inside = [name for name in arriving if name not in feeds]
    own = {**candidate.run(feeds, inside), **{name: feeds[name] for name in arriving if name in feeds}}
    if len(own) < len(set(arriving)):
        return None
    alone = mark_outputs(model, [culprit.tensor])
    for name in inside:
        alone = detach_tensor(alone, name, own[name].shape, own[name].dtype)
    read = {value.name for value in alone.graph.input}
    right = OnnxForm(alone).run({name: array for name, array in own.items() if name in read}, [culprit.tensor])
    cut = detach_tensor(graph, culprit.tensor, right[culprit.tensor].shape)
    read = {value.name for value in cut.graph.input}
    given = {name: array for name, array in {**feeds, **right}.items() if name in read}
    got = reopen(cut).run(given, [output])[output]
    return tensor_error(reference.run(feeds, [output])[output], got)


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _show(edges: tuple[float, float]) -> str:
    return f"{edges[0]:.4g} to {edges[1]:.4g}"


REPORT = "bisect/nodes.json"
# Error of one node, as a fraction of its range, that rounding alone does not reach.
_TOLERANCES = {"f32": 1e-3, "f16_weights": 1e-2, "f16": 2e-2, "bf16": 5e-2, "int8": 0.15}


def bisect_device(recipe: Recipe, run: Run) -> StageResult:
    """Compares every node of the run's compiled model with the reference on a window of the first case.

    The result's `values["culprit"]` names the first node that departs, or is None. For a vendor's model, whose inside
    only its compiler can mark, the `--out_nodes` values to compile with are shown instead.
    """
    case = selected_cases(recipe, run)[0]

    def make(folder: Path) -> StageOutput:
        model, manifest = load_graph(run.path(FINAL)), read_manifest(run)
        if manifest.runtime not in ("openvino", "onnxruntime"):
            marks = out_nodes_arguments(model)
            facts = {f"--out_nodes, model {index}": value for index, value in enumerate(marks, start=1)}
            next_step = "Compile a model with each, and compare what it answers with the reference."
            return StageOutput((), facts, {"culprit": None}, next_step, "not run here")
        sample = recipe.example_input(recipe.read_case(case, run.params), run.params)
        feeds = {recipe.graph_spec(run.params).input_name: np.ascontiguousarray(sample[None], np.float32)}
        found = _bisect(run, model, feeds)
        return _report(recipe, found, folder)

    inputs = {"graph": digest_file(run.path(FINAL)), "compiled": digest_compiled(run), "case": digest_case(case)}
    inputs["rules"] = recipe.cache_key_extras(run.params)
    return run.perform("bisect", "First node that departs", inputs=inputs, make=make, code=(recipe,))


def _bisect(run: Run, model, feeds) -> Bisection:
    manifest = read_manifest(run)
    # The reference adds a norm up in steps: its own long sum is what is often to blame.
    exact, _ = rewrite_graph(model, [AxiswiseInstanceNorm()])
    precision = "bf16" if manifest.precision == "bf16" else "f32"
    reopen = None
    if manifest.runtime == "openvino" and manifest.precision in ("f32", "bf16"):
        reopen = lambda graph: OpenVinoForm(graph, precision)  # noqa: E731
    tolerance = _TOLERANCES.get(manifest.precision, _TOLERANCES["int8"])
    return bisect(model, OnnxForm(exact), traced_form(run), feeds, tolerance=tolerance, reopen=reopen)


def _report(recipe: Recipe, found: Bisection, folder: Path) -> StageOutput:
    (folder / REPORT).parent.mkdir()
    rows = [{name: _plain(value) for name, value in asdict(row).items()} for row in found.rows]
    write_json(folder / REPORT, {"tolerance": found.tolerance, "nodes": rows})
    drawing = figures.draw_node_errors(recipe.title, found.rows, found.tolerance, found.culprit)
    figures.save_figure(drawing, folder / "figures/bisect.png")
    culprit = found.culprit.node if found.culprit else None
    facts = {"nodes compared": len(found.rows), "first that departs": found.verdict()}
    if culprit:
        facts["keep it precise"] = f"fp32_layers: [{culprit}], where it is a layer of an int8 model"
    pictures = {"figures/bisect.png": "The error of each node against the reference, from the input to the output."}
    return StageOutput((), facts, {"culprit": culprit}, "Look at the picture.", pictures=pictures)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}") if np.isfinite(value) else str(value)
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
