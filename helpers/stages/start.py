"""Starts a run from a notebook's parameters and rejects unknown ones."""

from __future__ import annotations

from collections.abc import Mapping

from helpers import recipes
from helpers.params.renamed import RENAMED
from helpers.params.yaml_file import nearest_name
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.stages.figures import illustrations
from helpers.stages.labels import open_run
from helpers.view.progress import is_interactive

# Names that IPython puts into every notebook's namespace.
_IPYTHON = {"In", "Out", "exit", "quit", "get_ipython", "open"}
_LITERALS = (bool, int, float, str, list, dict, type(None))


def start_run(recipe_name: str, namespace: Mapping[str, object]) -> tuple[Recipe, Run]:
    """Resolves the parameters in a notebook's namespace and opens the run's folder.

    papermill accepts a mistyped parameter without complaint, so every plain value in the namespace must be a known
    parameter. In an interactive session the user's own variables are ignored unless they look like a mistyped
    parameter.

    Args:
        recipe_name: the recipe.
        namespace: the notebook's `globals()` right after the parameters cell.

    Raises:
        ParameterError: a name is unknown (the message suggests the nearest one), or a value is invalid.
    """
    recipe = recipes.load(recipe_name)
    fields = recipe.params_model.model_fields
    known = {*fields, *(old for old, new in RENAMED.items() if new in fields)}
    given = {
        name: value
        for name, value in namespace.items()
        if (name in known or _is_plain(value)) and not name.startswith("_") and name not in _IPYTHON
    }
    if isinstance(given.get("recipe"), Recipe):
        del given["recipe"]  # the result of this cell, if it is run again
    if is_interactive():
        given = {name: value for name, value in given.items() if name in known or nearest_name(name, known)}
    params = recipe.prepare_params(**given)
    run = open_run(recipe, params)
    run.illustrations = illustrations(recipe, run)
    return recipe, run


def _is_plain(value: object) -> bool:
    """Whether a value consists of literals only, as a parameter does; a list of results does not."""
    if isinstance(value, dict):
        return all(_is_plain(part) for part in (*value, *value.values()))
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return isinstance(value, _LITERALS)
