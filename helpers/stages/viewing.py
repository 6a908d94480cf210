"""Opens a run's files in the interactive viewers."""

from __future__ import annotations

from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.stages.data import selected_cases
from helpers.stages.graph import FINAL
from helpers.stages.infer import mask_name
from helpers.view.netron_frame import offer_netron
from helpers.view.volume import open_volume_view


def open_graph(run: Run):
    """The final graph in netron, by a click, when someone is there."""
    return offer_netron(run.path(FINAL), run.params.interactive)


def open_case(recipe: Recipe, run: Run, case_id: str | None = None):
    """A case with its mask in the 3-D view; the first case when none is named."""
    cases = {case.id: case for case in selected_cases(recipe, run)}
    case = cases[case_id] if case_id else next(iter(cases.values()))
    image = list(case.files.values())[recipe.shown_channel]
    return open_volume_view(image, [run.path(mask_name(recipe, case.id))], run.params.interactive)
