"""A picture for each step of a notebook: what it started from, what it changed, what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.graph.read import load_graph
from helpers.recipes.base import Recipe
from helpers.run import Made, Run, StageResult
from helpers.run.digest import digest_file
from helpers.run.measure import label_step
from helpers.stages.compiled import compiled_path
from helpers.stages.data import digest_case, selected_cases
from helpers.stages.graph import EXPORTED, FINAL, SIMPLIFIED
from helpers.view import figures
from helpers.view.figures.slices import pick_slices
from helpers.view.windows import GreyWindow, load_window

_MOST_CASES = 4
_FORMS = {"exported": EXPORTED, "simplified": SIMPLIFIED, "after surgery": FINAL}


def draw_data(recipe: Recipe, run: Run) -> StageResult:
    """The first cases, each by the slice that has most marked in it."""
    cases = selected_cases(recipe, run)[:_MOST_CASES]
    window = load_window(run.params.grey_window or recipe.grey_window)

    def draw(folder: Path) -> None:
        previews = [_preview(recipe, run, files, window) for files in cases]
        figures.save_figure(figures.draw_previews(previews), folder / "figures/data.png")

    inputs = {"cases": {case.id: digest_case(case) for case in cases}, "window": window.model_dump(mode="json")}
    return _illustrate(run, "draw_data", "Pictures of the cases", inputs, draw)


def draw_exported(recipe: Recipe, run: Run) -> StageResult:
    """The graph as it was exported."""

    def draw(folder: Path) -> None:
        picture = figures.draw_graph(load_graph(run.path(EXPORTED)), f"{recipe.title}: as exported")
        figures.save_figure(picture, folder / "figures/exported.png")

    return _illustrate(run, "draw_exported", "Picture of the exported graph", _digests(run, "exported"), draw)


def draw_op_changes(run: Run, before: str, after: str) -> StageResult:
    """How many nodes of each op two forms of the graph have: "exported", "simplified" or "after surgery"."""
    forms = (before, after)

    def draw(folder: Path) -> None:
        counts = [Counter(node.op_type for node in load_graph(run.path(_FORMS[form])).graph.node) for form in forms]
        name = f"figures/ops_{after.replace(' ', '_')}.png"
        figures.save_figure(figures.draw_op_changes(*counts, forms), folder / name)

    name = f"draw_ops_{after.replace(' ', '_')}"
    return _illustrate(run, name, f"Ops, {before} and {after}", _digests(run, before, after), draw)


def draw_sizes(recipe: Recipe, run: Run) -> StageResult:
    """Bytes of the checkpoint, of each form of the graph and of what was compiled."""
    compiled = compiled_path(run)
    sizes = {"checkpoint": sum(path.stat().st_size for path in recipe.checkpoint_paths(run.params))}
    sizes |= {form: run.path(name).stat().st_size for form, name in _FORMS.items()}
    # A runtime may split a model into its graph and its weights: files of one stem belong together.
    parts = compiled.parent.glob(f"{compiled.stem}.*")
    sizes["compiled"] = sum(part.stat().st_size for part in parts if part.is_file())

    def draw(folder: Path) -> None:
        figures.save_figure(figures.draw_sizes(sizes), folder / "figures/sizes.png")

    return _illustrate(run, "draw_sizes", "Sizes of the model's files", sizes, draw)


def draw_parity(run: Run) -> StageResult:
    """Errors of every form of the model beside the limits that the parity step held."""
    rows = run.results["parity"].values
    limits = {name: row["limit"] for name, row in rows.items()}

    def draw(folder: Path) -> None:
        figures.save_figure(figures.draw_errors(rows, limits), folder / "figures/parity.png")

    return _illustrate(run, "draw_parity", "Errors and their limits", {"rows": rows}, draw)


def draw_case_times(run: Run, masks: Sequence[StageResult]) -> StageResult:
    """Seconds of each step of each case."""
    seconds = {
        result.stage.partition("/")[2]: {
            label_step(step, result.simulated): result.timings[step]
            for step in ("read", "open", "infer", "write")
        }
        for result in masks
    }

    def draw(folder: Path) -> None:
        figures.save_figure(figures.draw_case_times(seconds), folder / "figures/case_seconds.png")

    return _illustrate(run, "draw_case_times", "Seconds of each case", seconds, draw)


def draw_scores(run: Run) -> StageResult:
    """Scores of all cases with the mean's bootstrap interval; a line says so where no case has a truth."""
    scores = run.results["score"].values["cases"]
    limits = run.params.scores_to_reach()
    if not scores:
        made = Made((), {"picture": "none: no case has a truth"})
        return run.perform("draw_scores", "Picture of the scores", inputs={"scores": {}}, make=lambda _: made)

    def draw(folder: Path) -> None:
        figures.save_figure(figures.draw_scores(scores, limits), folder / "figures/scores.png")

    return _illustrate(run, "draw_scores", "Picture of the scores", {"scores": scores, "limits": limits}, draw)


def _illustrate(run: Run, stage: str, title: str, inputs: dict, draw) -> StageResult:
    def make(folder: Path) -> Made:
        draw(folder)
        return Made()

    return run.perform(stage, title, inputs=inputs, make=make)


def _digests(run: Run, *forms: str) -> dict[str, str]:
    return {form: digest_file(run.path(_FORMS[form])) for form in forms}


def _preview(recipe: Recipe, run: Run, files: CaseFiles, window: GreyWindow):
    case = recipe.read_case(files, run.params)
    if case.geometry is None:
        return case.id, case.image.transpose(1, 2, 0) / 255.0, case.truth, 1.0
    channel = case.image[recipe.shown_channel]
    index = channel.shape[0] // 2
    if case.truth is not None:
        index = pick_slices(case.truth, None, count=1)[0][0]
    low, high = window.limits(channel)
    grey = np.clip((channel[index] - low) / (high - low), 0, 1)
    spacing = case.geometry.spacing_mm_zyx
    return case.id, grey, None if case.truth is None else case.truth[index], spacing[1] / spacing[2]
