"""The interactive viewers of a run: its graph in netron, a case in linked planes and 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.stages.data import pick_cases
from helpers.stages.figures import worst_first
from helpers.stages.graph import FINAL
from helpers.stages.infer import mask_name
from helpers.stages.labels import run_labels
from helpers.view.netron_frame import offer_netron
from helpers.view.progress import is_interactive
from helpers.view.tables import RichText
from helpers.view.viewer import headless_note, no_volume_note, volume
from helpers.view.windows import load_window

if TYPE_CHECKING:
    from ipywidgets import Widget


def open_graph(run: Run) -> RichText | Widget:
    """Returns a button that opens the final graph in netron, or a line of text in a headless run."""
    return offer_netron(run.require_file(FINAL), run.params.interactive)


def open_case(recipe: Recipe, run: Run, case_id: str | None = None) -> RichText | Widget:
    """Shows a case with its masks in the interactive viewer; in a headless run or for a picture, a line of text.

    Args:
        recipe, run: a run that has masks.
        case_id: by default the case with the lowest scores; the first one if there are no scores.

    Raises:
        DataError: no case has this id; the nearest one is named.
    """
    cases = worst_first(recipe, run)
    files = pick_cases(cases, [case_id])[0] if case_id else cases[0]
    if not is_interactive(run.params.interactive):
        return headless_note()
    case = recipe.cases.read_case(files, run.params)
    if case.geometry is None:
        return no_volume_note()
    pictures = recipe.picture_settings(run.params)
    return volume(
        case.image[pictures.channel],
        case.truth,
        recipe.cases.read_mask(run.path(mask_name(recipe, run, files.id)), case),
        geometry=case.geometry,
        class_names=run_labels(recipe, run).names,
        case_id=files.id,
        window=load_window(pictures.grey_window).fixed_limits(),
        viewer=run.params.viewer,
        interactive=True,
    )
