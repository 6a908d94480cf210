"""The static pictures of a run, which its stages show below their tables, in the order of a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.data.case import CaseFiles
from helpers.graph.lint import lint
from helpers.graph.read import load_graph
from helpers.params.targets import load_target
from helpers.recipes.base import Recipe
from helpers.run import Run, StageOutput, StageResult
from helpers.run.digest import digest_file
from helpers.run.measure import label_step
from helpers.run.result import name_simulated
from helpers.stages.artifact import compiled_path
from helpers.stages.data import digest_case, selected_cases
from helpers.stages.graph import EXPORTED, FINAL, SIMPLIFIED
from helpers.stages.infer import mask_name
from helpers.stages.labels import run_labels
from helpers.stages.lesions import KIND_CODES, map_lesions, mark_lesions
from helpers.view import figures
from helpers.view.figures.cases import pick_slices
from helpers.view.windows import GreyWindow, load_window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Name of a picture's file, without folder and suffix -> the figure and its caption.
Pictures = dict[str, tuple["Figure", str]]

_CASES_SHOWN = 4
_FORMS = {"exported": EXPORTED, "simplified": SIMPLIFIED, "after surgery": FINAL}
_FLOW = "Data flows from left to right; each halving of the resolution is one row down."
_REJECTED = "A red ring marks a node that the target rejects."
_SHOWN_LESIONS = {kind: KIND_CODES[kind] for kind in ("false", "missed")}
_ERRORS = "In the last column green is correct, yellow is a false positive or the wrong label, and pink was missed."


def illustrations(recipe: Recipe, run: Run) -> dict[str, Callable[[], StageResult]]:
    """Maps each stage to the function that draws its picture when the stage's result is displayed.

    Pictures are cached like other stages; a picture that cannot be drawn does not fail the run.
    """
    return {
        "data": lambda: draw_data(recipe, run),
        "export": lambda: draw_exported(recipe, run),
        "simplify": lambda: draw_op_changes(run, "exported", "simplified"),
        "surgery": lambda: draw_op_changes(run, "simplified", "after surgery"),
        "lint": lambda: draw_graph(recipe, run),
        "compile": lambda: draw_sizes(recipe, run),
        "parity": lambda: draw_parity(run),
        "infer": lambda: draw_case_times(run),
        "score": lambda: draw_scores(run),
    }


def draw_data(recipe: Recipe, run: Run) -> StageResult:
    """Draws the first cases, each volume by the slice with the most labelled voxels."""
    cases = selected_cases(recipe, run)[:_CASES_SHOWN]
    window = _grey_window(recipe, run)

    def draw() -> Pictures:
        previews = [_preview(recipe, run, files, window) for files in cases]
        caption = "The first cases, each volume by its slice with the most labels."
        return {"data": (figures.draw_previews(previews), caption)}

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "window": window.model_dump(mode="json"),
        "rules": recipe.model.cache_key_extras(run.params),
    }
    return _perform(run, "draw_data", "Pictures of the cases", inputs, draw, code=(recipe.cases,))


def draw_exported(recipe: Recipe, run: Run) -> StageResult:
    """Draws the exported graph."""

    def draw() -> Pictures:
        figure = figures.draw_graph(load_graph(run.path(EXPORTED)), f"{recipe.title}: as exported")
        return {"exported": (figure, f"{_FLOW} Long connections are orange.")}

    inputs = _digest_forms(run, "exported")
    return _perform(run, "draw_exported", "Picture of the exported graph", inputs, draw)


def draw_op_changes(run: Run, before: str, after: str) -> StageResult:
    """Draws the number of nodes per op in two forms of the graph: "exported", "simplified" or "after surgery"."""
    name = f"ops_{after.replace(' ', '_')}"

    def draw() -> Pictures:
        old, new = (
            Counter(node.op_type for node in load_graph(run.path(_FORMS[form])).graph.node)
            for form in (before, after)
        )
        return {name: (figures.draw_op_changes(old, new, (before, after)), "")}

    inputs = _digest_forms(run, before, after)
    return _perform(run, f"draw_{name}", f"Ops, {before} and {after}", inputs, draw)


def draw_graph(recipe: Recipe, run: Run) -> StageResult:
    """Draws the graph before and after surgery, with red rings around nodes that the first linted target rejects."""
    target = load_target(recipe.targets_to_lint[0])

    def draw() -> Pictures:
        pictures = {}
        for source, when, caption in ((SIMPLIFIED, "before", _REJECTED), (FINAL, "after", "")):
            model = load_graph(run.path(source))
            rejected = {item.node for item in lint(model, target)}
            title = f"{recipe.title}: {when} surgery; rejected by {target.title}: {len(rejected)}"
            pictures[f"graph_{when}"] = (figures.draw_graph(model, title, rejected), caption)
        return pictures

    inputs = {name: digest_file(run.require_file(name)) for name in (SIMPLIFIED, FINAL)}
    return _perform(run, "draw_graph", "Pictures of the graph", inputs | {"target": target.name}, draw)


def draw_sizes(recipe: Recipe, run: Run) -> StageResult:
    """Draws the sizes of the checkpoint, of each form of the graph and of the compiled model."""
    compiled = compiled_path(run)
    sizes = {"checkpoint": sum(path.stat().st_size for path in recipe.model.checkpoint_paths(run.params))}
    sizes |= {form: run.path(name).stat().st_size for form, name in _FORMS.items()}
    # A runtime may split a model into its graph and its weights: files with the same stem belong together.
    parts = compiled.parent.glob(f"{compiled.stem}.*")
    sizes["compiled"] = sum(part.stat().st_size for part in parts if part.is_file())

    def draw() -> Pictures:
        return {"sizes": (figures.draw_sizes(sizes), "")}

    return _perform(run, "draw_sizes", "Sizes of the model's files", sizes, draw)


def draw_parity(run: Run) -> StageResult:
    """Draws the errors of every form of the model and the limits of the parity stage."""
    rows = run.results["parity"].values

    def draw() -> Pictures:
        limits = {name: row["limit"] for name, row in rows.items()}
        return {"parity": (figures.draw_errors(rows, limits), "")}

    return _perform(run, "draw_parity", "Errors and their limits", {"rows": rows}, draw)


def draw_case_times(run: Run) -> StageResult:
    """Draws the seconds of each step for each case."""
    masks = {name.partition("/")[2]: result for name, result in run.results.items() if name.startswith("infer/")}
    seconds = {
        case: {
            label_step(step, result.simulated): result.timings[step] for step in ("read", "open", "infer", "write")
        }
        for case, result in masks.items()
    }

    def draw() -> Pictures:
        return {"case_seconds": (figures.draw_case_times(seconds), "")}

    return _perform(run, "draw_case_times", "Seconds of each case", seconds, draw)


def draw_scores(run: Run) -> StageResult:
    """Draws the scores of all cases with the bootstrap interval of their mean, if any case has a truth."""
    scores = run.results["score"].values["cases"]
    limits = run.params.scores_to_reach()

    def draw() -> Pictures:
        return {"scores": (figures.draw_scores(scores, limits), "")} if scores else {}

    inputs = {"scores": scores, "limits": limits}
    return _perform(run, "draw_scores", "Picture of the scores", inputs, draw, if_none="none: no case has a truth")


def draw_results(recipe: Recipe, run: Run, most: int = _CASES_SHOWN) -> StageResult:
    """Draws slices and a 3-D view of each of the worst cases, or of the first ones if there are no scores."""
    scores = _scores(run)
    cases = worst_first(recipe, run)[:most]
    window = _grey_window(recipe, run)

    def make(folder: Path) -> StageOutput:
        pictures: dict[str, str] = {}
        for rank, files in enumerate(cases, start=1):
            for name, figure in _draw_case(recipe, run, files, scores.get(files.id), window).items():
                picture = f"figures/{rank}_{files.id}_{name}.png"
                figures.save_figure(figure, folder / picture)
                pictures[picture] = _ERRORS if files.truth is not None and _ERRORS not in pictures.values() else ""
        shown = {"worst first" if scores else "the first cases": ", ".join(case.id for case in cases)}
        return StageOutput(facts=shown, next_step="Read the summary.", pictures=pictures)

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "masks": {case.id: digest_file(run.require_file(mask_name(recipe, run, case.id))) for case in cases},
        "scores": scores,
        "labels": run_labels(recipe, run).names,
        "lesions": {name: rule.to_json() for name, rule in recipe.metric_rules(run.params).items()},
        "window": window.model_dump(mode="json"),
        "rules": recipe.model.cache_key_extras(run.params),
    }
    code = (recipe.cases, recipe.preparation, recipe.scoring, figures.save_figure)
    return run.perform("draw_results", "Pictures of the masks", inputs=inputs, make=make, code=code)


def worst_first(recipe: Recipe, run: Run) -> list[CaseFiles]:
    """The cases of a run by their mean score, the lowest first; in their own order if there are no scores."""
    scores = _scores(run)
    return sorted(selected_cases(recipe, run), key=lambda case: _mean(scores.get(case.id)))


def draw_times(run: Run) -> Path:
    """Draws the seconds of each stage of this run, with all masks in one bar and all pictures in another.

    If all stages were reused, the chart of an earlier run in this folder stays: it shows what their results cost.
    """
    path = run.path("figures/seconds.png")
    if not run.made and path.is_file():
        return path
    seconds: dict[str, float] = {}
    masks = sum(name.startswith("infer/") for name in run.results)
    for name, result in run.results.items():
        title = f"Masks of {masks} {'case' if masks == 1 else 'cases'}" if name.startswith("infer/") else result.title
        title = "Pictures" if name.startswith("draw_") else title
        title = name_simulated(title, result.simulated)
        seconds[title] = seconds.get(title, 0.0) + result.seconds
    return figures.save_figure(figures.draw_stage_times(seconds), path)


def _perform(
    run: Run,
    stage: str,
    title: str,
    inputs: Mapping[str, object],
    draw: Callable[[], Pictures],
    *,
    code: Sequence[object] = (),
    if_none: str = "",
) -> StageResult:
    """Performs a stage that only draws: it is cached like any other, and its failure does not fail the run."""

    def make(folder: Path) -> StageOutput:
        captions: dict[str, str] = {}
        for name, (figure, caption) in draw().items():
            figures.save_figure(figure, folder / f"figures/{name}.png")
            captions[f"figures/{name}.png"] = caption
        return StageOutput(facts={} if captions else {"picture": if_none}, pictures=captions)

    used = (draw, figures.save_figure, *code)
    return run.perform(stage, title, inputs=inputs, make=make, code=used, essential=False)


def _grey_window(recipe: Recipe, run: Run) -> GreyWindow:
    return load_window(recipe.picture_settings(run.params).grey_window)


def _scores(run: Run) -> Mapping[str, Mapping[str, float | None]]:
    return run.results["score"].values["cases"] if "score" in run.results else {}


def _digest_forms(run: Run, *forms: str) -> dict[str, str]:
    return {form: digest_file(run.path(_FORMS[form])) for form in forms}


def _mean(scores: Mapping[str, float | None] | None) -> float:
    known = [value for value in (scores or {}).values() if value is not None]
    return float(np.mean(known)) if known else 0.0


def _preview(
    recipe: Recipe, run: Run, files: CaseFiles, window: GreyWindow
) -> tuple[str, np.ndarray, np.ndarray | None, float]:
    """The case's id, a slice in 0 to 1, its labels, and the pixel's height over its width."""
    case = recipe.cases.read_case(files, run.params)
    if case.geometry is None:
        return case.id, figures.picture_to_show(case.image), case.truth, 1.0
    channel = case.image[recipe.picture_settings(run.params).channel]
    index = channel.shape[0] // 2
    if case.truth is not None:
        index = pick_slices(case.truth, None, count=1)[0][0]
    low, high = window.limits(channel)
    grey = np.clip((channel[index] - low) / (high - low), 0, 1)
    spacing = case.geometry.spacing_mm_zyx
    return case.id, grey, None if case.truth is None else case.truth[index], spacing[1] / spacing[2]


def _draw_case(
    recipe: Recipe,
    run: Run,
    files: CaseFiles,
    scores: Mapping[str, float | None] | None,
    window: GreyWindow,
) -> dict[str, Figure]:
    """The slices and the 3-D view of a volume, or the one picture of a photograph, by the suffix of their files."""
    case = recipe.cases.read_case(files, run.params)
    prediction = recipe.cases.read_mask(run.path(mask_name(recipe, run, files.id)), case)
    names = run_labels(recipe, run).names
    if case.geometry is None:
        gallery = figures.draw_gallery(files.id, case.image, prediction, case.truth, names, scores)
        return {"picture": gallery}
    channel = case.image[recipe.picture_settings(run.params).channel]
    montage = figures.draw_montage(
        files.id,
        channel,
        prediction,
        case.truth,
        geometry=case.geometry,
        class_names=names,
        window=window,
        scores=scores,
        lesions=mark_lesions(
            map_lesions(recipe, run.params, run_labels(recipe, run), case, prediction), _SHOWN_LESIONS
        ),
    )
    if not case.geometry.is_patient:  # a picture has no sides to be looked at from
        return {"slices": montage}
    masks = ({} if case.truth is None else {"truth": case.truth}) | {"prediction": prediction}
    body = figures.find_body(channel, window.limits(channel)[0])
    relief = figures.draw_relief(files.id, masks, body, geometry=case.geometry)
    return {"slices": montage, "volume": relief}
