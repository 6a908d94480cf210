"""Recipes: everything that is specific to one model."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import ParameterError
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

_FOLDERS: dict[str, Path] = {}  # of recipes from outside


def recipe_names() -> list[str]:
    """Every recipe, in the order of the notebooks."""
    return list(_RECIPES)


def load(name: str) -> Recipe:
    """A recipe by its name, or by the folder that it is in.

    Raises:
        ParameterError: there is no such recipe.
    """
    if name not in _RECIPES and Path(name).expanduser().is_dir():
        name = register_folder(name)
    if name not in _RECIPES:
        raise unknown_name_error("recipe", name, _RECIPES)
    location, params_folder = _RECIPES[name]
    module, _, attribute = location.partition(":")
    recipe = getattr(importlib.import_module(module), attribute)
    return dataclasses.replace(recipe, params_folder=params_folder)


def registration(name: str) -> tuple[str, Path]:
    """The location and the folder of profiles of a recipe, as `register` takes them."""
    return _RECIPES[name]


def register(name: str, location: str, *, params_folder: Path = PARAMS_FOLDER) -> None:
    """Adds a recipe from outside this package.

    Args:
        name: of the recipe.
        location: `module:ATTRIBUTE` of the recipe.
        params_folder: holds `<name>/<profile>.yaml`.
    """
    _RECIPES[name] = (location, params_folder)


def register_folder(folder: str | Path) -> str:
    """Adds the recipe in a folder that `cookbook new-recipe` made, and returns its name.

    Args:
        folder: has `<name>.py` with RECIPE, next to `params/<name>/`. The code in it runs when the recipe is loaded.

    Raises:
        ParameterError: the folder has no such recipe.
    """
    place = Path(folder).expanduser().resolve()
    profiles = sorted(place.glob("params/*/demo.yaml"))
    name = profiles[0].parent.name if len(profiles) == 1 else ""
    if not name or not (place / f"{name}.py").is_file():
        raise ParameterError(
            f"{place} has no recipe",
            expected="NAME.py next to params/NAME/demo.yaml",
            remedy="`cookbook new-recipe NAME` makes such a folder.",
        )
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    register(name, f"{name}:RECIPE", params_folder=place / "params")
    _FOLDERS[name] = place
    return name


def recipe_folder(name: str) -> Path | None:
    """The folder of a recipe that `register_folder` added."""
    return _FOLDERS.get(name)
