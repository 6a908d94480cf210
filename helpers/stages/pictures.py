"""The static pictures of a run: its graph, its masks, its seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.graph.lint import lint
from helpers.graph.read import load_graph
from helpers.params.targets import load_target
from helpers.recipes.base import Recipe
from helpers.run import Made, Run, StageResult
from helpers.run.digest import digest_file
from helpers.run.result import name_simulated
from helpers.stages.data import digest_case, selected_cases
from helpers.stages.graph import FINAL, SIMPLIFIED
from helpers.stages.infer import mask_name
from helpers.view import figures
from helpers.view.windows import GreyWindow, load_window


def draw_graph(recipe: Recipe, run: Run) -> StageResult:
    """Pictures of the graph before and after surgery; what the strictest linted target refuses has a red ring."""
    target = load_target(recipe.targets_to_lint[0])

    def make(folder: Path) -> Made:
        for source, name, when in ((SIMPLIFIED, "graph_before", "before"), (FINAL, "graph_after", "after")):
            model = load_graph(run.path(source))
            refused = {item.node for item in lint(model, target)}
            title = f"{recipe.title}: {when} surgery; refused by {target.title}: {len(refused)}"
            figures.save_figure(figures.draw_graph(model, title, refused), folder / f"figures/{name}.png")
        return Made(next_step="Compile the graph.")

    inputs = {name: digest_file(run.need(name)) for name in (SIMPLIFIED, FINAL)}
    inputs["target"] = target.name
    return run.perform("draw_graph", "Pictures of the graph", inputs=inputs, make=make)


def draw_results(recipe: Recipe, run: Run, most: int = 4) -> StageResult:
    """A slice montage and a 3-D view of each of the worst cases (the first ones where there is no score)."""
    scores = run.results["score"].values["cases"] if "score" in run.results else {}
    cases = sorted(selected_cases(recipe, run), key=lambda case: _mean(scores.get(case.id)))[:most]

    window = load_window(run.params.grey_window or recipe.grey_window)

    def make(folder: Path) -> Made:
        for rank, files in enumerate(cases, start=1):
            stem = folder / "figures" / f"{rank}_{files.id}"
            _draw_case(recipe, run, files, stem, scores.get(files.id), window)
        return Made(facts={"worst first": ", ".join(case.id for case in cases)}, next_step="Read the summary.")

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "masks": {case.id: digest_file(run.need(mask_name(recipe, case.id))) for case in cases},
        "scores": scores,
        "window": window.model_dump(mode="json"),
    }
    return run.perform("draw_results", "Pictures of the masks", inputs=inputs, make=make)


def draw_times(run: Run) -> Path:
    """Seconds of each step of this run; masks and pictures are summed."""
    seconds: dict[str, float] = {}
    masks = sum(name.startswith("infer/") for name in run.results)
    for name, result in run.results.items():
        title = f"Masks of {masks} cases" if name.startswith("infer/") else result.title
        title = "Pictures" if name.startswith("draw_") else title
        title = name_simulated(title, result.simulated)
        seconds[title] = seconds.get(title, 0.0) + result.seconds
    return figures.save_figure(figures.draw_stage_times(seconds), run.path("figures/seconds.png"))


def _draw_case(
    recipe: Recipe, run: Run, files: CaseFiles, stem: Path, scores: dict | None, window: GreyWindow
) -> None:
    case = recipe.read_case(files, run.params)
    prediction = recipe.read_mask(run.path(mask_name(recipe, files.id)), case)
    if case.geometry is None:
        gallery = figures.draw_gallery(files.id, case.image, prediction, case.truth, recipe.class_names, scores)
        figures.save_figure(gallery, stem.with_name(f"{stem.name}_picture.png"))
        return
    channel = case.image[recipe.shown_channel]
    montage = figures.draw_montage(
        files.id,
        channel,
        prediction,
        case.truth,
        geometry=case.geometry,
        class_names=recipe.class_names,
        window=window,
        scores=scores,
    )
    figures.save_figure(montage, stem.with_name(f"{stem.name}_slices.png"))
    masks = ({} if case.truth is None else {"truth": case.truth}) | {"prediction": prediction}
    body = figures.find_body(channel, window.limits(channel)[0])
    relief = figures.draw_relief(files.id, masks, body, geometry=case.geometry)
    figures.save_figure(relief, stem.with_name(f"{stem.name}_volume.png"))


def _mean(scores: dict | None) -> float:
    known = [value for value in (scores or {}).values() if value is not None]
    return float(np.mean(known)) if known else 0.0
