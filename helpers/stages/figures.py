"""The static pictures of a run: its graph, its masks, its seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
from helpers.view import figures
from helpers.view.figures.overlay import pick_slices
from helpers.view.netron_frame import offer_netron
from helpers.view.progress import is_interactive
from helpers.view.viewer import headless_line, no_volume_line, volume
from helpers.view.windows import GreyWindow, load_window


def draw_graph(recipe: Recipe, run: Run) -> StageResult:
    """Pictures of the graph before and after surgery; what the strictest linted target refuses has a red ring."""
    target = load_target(recipe.targets_to_lint[0])

    def make(folder: Path) -> StageOutput:
        for source, name, when in ((SIMPLIFIED, "graph_before", "before"), (FINAL, "graph_after", "after")):
            model = load_graph(run.path(source))
            refused = {item.node for item in lint(model, target)}
            title = f"{recipe.title}: {when} surgery; refused by {target.title}: {len(refused)}"
            figures.save_figure(figures.draw_graph(model, title, refused), folder / f"figures/{name}.png")
        return StageOutput(next_step="Compile the graph.")

    inputs = {name: digest_file(run.require_file(name)) for name in (SIMPLIFIED, FINAL)}
    inputs["target"] = target.name
    return run.perform("draw_graph", "Pictures of the graph", inputs=inputs, make=make)


def draw_results(recipe: Recipe, run: Run, most: int = 4) -> StageResult:
    """A slice montage and a 3-D view of each of the worst cases (the first ones where there is no score)."""
    scores = run.results["score"].values["cases"] if "score" in run.results else {}
    cases = sorted(selected_cases(recipe, run), key=lambda case: _mean(scores.get(case.id)))[:most]

    window = load_window(run.params.grey_window or recipe.grey_window)

    def make(folder: Path) -> StageOutput:
        for rank, files in enumerate(cases, start=1):
            stem = folder / "figures" / f"{rank}_{files.id}"
            _draw_case(recipe, run, files, stem, scores.get(files.id), window)
        return StageOutput(facts={"worst first": ", ".join(case.id for case in cases)}, next_step="Read the summary.")

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "masks": {case.id: digest_file(run.require_file(mask_name(recipe, case.id))) for case in cases},
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
            label_step(step, result.simulated): result.timings[step] for step in ("read", "open", "infer", "write")
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
        made = StageOutput((), {"picture": "none: no case has a truth"})
        return run.perform("draw_scores", "Picture of the scores", inputs={"scores": {}}, make=lambda _: made)

    def draw(folder: Path) -> None:
        figures.save_figure(figures.draw_scores(scores, limits), folder / "figures/scores.png")

    return _illustrate(run, "draw_scores", "Picture of the scores", {"scores": scores, "limits": limits}, draw)


def _illustrate(run: Run, stage: str, title: str, inputs: dict, draw) -> StageResult:
    def make(folder: Path) -> StageOutput:
        draw(folder)
        return StageOutput()

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


def open_graph(run: Run):
    """The final graph in netron, by a click, when someone is there."""
    return offer_netron(run.require_file(FINAL), run.params.interactive)


def open_case(recipe: Recipe, run: Run, case_id: str | None = None):
    """A case with its masks in the interactive view; the first case when none is named.

    A photograph has no third axis: its static picture stands.
    """
    cases = {case.id: case for case in selected_cases(recipe, run)}
    files = cases[case_id] if case_id else next(iter(cases.values()))
    if not is_interactive(run.params.interactive):
        return headless_line()
    case = recipe.read_case(files, run.params)
    if case.geometry is None:
        return no_volume_line()
    return volume(
        case.image[recipe.shown_channel],
        case.truth,
        recipe.read_mask(run.path(mask_name(recipe, files.id)), case),
        geometry=case.geometry,
        class_names=recipe.class_names,
        case_id=files.id,
        window=load_window(run.params.grey_window or recipe.grey_window).fixed_limits(),
        viewer=run.params.viewer,
        interactive=True,
    )
