"""Bisects a run's compiled model against ONNX Runtime in float32, node by node, when a gate fails or when asked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from helpers.graph.read import load_graph
from helpers.graph.surgery import PairwiseInstanceNorm, rewrite_graph
from helpers.recipes.base import Recipe
from helpers.run import Made, Run, StageResult
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file
from helpers.stages.compiled import digest_compiled, read_manifest
from helpers.stages.data import digest_case, selected_cases
from helpers.stages.graph import FINAL
from helpers.study.bisect import Bisection, bisect, out_nodes_arguments
from helpers.study.sensitivity import traced_form
from helpers.study.trace import OnnxForm, OpenVinoForm
from helpers.view import figures

REPORT = "bisect/nodes.json"
# Error of one node, as a fraction of its range, that rounding alone does not reach.
_TOLERANCES = {"f32": 1e-3, "f16_weights": 1e-2, "f16": 2e-2, "bf16": 5e-2, "int8": 0.15}


def bisect_device(recipe: Recipe, run: Run) -> StageResult:
    """Compares every node of the run's compiled model with the reference on a window of the first case.

    The result's `values["culprit"]` names the first node that departs, or is None. For a vendor's model, whose inside
    only its compiler can mark, the `--out_nodes` values to compile with are shown instead.
    """
    case = selected_cases(recipe, run)[0]

    def make(folder: Path) -> Made:
        model, manifest = load_graph(run.path(FINAL)), read_manifest(run)
        if manifest.runtime not in ("openvino", "onnxruntime"):
            marks = out_nodes_arguments(model)
            facts = {f"--out_nodes, model {index}": value for index, value in enumerate(marks, start=1)}
            next_step = "Compile a model with each, and compare what it answers with the reference."
            return Made((), facts, {"culprit": None}, next_step, "not run here")
        sample = recipe.example_input(recipe.read_case(case, run.params), run.params)
        feeds = {recipe.graph_spec(run.params).input_name: np.ascontiguousarray(sample[None], np.float32)}
        found = _bisect(run, model, feeds)
        return _report(recipe, found, folder)

    inputs = {"graph": digest_file(run.path(FINAL)), "compiled": digest_compiled(run), "case": digest_case(case)}
    inputs["rules"] = recipe.rules(run.params)
    return run.perform("bisect", "First node that departs", inputs=inputs, make=make)


def _bisect(run: Run, model, feeds) -> Bisection:
    manifest = read_manifest(run)
    # The reference adds a norm up in steps: its own long sum is what is often to blame.
    exact, _ = rewrite_graph(model, [PairwiseInstanceNorm()])
    precision = "bf16" if manifest.precision == "bf16" else "f32"
    reopen = None
    if manifest.runtime == "openvino" and manifest.precision in ("f32", "bf16"):
        reopen = lambda graph: OpenVinoForm(graph, precision)  # noqa: E731
    tolerance = _TOLERANCES.get(manifest.precision, _TOLERANCES["int8"])
    return bisect(model, OnnxForm(exact), traced_form(run), feeds, tolerance=tolerance, reopen=reopen)


def _report(recipe: Recipe, found: Bisection, folder: Path) -> Made:
    (folder / REPORT).parent.mkdir()
    rows = [{name: _plain(value) for name, value in asdict(row).items()} for row in found.rows]
    write_json(folder / REPORT, {"tolerance": found.tolerance, "nodes": rows})
    drawing = figures.draw_node_errors(recipe.title, found.rows, found.tolerance, found.culprit)
    figures.save_figure(drawing, folder / "figures/bisect.png")
    culprit = found.culprit.node if found.culprit else None
    facts = {"nodes compared": len(found.rows), "first that departs": found.verdict()}
    if culprit:
        facts["keep it precise"] = f"keep_precise: [{culprit}], where it is a layer of an int8 model"
    return Made((), facts, {"culprit": culprit}, "Look at the picture.")


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}") if np.isfinite(value) else str(value)
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
