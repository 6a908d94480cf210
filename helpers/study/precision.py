"""The precision study of a run: compares every precision of every target by scores, speed and size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from helpers import stages
from helpers.compile.base import compiler_for
from helpers.errors import ParameterError
from helpers.params.targets import Precision, load_target
from helpers.recipes.base import Recipe
from helpers.run import Check, Run, StageOutput, StageResult
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file
from helpers.run.environment import package_version
from helpers.run.record import attach_log_file
from helpers.run.result import mark_simulated
from helpers.scoring.bootstrap import paired_interval
from helpers.scoring.dice import mean_of_known, without_ignored
from helpers.scoring.nnunet_metrics import mean_metrics, metrics_of_case
from helpers.stages.artifact import FOLDER, compiled_path, read_manifest
from helpers.stages.calibration import calibration_inputs, write_calibration_cases
from helpers.stages.data import digest_case, example_input, selected_cases
from helpers.stages.graph import FINAL
from helpers.stages.infer import mask_name, open_predictor
from helpers.stages.labels import run_labels
from helpers.stages.parity import Agreement, compare_outputs
from helpers.study.latency import published_speeds
from helpers.study.speed_program import time_in_own_process
from helpers.study.trace import rank_layers
from helpers.view import figures
from helpers.view.precision import Speed, draw_precision, precision_html

TABLE, SPEEDS, PAGE = "precision/table.json", "precision/speeds.json", "precision/table.html"
# Maximum change of the headline score in either direction, by precision; all quantised precisions share one limit.
_LIMITS = {"f32": 1e-4, "f16_weights": 1e-4, "f16": 2e-3, "bf16": 2e-3}
_QUANTISED_LIMIT = 6e-3
# Number of cases whose example windows are compared with torch, and used for ranking layers.
_WINDOWS = 4
_RANKING_WINDOWS = 2


@dataclass(frozen=True)
class Cell:
    """A target and a precision."""

    target: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.target} {self.precision}"


@dataclass(frozen=True)
class PrecisionRow:
    """The result of one cell.

    Attributes:
        cell: target and precision.
        status: `made`, or `not run here` if the compiler is not on this machine.
        size_bytes: size of the compiled files.
        error: maximum difference of the scores from torch's on example windows, as a fraction of their range.
        window_flips, window_positions: labels that differ from torch's on these windows, and their total number.
        scores: the recipe's scores over all cases.
        headline, change, interval: the mean of the headline scores, its change from the base, and the paired
            bootstrap interval (95 %) of the change.
        changed_labels, labels: voxels or pixels of all masks that differ from the base's, and their total number.
        degenerate: cases whose mask has a single label although the truth has several.
        put_back: layers that the search restored to float32, in addition to those always kept in it.
        attempts: (number of restored layers, change) for each attempt of the search.
        metrics: nnU-Net's metrics by label.
    """

    cell: Cell
    status: str
    size_bytes: int = 0
    error: float = math.nan
    window_flips: int = 0
    window_positions: int = 0
    scores: dict[str, float | None] = field(default_factory=dict)
    headline: float | None = None
    change: float | None = None
    interval: tuple[float, float] | None = None
    changed_labels: int = 0
    labels: int = 0
    degenerate: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()
    attempts: tuple[tuple[int, float | None], ...] = ()
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether the precision may be used; None if nothing was run or nothing could be scored."""
        if self.status != "made":
            return None
        if self.degenerate or not math.isfinite(self.error):
            return False
        return None if self.change is None else abs(self.change) <= limit_of(self.cell.precision)

    def to_json(self) -> dict:
        """As JSON; numbers are rounded to the digits that every machine agrees on."""
        content = asdict(self) | {"limit": limit_of(self.cell.precision), "passed": self.passed}
        return {name: _rounded(value) for name, value in content.items()}

    def cells(self) -> dict[str, str]:
        """The row as texts by column, for a table."""
        if self.status != "made":
            return {"target": self.cell.target, "precision": self.cell.precision, "gate": self.status}
        low, high = self.interval or (math.nan, math.nan)
        mark = {True: "✓", False: "✗", None: "–"}[self.passed]
        return {
            "target": self.cell.target,
            "precision": self.cell.precision,
            "size MB": f"{self.size_bytes / 1e6:.2f}",
            "maximum error": f"{self.error:.1e}",
            "changed labels": f"{self.changed_labels:,} of {self.labels:,}",
            "score": "–" if self.headline is None else f"{self.headline:.4f}",
            "change": "–" if self.change is None else f"{self.change:+.5f}",
            "95 % interval": "–" if self.interval is None else f"{low:+.5f} to {high:+.5f}",
            "masks": f"single label in {len(self.degenerate)}" if self.degenerate else "✓",
            "restored layers": str(len(self.put_back)) if self.put_back else "",
            "gate": f"{mark} {limit_of(self.cell.precision):g}",
        }


@dataclass
class CellMasks:
    """The masks of one cell, compared with the truth and with the base's masks over the cases that have a truth.

    Attributes:
        scores, tallies: one entry per case, as the recipe computes them.
        metrics: nnU-Net's metrics by label, one entry per case; empty for recipes without them.
        changed_labels, labels: voxels or pixels that differ from the base's masks, and their total number.
        degenerate: cases whose mask has a single label although the truth has several.
    """

    scores: list[Mapping[str, float | None]] = field(default_factory=list)
    tallies: list[np.ndarray | None] = field(default_factory=list)
    metrics: list[Mapping[str, Mapping[str, float]]] = field(default_factory=list)
    changed_labels: int = 0
    labels: int = 0
    degenerate: list[str] = field(default_factory=list)


def limit_of(precision: str) -> float:
    """The maximum change of the headline score that is accepted for a precision.

    >>> limit_of("bf16"), limit_of("int8")
    (0.002, 0.006)
    """
    return _LIMITS.get(precision, _QUANTISED_LIMIT)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return value


def list_cells(run: Run) -> list[Cell]:
    """Every precision of every target in the study. The base comes first: f32 on the run's own target, or on the CPU.

    Raises:
        ParameterError: a target is unknown, or no target supports a requested precision.
    """
    params = run.params
    targets = list(dict.fromkeys([params.target, *params.study_targets]))
    supported = {name: load_target(name).precisions for name in targets}
    for precision in params.study_precisions:
        if not any(precision in precisions for precisions in supported.values()):
            expected = " or ".join(sorted({name for precisions in supported.values() for name in precisions}))
            problem = "no target of the study supports this precision"
            raise ParameterError(problem, received=precision, expected=expected)
    chosen = params.study_precisions
    cells = [
        Cell(name, each)
        for name, precisions in supported.items()
        for each in precisions
        if not chosen or each in chosen
    ]
    base = Cell(params.target if "f32" in supported[params.target] else "cpu", "f32")
    return list(dict.fromkeys([base, *cells]))


def study_precisions(recipe: Recipe, run: Run, *, always: bool = False) -> StageResult:
    """Writes `precision/table.json` (reproducible to the byte), `speeds.json`, `table.html` and a picture.

    Nothing is run unless `precision_study` or `always` is set.

    Args:
        recipe, run: a run that has a graph.
        always: run the study even if `precision_study` is off.

    Returns:
        One row per cell; `values["passed"]` says whether each cell passed its gate. A failed gate does not fail the
        run: finding it is the purpose of the study.
    """
    cells = list_cells(run)
    requested = always or run.params.precision_study

    def make(folder: Path) -> StageOutput:
        if not requested:
            facts = {
                "precision study": "off; set precision_study to run it",
                "would compare": ", ".join(map(str, cells)),
            }
            return StageOutput((), facts, {}, "Read the summary.", "not run here")
        study = _Study(recipe, run, folder)
        rows = [study.measure(cell) for cell in cells]
        return _report(recipe, rows, study.speeds, folder)

    inputs: dict[str, object] = {"requested": requested, "cells": [str(cell) for cell in cells]}
    if requested:
        write_calibration_cases(recipe, run)
        inputs |= {
            "graph": digest_file(run.require_file(FINAL)),
            "cases": {case.id: digest_case(case) for case in selected_cases(recipe, run)},
            "calibration": calibration_inputs(recipe, run),
            "rules": recipe.model.cache_key_extras(run.params),
            "compilers": {cell.target: _identify_compiler(cell.target) for cell in cells},
            "params": run.params.model_dump(mode="json", exclude={"profile", *run.params.NOT_HASHED}),
        }
    return run.perform("precision", "Precision study", inputs=inputs, make=make, code=(recipe,))


def _identify_compiler(name: str) -> dict[str, object] | None:
    target = load_target(name)
    found = compiler_for(target.runtime).identity(target)
    return {**found, "runtime": package_version(target.runtime)} if found else None


class _Study:
    """Measures one cell after another. The first one is the base that the others are compared with."""

    def __init__(self, recipe: Recipe, run: Run, folder: Path):
        self.recipe, self.run, self.folder = recipe, run, folder
        cases = selected_cases(recipe, run)[:_WINDOWS]
        samples = [example_input(recipe, run, files) for files in cases]
        self.windows = [np.ascontiguousarray(sample[None], np.float32) for sample in samples]
        reference = recipe.model.load(run.params).scores
        self.expected = [reference(window) for window in self.windows]
        self.runs: dict[str, Run] = {}
        self.speeds: dict[str, list[Speed]] = {}

    @property
    def base(self) -> str:
        """Name of the first cell."""
        return next(iter(self.runs))

    def measure(self, cell: Cell) -> PrecisionRow:
        """Compiles, scores and times a cell."""
        cell_run = make_cell(self.recipe, self.run, cell)
        if cell_run is None:
            return PrecisionRow(cell, "not run here")
        self.runs[str(cell)] = cell_run
        row = self._judge(cell, cell_run)
        can_search = row.change is not None and self.run.params.int8_attempts > 1
        if cell.precision == "int8" and row.passed is False and can_search:
            row = self._search(cell, row)
        self.speeds[str(cell)] = time_cell(self.recipe, self.runs[str(cell)], self.windows[0], self.folder)
        return row

    def _judge(
        self,
        cell: Cell,
        cell_run: Run,
        put_back: Sequence[str] = (),
        attempts: Sequence[tuple[int, float | None]] = (),
    ) -> PrecisionRow:
        pair = {self.base: self.runs[self.base], str(cell): cell_run}
        masks = compare_masks(self.recipe, self.run, pair, self.base)
        ours = masks[str(cell)]
        change, interval = score_change(self.recipe, self.run, ours, masks[self.base])
        agreement = self._compare_with_torch(str(cell), cell_run)
        return PrecisionRow(
            cell,
            "made",
            size_bytes=compiled_bytes(cell_run),
            error=agreement.largest,
            window_flips=agreement.flips,
            window_positions=agreement.positions,
            scores=self.recipe.scoring.aggregate(ours.scores, ours.tallies, self.run.params) if ours.scores else {},
            headline=headline(self.recipe, self.run, ours) if ours.scores else None,
            change=change,
            interval=interval,
            changed_labels=ours.changed_labels,
            labels=ours.labels,
            degenerate=tuple(ours.degenerate),
            put_back=tuple(put_back),
            attempts=tuple(attempts),
            metrics=mean_metrics(ours.metrics) if ours.metrics else {},
        )

    def _compare_with_torch(self, name: str, cell_run: Run) -> Agreement:
        with open_predictor(self.recipe, cell_run) as predictor:
            outputs = [predictor.submit(window).result() for window in self.windows]
        return compare_outputs(name, self.expected, outputs)

    def _search(self, cell: Cell, first: PrecisionRow) -> PrecisionRow:
        """Restores layers to float32, the most harmful first, and keeps the attempt with the smallest change."""
        windows = self.windows[:_RANKING_WINDOWS]
        worst_first = rank_layers(self.recipe, self.runs[self.base], self.runs[str(cell)], windows)
        tried: dict[tuple[str, ...], tuple[PrecisionRow, Run]] = {(): (first, self.runs[str(cell)])}

        def measure(layers: tuple[str, ...]) -> float:
            if layers not in tried:
                cell_run = make_cell(self.recipe, self.run, cell, layers)
                if cell_run is None:
                    return math.inf
                tried[layers] = (self._judge(cell, cell_run, layers), cell_run)
            change = tried[layers][0].change
            return math.inf if change is None else change

        limit, max_attempts = limit_of(cell.precision), self.run.params.int8_attempts
        attempts = search_fp32_layers(measure, worst_first, limit=limit, max_attempts=max_attempts)
        best = min(attempts, key=lambda attempt: abs(attempt.change))
        self.runs[str(cell)] = tried[best.fp32_layers][1]
        shown = [(len(attempt.fp32_layers), attempt.change) for attempt in attempts]
        return self._judge(cell, self.runs[str(cell)], best.fp32_layers, shown)


def make_cell(recipe: Recipe, run: Run, cell: Cell, fp32_layers: Sequence[str] = ()) -> Run | None:
    """Runs a cell from its graph to its masks; returns None if its compiler is not on this machine.

    The graph comes from the cache even with `cache: off`, because the run of the study has just made it; the stages
    after it are then recomputed.
    """
    keep = [*run.params.fp32_layers, *fp32_layers]
    changes: dict[str, object] = {"target": cell.target, "precision": cell.precision, "fp32_layers": keep}
    changes |= {"precision_study": False, "study_targets": [], "study_precisions": [], "mask_format": "own"}
    changes |= {"minimum_scores": {}, "interactive": False, "batch_gears": [], "batch_size": _batch_size(cell)}
    params = run.params.model_copy(update=changes)
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


def _batch_size(cell: Cell) -> int:
    batches = load_target(cell.target).batches
    return 1 if batches is None or 1 in batches else min(batches)


def compiled_bytes(cell_run: Run) -> int:
    """Total size of the compiled files."""
    return sum(cell_run.path(f"{FOLDER}/{name}").stat().st_size for name in read_manifest(cell_run).files)


def time_cell(recipe: Recipe, cell_run: Run, sample: np.ndarray, folder: Path) -> list[Speed]:
    """Measures latency, throughput and peak memory of a cell by batch size, in a separate process.

    Args:
        recipe, cell_run: the cell.
        sample: one batch (1, C, *window).
        folder: for a temporary file.
    """
    spec, manifest = recipe.model.graph_spec(cell_run.params), read_manifest(cell_run)
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


def compare_masks(recipe: Recipe, run: Run, cells: Mapping[str, Run], base: str) -> dict[str, CellMasks]:
    """Reads every case once and compares each cell's mask with the truth and with the base's mask."""
    found = {name: CellMasks() for name in cells}
    for files in selected_cases(recipe, run):
        case = recipe.cases.read_case(files, run.params) if files.truth is not None else None
        if case is None or case.truth is None:
            continue
        base_mask = recipe.cases.read_mask(cells[base].path(mask_name(recipe, run, files.id)), case)
        for name, cell_run in cells.items():
            mask = recipe.cases.read_mask(cell_run.path(mask_name(recipe, cell_run, files.id)), case)
            row = found[name]
            row.scores.append(recipe.scoring.score(mask, case.truth, run.params))
            row.tallies.append(recipe.scoring.tally(mask, case.truth, run.params))
            row.changed_labels += int(np.count_nonzero(mask != base_mask))
            row.labels += mask.size
            if np.ptp(mask) == 0 and np.ptp(case.truth) > 0:
                row.degenerate.append(files.id)
            if recipe.scoring.has_nnunet_metrics:
                labels = run_labels(recipe, run)
                pair = without_ignored(mask, case.truth, labels.ignore)
                row.metrics.append(metrics_of_case(*pair, labels.scored))
    return found


def headline(recipe: Recipe, run: Run, masks: CellMasks, indices: Sequence[int] | None = None) -> float | None:
    """The mean of the recipe's headline scores over all cases, or over some of them."""
    chosen = range(len(masks.scores)) if indices is None else indices
    scores, tallies = [masks.scores[i] for i in chosen], [masks.tallies[i] for i in chosen]
    total = recipe.scoring.aggregate(scores, tallies, run.params)
    return mean_of_known([total[name] for name in recipe.scoring.headline_scores(run.params)])


def score_change(
    recipe: Recipe, run: Run, masks: CellMasks, base: CellMasks
) -> tuple[float | None, tuple[float, float] | None]:
    """The change of the headline score from the base, and its paired bootstrap interval over cases."""

    def change(indices: Sequence[int] | None) -> float | None:
        ours, theirs = headline(recipe, run, masks, indices), headline(recipe, run, base, indices)
        return None if ours is None or theirs is None else ours - theirs

    if not masks.scores:
        return None, None
    return change(None), paired_interval(len(masks.scores), change)


@dataclass(frozen=True)
class Attempt:
    """One int8 model of a search: the layers restored to float32, and the signed change of the score."""

    fp32_layers: tuple[str, ...]
    change: float


def search_fp32_layers(
    measure: Callable[[tuple[str, ...]], float], worst_first: Sequence[str], *, limit: float, max_attempts: int
) -> list[Attempt]:
    """Restores the 0, 1, 3, 7, … most harmful layers to float32 until the change is within the limit.

    Args:
        measure: quantises a model with these layers in float32 and returns the signed change of the score.
        worst_first: the layers, the most harmful first.
        limit: maximum accepted change.
        max_attempts: maximum number of models to compile.

    Returns:
        The attempts in order; the one with the smallest change is not necessarily the last.

    >>> changes = {0: -0.02, 1: -0.008, 3: -0.004}
    >>> found = search_fp32_layers(lambda kept: changes[len(kept)], ["a", "b", "c", "d"], limit=0.006, max_attempts=9)
    >>> [attempt.fp32_layers for attempt in found]
    [(), ('a',), ('a', 'b', 'c')]
    """
    attempts: list[Attempt] = []
    for count in _growing_counts(len(worst_first))[:max_attempts]:
        layers = tuple(worst_first[:count])
        attempts.append(Attempt(layers, measure(layers)))
        if abs(attempts[-1].change) <= limit:
            break
    return attempts


def _growing_counts(available: int) -> list[int]:
    counts = [2**power - 1 for power in range(available.bit_length() + 1)]
    return [*(count for count in counts if count < available), available]


def _report(recipe: Recipe, rows: list[PrecisionRow], speeds: dict[str, list[Speed]], folder: Path) -> StageOutput:
    (folder / TABLE).parent.mkdir(exist_ok=True)
    published = published_speeds(recipe.name)
    write_json(folder / TABLE, {"recipe": recipe.name, "rows": [row.to_json() for row in rows]})
    write_json(folder / SPEEDS, speeds)
    (folder / PAGE).write_text(precision_html(recipe.title, rows, speeds, published), encoding="utf-8")
    drawing = draw_precision(recipe.title, rows, speeds, published)
    figures.save_figure(drawing, folder / "figures/precision.png")
    checks = [_check(row) for row in rows if row.passed]
    facts = {str(row.cell): _summarize(row, speeds.get(str(row.cell), [])) for row in rows}
    if failed := [_check(row) for row in rows if row.passed is False]:
        facts["failed gates"] = "; ".join(map(str, failed))
    simulated = any(speed["simulated"] for found in speeds.values() for speed in found)
    values = {"passed": {str(row.cell): row.passed for row in rows}}
    pictures = {
        "figures/precision.png": "The change of the score and the speed of each precision; red is beyond the limit."
    }
    next_step = "Choose a precision that passed its gate."
    return StageOutput(tuple(checks), facts, values, next_step, simulated=simulated, pictures=pictures)


def _check(row: PrecisionRow) -> Check:
    shown = row.cells()
    figure = f"{shown['change']} of {limit_of(row.cell.precision):g}, interval {shown['95 % interval']}"
    if row.degenerate:
        figure = f"masks with a single label: {', '.join(row.degenerate)}"
    return Check(f"{row.cell}: score compared with the base", bool(row.passed), figure)


def _summarize(row: PrecisionRow, speeds: list[Speed]) -> str:
    if row.status != "made":
        return row.status
    shown = row.cells()
    text = f"{shown['size MB']} MB, error {shown['maximum error']}, {shown['changed labels']} labels changed"
    text += f", score {shown['score']}"
    if speeds:
        first = speeds[0]
        text += f"; {first['p50_ms']:.1f} ms{mark_simulated(first['simulated'])} at batch {first['batch']}"
    return text + (f"; {len(row.put_back)} layers restored to float32" if row.put_back else "")
