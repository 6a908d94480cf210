"""The windows that int8 models are calibrated with, around labelled voxels and at random places of several cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from helpers.compile import base as compile_base
from helpers.compile.atc import amct_command, find_amct
from helpers.data.case import CaseFiles
from helpers.inference import WindowPlan
from helpers.recipes.base import Recipe
from helpers.run import Run, StageOutput, StageResult
from helpers.stages.data import Unstarted, demo_root, digest_case, pick_cases, selected_cases, write_demo_cases

WINDOWS, BINS = "calibration/windows.npz", "calibration/bins"
_MAX_CASES = 8
_TRIES = 20


@dataclass(frozen=True)
class CalibrationSet:
    """Windows (N, C, *window) float32, prepared for the network, and the origin of each: `case[z:y:x]`."""

    windows: np.ndarray
    ids: tuple[str, ...]


def prepare_calibration(recipe: Recipe, run: Run) -> StageResult:
    """Writes `calibration/windows.npz` with the arrays `windows` and `ids`.

    Each case gives one window around labelled voxels and, if the network runs on windows of a volume,
    `calibration_windows` - 1 more at random (seeded) places that contain more than air.
    """
    write_calibration_cases(recipe, run)
    cases = calibration_cases(recipe, run)
    scored = _scored_cases(recipe, run)
    again = [case.id for case in cases if case.id in scored]
    amct = find_amct() is not None

    def make(folder: Path) -> StageOutput:
        drawn = _draw_windows(recipe, run, cases)
        path = folder / WINDOWS
        path.parent.mkdir()
        np.savez(path, windows=drawn.windows, ids=np.array(drawn.ids))
        low, high = (float(edge(drawn.windows)) for edge in (np.min, np.max))
        facts: dict[str, object] = {"windows": f"{len(drawn.ids)} of {len(cases)} cases", "ids": ", ".join(drawn.ids)}
        facts["range"] = f"{low:.3g} to {high:.3g}"
        if amct:
            spec = recipe.model.graph_spec(run.params)
            _write_bins(drawn, folder / BINS)
            facts["for Ascend's AMCT"] = amct_command("model.onnx", BINS, "compiled/model", spec)
        if again:
            facts["note"] = f"this run also scores {', '.join(again)}, so its int8 scores are optimistic"
        return StageOutput((), facts, {"ids": list(drawn.ids), "also_scored": again}, "Compile in int8.")

    inputs = {**calibration_inputs(recipe, run), "amct": amct, "also_scored": again}
    return run.perform(
        "calibration", "Calibration set", inputs=inputs, make=make, code=(recipe.cases, recipe.preparation)
    )


class Calibration(compile_base.Calibration, Protocol):
    """The windows that a compiler calibrates with, and the code that makes them."""

    def code(self) -> tuple[object, ...]:
        """The code that makes the windows, for a cache key."""


class RunCalibration:
    """The calibration set of a run."""

    def __init__(self, recipe: Recipe, run: Run):
        self._recipe, self._run = recipe, run

    def windows(self) -> np.ndarray:
        """Windows (N, C, *window) float32, made by `prepare_calibration`."""
        prepare_calibration(self._recipe, self._run)
        with np.load(self._run.path(WINDOWS), allow_pickle=False) as content:
            return content["windows"]

    def inputs(self) -> Mapping[str, object]:
        """As `calibration_inputs`; demo cases that are missing are written first."""
        write_calibration_cases(self._recipe, self._run)
        return calibration_inputs(self._recipe, self._run)

    def code(self) -> tuple[object, ...]:
        """The code that reads and prepares cases and cuts windows from them."""
        return self, self._recipe.cases, self._recipe.preparation


def write_calibration_cases(recipe: Recipe, run: Run) -> None:
    """Writes the demo's calibration cases if they are missing."""
    if run.params.data_root == "demo":
        write_demo_cases(recipe, run, run.params.calibration_seeds)


def calibration_cases(recipe: Recipe, run: Run) -> list[CaseFiles]:
    """The cases to calibrate with, by the first rule that applies.

    For the demo: cases generated from separate seeds. The cases that `calibration_cases` names. The first cases that
    the run does not score. The first cases, if the run scores all.

    Raises:
        DataError: a named case does not exist.
        StepOrderError: the demo cases are not written yet (`write_calibration_cases`).
    """
    params = run.params
    if params.data_root == "demo":
        root = demo_root(recipe, run, params.calibration_seeds)
        return recipe.cases.list_cases(root, params.model_copy(update={"cases": []}))
    every = recipe.cases.list_cases(recipe.cases.data_folder(params), params.model_copy(update={"cases": []}))
    if params.calibration_cases:
        return pick_cases(every, params.calibration_cases)
    scored = _scored_cases(recipe, run)
    return ([case for case in every if case.id not in scored] or every)[:_MAX_CASES]


def _scored_cases(recipe: Recipe, run: Run) -> set[str]:
    """Ids of the cases that the run scores, those of every other part included: all parts have one model."""
    return {case.id for case in selected_cases(recipe, Unstarted(run.params.model_copy(update={"part": ""})))}


def calibration_inputs(recipe: Recipe, run: Run) -> Mapping[str, object]:
    """Everything that determines the calibration set, as JSON."""
    params = run.params
    return {
        "cases": {case.id: digest_case(case) for case in calibration_cases(recipe, run)},
        "windows": params.calibration_windows,
        "seed": params.calibration_seed,
        "rules": recipe.model.cache_key_extras(params),
        "params": params.model_dump(mode="json", include=params.own_fields()),
    }


def _write_bins(drawn: CalibrationSet, folder: Path) -> None:
    """Writes one raw float32 file per window; AMCT reads no other format."""
    folder.mkdir()
    for index, window in enumerate(drawn.windows):
        window.tofile(folder / f"{index:04d}.bin")


def _draw_windows(recipe: Recipe, run: Run, cases: list[CaseFiles]) -> CalibrationSet:
    windows, ids = [], []
    for index, files in enumerate(cases):
        case = recipe.cases.read_case(files, run.params)
        windows.append(recipe.preparation.example_input(case, run.params))
        ids.append(f"{files.id}[foreground]")
        random = np.random.default_rng([run.params.calibration_seed, index])
        job = recipe.preparation.prepare_job(case, run.params)
        if job.plan is None:
            continue
        for _ in range(run.params.calibration_windows - 1):
            window, start = _draw_window(job.image, job.plan, random)
            windows.append(window)
            ids.append(f"{files.id}[{':'.join(map(str, start))}]")
    return CalibrationSet(np.stack(windows).astype(np.float32, copy=False), tuple(ids))


def _draw_window(
    image: np.ndarray, plan: WindowPlan, random: np.random.Generator
) -> tuple[np.ndarray, tuple[int, ...]]:
    """A window (C, *window) at a random place, and its first voxel (Z, Y, X); a window that is all air is redrawn."""
    sides = (1, *plan.window) if plan.is_flat else plan.window
    missing = [max(0, side - size) for side, size in zip(sides, image.shape[1:], strict=True)]
    image = np.pad(image, [(0, 0), *((gap // 2, gap - gap // 2) for gap in missing)])
    for _ in range(_TRIES):
        start = tuple(
            int(random.integers(size - side + 1)) for size, side in zip(image.shape[1:], sides, strict=True)
        )
        box = tuple(slice(first, first + side) for first, side in zip(start, sides, strict=True))
        window = image[(slice(None), *box)]
        if np.ptp(window) > 0:
            break
    return np.ascontiguousarray(window[:, 0] if plan.is_flat else window), start
