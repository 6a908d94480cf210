"""One cell of a precision study: an ordinary run of its own with another target and precision, its graph shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import stages
from helpers.errors import ParameterError
from helpers.params.targets import Precision, load_target
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.run.log import attach_log_file
from helpers.stages.compiled import FOLDER, compiled_path, read_manifest
from helpers.study.speed_program import time_in_own_process


@dataclass(frozen=True)
class Cell:
    """A target and a precision."""

    target: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.target} {self.precision}"


def list_cells(run: Run) -> list[Cell]:
    """Every precision of every target of the study. The base comes first: f32 of the run's own target, or of the CPU.

    Raises:
        ParameterError: a target is unknown, or no target runs a precision that is asked for.
    """
    params = run.params
    targets = list(dict.fromkeys([params.target, *params.study_targets]))
    known = {name: load_target(name).precisions for name in targets}
    for precision in params.study_precisions:
        if not any(precision in runs for runs in known.values()):
            expected = sorted({name for runs in known.values() for name in runs})
            raise ParameterError("no target of the study runs this precision", received=precision, expected=expected)
    chosen = params.study_precisions
    cells = [Cell(name, each) for name, runs in known.items() for each in runs if not chosen or each in chosen]
    base = Cell(params.target if "f32" in known[params.target] else "cpu", "f32")
    return list(dict.fromkeys([base, *cells]))


def make_cell(recipe: Recipe, run: Run, cell: Cell, keep_precise: Sequence[str] = ()) -> Run | None:
    """Performs a cell from its graph to its masks; None where its compiler is not on this machine.

    The graph was just made or reused by the run that asks, so that it is taken from the store here even with
    `cache: off`; everything behind it is made anew then.
    """
    keep = [*run.params.keep_precise, *keep_precise]
    changes = {"target": cell.target, "precision": cell.precision, "keep_precise": keep, "minimum_scores": {}}
    changes |= {"precision_study": False, "study_targets": [], "study_precisions": [], "interactive": False}
    params = run.params.model_copy(update={**changes, "batch_gears": [], "batch_size": _batch_size(cell)})
    cell_run = Run(params.model_copy(update={"cache": True}))
    try:
        stages.export_onnx(recipe, cell_run)
        stages.simplify_onnx(recipe, cell_run)
        stages.apply_surgery(recipe, cell_run)
        cell_run.params = params
        stages.compile_model(recipe, cell_run)
        runs_here = not read_manifest(cell_run).is_fallback
        if runs_here:
            stages.infer_cases(recipe, cell_run)
        cell_run.finish()
    finally:
        attach_log_file(run.path("run.log"))
    return cell_run if runs_here else None


def size_of_cell(cell_run: Run) -> int:
    """Bytes of the compiled files."""
    return sum(cell_run.path(f"{FOLDER}/{name}").stat().st_size for name in read_manifest(cell_run).files)


def time_cell(recipe: Recipe, cell_run: Run, sample: np.ndarray, folder: Path) -> list[dict]:
    """Latency, throughput and peak memory of a cell by batch size, in a process of its own; sample (1, C, ...)."""
    spec, manifest = recipe.graph_spec(cell_run.params), read_manifest(cell_run)
    batches = [size for size in cell_run.params.study_batches if not manifest.batches or size in manifest.batches]
    path = folder / "sample.npy"
    np.save(path, sample)
    options = {"precision": manifest.precision, "output_batch_axis": spec.output_batch_axis}
    budget_s = cell_run.params.study_seconds
    try:
        return time_in_own_process(
            compiled_path(cell_run), manifest.target, options, path, spec.input_name, batches, budget_s
        )
    finally:
        path.unlink()


def _batch_size(cell: Cell) -> int:
    batches = load_target(cell.target).batches
    return 1 if batches is None or 1 in batches else min(batches)
