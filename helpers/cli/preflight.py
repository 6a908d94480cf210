"""Checks of a run's parameters that need its data, before a kernel starts."""

from __future__ import annotations

from helpers.errors import DataError, ParameterError
from helpers.params.model import RunParams
from helpers.recipes.base import Recipe
from helpers.stages.data import Unstarted, data_root, pick_cases, write_demo_cases


def check_inputs(recipe: Recipe, params: RunParams) -> None:
    """Checks that weights and data are where the parameters say, and that the named cases exist.

    Raises:
        ParameterError: a path does not exist, or `cases` names an unknown case.
        CookbookError: the weights cannot be used.
    """
    recipe.model.checkpoint_paths(params)
    planned = Unstarted(params)
    if params.data_root != "demo":
        data_root(recipe, planned)
    if params.cases:
        _check_cases(recipe, planned)


def _check_cases(recipe: Recipe, planned: Unstarted) -> None:
    """Refuses an unknown case; data that cannot be listed are left to the run, whose record then says why."""
    params = planned.params
    if params.data_root == "demo":
        write_demo_cases(recipe, planned)
    root = data_root(recipe, planned)
    try:
        pick_cases(recipe.cases.list_cases(root, params), params.cases)
    except DataError:
        try:
            known = recipe.cases.list_cases(root, params.model_copy(update={"cases": []}))
        except DataError:
            return
        try:
            pick_cases(known, params.cases)
        except DataError as error:
            raise ParameterError(
                f"{error.problem} (parameter cases)", expected=error.expected, remedy=error.remedy
            ) from None
