"""Recipes: everything that is specific to one model."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import unknown_name_error

if TYPE_CHECKING:
    from helpers.recipes.base import Recipe

# Name -> location and folder of profiles. A recipe is imported when it is loaded, so listing the names costs nothing.
_RECIPES = {
    name: (f"helpers.recipes.{name}:RECIPE", PARAMS_FOLDER)
    for name in (
        "unet3d_brats",
        "unet_carvana",
        "fcn_voc2012",
        "unetpp3d_liver",
        "nnunet_heart",
        "nnunet",
        "own_model",
    )
}


def recipe_names() -> list[str]:
    """Every recipe, in the order of the notebooks."""
    return list(_RECIPES)


def load(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        ParameterError: there is no such recipe.
    """
    if name not in _RECIPES:
        raise unknown_name_error("recipe", name, _RECIPES)
    location, params_folder = _RECIPES[name]
    module, _, attribute = location.partition(":")
    recipe = getattr(importlib.import_module(module), attribute)
    return dataclasses.replace(recipe, params_folder=params_folder)


def register(name: str, location: str, *, params_folder: Path = PARAMS_FOLDER) -> None:
    """Adds a recipe from outside this package.

    Args:
        name: of the recipe.
        location: `module:ATTRIBUTE` of the recipe.
        params_folder: holds `<name>/<profile>.yaml`.
    """
    _RECIPES[name] = (location, params_folder)
