"""Recipes: what is particular to one model and nothing else."""

from __future__ import annotations

import importlib

from helpers.params.yaml_file import unknown_name_error

# Recipe name -> class; imported when asked for, so that listing them costs nothing.
_RECIPES = {
    "unet3d_brats": "helpers.recipes.unet3d_brats:UNet3DBrats",
    "unet_carvana": "helpers.recipes.unet_carvana:UNetCarvana",
    "fcn_voc2012": "helpers.recipes.fcn_voc2012:FCNVoc2012",
    "unetpp3d_liver": "helpers.recipes.unetpp3d_liver:UNetPlusPlus3DLiver",
    "nnunet_heart": "helpers.recipes.nnunet_heart:NnunetHeart",
}


def recipe_names() -> list[str]:
    """Every recipe, in the order of the notebooks."""
    return list(_RECIPES)


def load(name: str):
    """A recipe by its name.

    Raises:
        ParameterError: there is no such recipe.
    """
    if name not in _RECIPES:
        raise unknown_name_error("recipe", name, _RECIPES)
    module, _, class_name = _RECIPES[name].partition(":")
    return getattr(importlib.import_module(module), class_name)()


def register(name: str, location: str) -> None:
    """Adds a recipe from outside: `location` is `module:Class`."""
    _RECIPES[name] = location
