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
from helpers.stages.parameter_cells import (
    cells_of,
    is_notebook,
    is_plain,
    own_variables,
    read_parameters,
    watch_parameters,
)
from helpers.stages.parts import take_parts
from helpers.view.progress import is_interactive

# Names that IPython puts into every notebook's namespace.
_IPYTHON = {"In", "Out", "exit", "quit", "get_ipython", "open"}


def start_run(recipe_name: str, namespace: Mapping[str, object], **given: object) -> tuple[Recipe, Run]:
    """Resolves the parameters of a notebook and opens the run's folder.

    In a notebook, the parameters are those of its parameters cell: the reader's own variables neither change the run
    nor are refused (`helpers.stages.parameter_cells`). Elsewhere, every plain value in the namespace must be a known
    parameter, because papermill accepts a mistyped one without complaint.

    Args:
        recipe_name: the recipe.
        namespace: the notebook's `globals()`, or parameters by name.
        given: further parameters; they override those of the namespace.

    Raises:
        ParameterError: a name is unknown (the message suggests the nearest one), or a value is invalid.
        StepOrderError: the notebook's parameters cell was not run.
    """
    recipe = recipes.load(recipe_name)
    fields = recipe.params_model.model_fields
    known = {*fields, *(old for old, new in RENAMED.items() if new in fields)}
    in_notebook = is_notebook(namespace)
    found = read_parameters(cells_of(namespace), namespace) if in_notebook else _plain_values(namespace, known)
    params = recipe.prepare_params(**{**found, **given})
    run = open_run(recipe, params)
    take_parts(recipe, run)
    run.illustrations, run.given = illustrations(recipe, run), {**found, **given}
    if in_notebook:
        watch_parameters(namespace, found)
        own = own_variables(namespace, {**found, "recipe": recipe_name}, known)
        run.remarks = [f"{name} of another cell is not a parameter of this run." for name in sorted(own)]
    return recipe, run


def _plain_values(namespace: Mapping[str, object], known: set[str]) -> dict[str, object]:
    """The plain values of a namespace; in an interactive session only those that are, or resemble, parameters."""
    given = {
        name: value
        for name, value in namespace.items()
        if (name in known or is_plain(value)) and not name.startswith("_") and name not in _IPYTHON
    }
    if isinstance(given.get("recipe"), Recipe):
        del given["recipe"]  # the result of this cell, if it is run again
    if is_interactive():
        given = {name: value for name, value in given.items() if name in known or nearest_name(name, known)}
    return given
