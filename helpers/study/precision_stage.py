"""The precision study of a run: every precision of every target side by side, judged, with speeds and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.compile.quantize import search_kept_layers
from helpers.compile.registry import compiler_for
from helpers.inference.device_call import DeviceCall
from helpers.params.targets import load_target
from helpers.recipes.base import Recipe
from helpers.run import Check, Made, Run, StageResult
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file
from helpers.run.environment import package_version
from helpers.run.result import mark_simulated
from helpers.stages.calibration import calibration_inputs
from helpers.stages.data import digest_case, selected_cases
from helpers.stages.graph import FINAL
from helpers.stages.infer import run_call
from helpers.study.batch_sweep import published_speeds
from helpers.study.parity import compare_outputs
from helpers.study.parity_stage import torch_reference
from helpers.study.precision_cells import Cell, list_cells, make_cell, size_of_cell, time_cell
from helpers.study.precision_masks import compare_masks, headline, score_change, thirteen
from helpers.study.precision_table import PrecisionRow, limit_of
from helpers.study.sensitivity import rank_layers
from helpers.view import figures
from helpers.view.precision import precision_html

TABLE, SPEEDS, PAGE = "precision/table.json", "precision/speeds.json", "precision/table.html"
_WINDOWS = 4


def study_precisions(recipe: Recipe, run: Run, *, always: bool = False) -> StageResult:
    """`precision/table.json` (the same bytes each time), `speeds.json`, `table.html` and a picture.

    Without `precision_study` nothing is run and the result says so.

    Args:
        recipe, run: a run whose graph was made.
        always: run it whatever `precision_study` says.

    Returns:
        A row a cell; `values["passed"]` says which gates hold. One that does not hold is shown, and does not end the
        run: that it cannot be used is what the study is to find out.
    """
    cells = list_cells(run)
    asked = always or run.params.precision_study

    def make(folder: Path) -> Made:
        if not asked:
            facts = {"precision study": "off; set precision_study to run it", "would run": ", ".join(map(str, cells))}
            return Made((), facts, {}, "Read the summary.", "not run here")
        study = _Study(recipe, run, folder)
        rows = [study.row(cell) for cell in cells]
        return _report(recipe, rows, study.speeds, folder)

    inputs: dict[str, object] = {"asked": asked, "cells": [str(cell) for cell in cells]}
    if asked:
        inputs |= {
            "graph": digest_file(run.path(FINAL)),
            "cases": {case.id: digest_case(case) for case in selected_cases(recipe, run)},
            "calibration": calibration_inputs(recipe, run),
            "rules": recipe.rules(run.params),
            "compilers": {cell.target: _compiler_of(cell.target) for cell in cells},
            "params": run.params.model_dump(mode="json", exclude={"profile", *run.params.NOT_HASHED}),
        }
    return run.perform("precision", "Precision study", inputs=inputs, make=make)


def _compiler_of(name: str) -> dict[str, object] | None:
    target = load_target(name)
    found = compiler_for(target.runtime).identity(target)
    return found and {**found, "runtime": package_version(target.runtime)}


class _Study:
    """Makes the cells one after the other; the first one is the base of every comparison."""

    def __init__(self, recipe: Recipe, run: Run, folder: Path):
        self.recipe, self.run, self.folder = recipe, run, folder
        cases = selected_cases(recipe, run)[:_WINDOWS]
        samples = [recipe.example_input(recipe.read_case(files, run.params), run.params) for files in cases]
        self.windows = [np.ascontiguousarray(sample[None], np.float32) for sample in samples]
        truth = torch_reference(recipe, run)
        self.expected = [truth(window) for window in self.windows]
        self.runs: dict[str, Run] = {}
        self.speeds: dict[str, list[dict]] = {}

    def row(self, cell: Cell) -> PrecisionRow:
        """Makes, judges and times a cell."""
        cell_run = make_cell(self.recipe, self.run, cell)
        if cell_run is None:
            return PrecisionRow(cell, "not run here")
        self.runs[str(cell)] = cell_run
        row = self._judge(cell, cell_run)
        if cell.precision == "int8" and row.passed is False and self.run.params.int8_attempts > 1:
            row = self._search(cell, row)
        self.speeds[str(cell)] = time_cell(self.recipe, self.runs[str(cell)], self.windows[0], self.folder)
        return row

    def _judge(self, cell: Cell, cell_run: Run, put_back=(), attempts=()) -> PrecisionRow:
        base = next(iter(self.runs))
        pair = {base: self.runs[base], str(cell): cell_run}
        masks = compare_masks(self.recipe, self.run, pair, base)
        ours = masks[str(cell)]
        change, interval = score_change(self.recipe, ours, masks[base])
        with run_call(self.recipe, cell_run) as call:
            agreement = self._agreement(str(cell), call)
        return PrecisionRow(
            cell,
            "made",
            size_of_cell(cell_run),
            agreement.largest,
            agreement.flips,
            agreement.positions,
            self.recipe.aggregate(ours.scores, ours.tallies) if ours.scores else {},
            headline(self.recipe, ours) if ours.scores else None,
            change,
            interval,
            ours.changed_labels,
            ours.labels,
            tuple(ours.degenerate),
            tuple(put_back),
            tuple(attempts),
            thirteen(ours),
        )

    def _agreement(self, name: str, call: DeviceCall):
        return compare_outputs(name, self.expected, [call(window) for window in self.windows])

    def _search(self, cell: Cell, first: PrecisionRow) -> PrecisionRow:
        """Puts layers back to f32, the most harmful first, and keeps the attempt that changes the score least."""
        base = self.runs[next(iter(self.runs))]
        worst_first = rank_layers(self.recipe, base, self.runs[str(cell)], self.windows[:2])
        tried = {(): (first, self.runs[str(cell)])}

        def measure(kept: tuple[str, ...]) -> float:
            if kept not in tried:
                cell_run = make_cell(self.recipe, self.run, cell, kept)
                tried[kept] = (self._judge(cell, cell_run, kept), cell_run)
            return tried[kept][0].change

        limit, most = limit_of(cell.precision), self.run.params.int8_attempts
        attempts = search_kept_layers(measure, (), worst_first, limit, most)
        best = min(attempts, key=lambda attempt: abs(attempt.change))
        self.runs[str(cell)] = tried[best.kept][1]
        shown = [(len(attempt.kept), attempt.change) for attempt in attempts]
        return self._judge(cell, tried[best.kept][1], best.kept, shown)


def _report(recipe: Recipe, rows: list[PrecisionRow], speeds: dict[str, list[dict]], folder: Path) -> Made:
    (folder / TABLE).parent.mkdir(exist_ok=True)
    published = published_speeds(recipe.name)
    write_json(folder / TABLE, {"recipe": recipe.name, "rows": [row.to_json() for row in rows]})
    write_json(folder / SPEEDS, speeds)
    (folder / PAGE).write_text(precision_html(recipe.title, rows, speeds, published), encoding="utf-8")
    drawing = figures.draw_precision(recipe.title, rows, speeds, published)
    figures.save_figure(drawing, folder / "figures/precision.png")
    checks = [_check(row) for row in rows if row.passed]
    facts = {str(row.cell): _fact(row, speeds.get(str(row.cell), [])) for row in rows}
    if failed := [_check(row) for row in rows if row.passed is False]:
        facts["does not hold"] = "; ".join(map(str, failed))
    simulated = any(speed["simulated"] for found in speeds.values() for speed in found)
    values = {"passed": {str(row.cell): row.passed for row in rows}}
    return Made(tuple(checks), facts, values, "Choose a precision whose gate holds.", simulated=simulated)


def _check(row: PrecisionRow) -> Check:
    shown = row.cells()
    figure = f"{shown['change']} of {limit_of(row.cell.precision):g}, interval {shown['95 % interval']}"
    if row.degenerate:
        figure = f"masks of one label: {', '.join(row.degenerate)}"
    return Check(f"{row.cell}: score against the base", bool(row.passed), figure)


def _fact(row: PrecisionRow, speeds: list[dict]) -> str:
    if row.status != "made":
        return row.status
    shown = row.cells()
    text = f"{shown['size MB']} MB, error {shown['largest error']}, flips {shown['flips']}, score {shown['score']}"
    if speeds:
        first = speeds[0]
        text += f"; {first['p50_ms']:.1f} ms{mark_simulated(first['simulated'])} at batch {first['batch']}"
    return text + (f"; {len(row.put_back)} layers put back to f32" if row.put_back else "")
