"""What the MODEL of `cookbook predict` is: a run, a hand-over bundle, a model folder of nnU-Net or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import recipes
from helpers.data.nnunet.model_folder import is_model_folder
from helpers.errors import DataError, ParameterError
from helpers.interop.bundle import MANIFEST, Bundle, read_bundle
from helpers.params.paths import find_input
from helpers.qa.finished import drop_none
from helpers.recipes.base import Recipe
from helpers.run.record import read_record, read_run_status

# A run's parameters that belong to its data, its notebook or its report, and not to its model.
_OF_THE_RUN = frozenset(
    {"cases", "demo_seeds", "interactive", "cache", "outputs", "device_tool", "precision_study", "minimum_scores"}
    | {"demo_minimum_scores", "split", "ref_folder", "num_parts", "part_id", "part", "merged_from"}
    | {"prev_stage_predictions", "maximum_scores", "volume_metrics", "nsd_tolerance_mm", "lesion_labels"}
    | {"engine", "ray_address", "ray_actors"}
    | {"series", "mask_format"}
)


@dataclass(frozen=True)
class NamedModel:
    """A model as the user named it.

    Attributes:
        recipe: what it is prepared and restored by.
        given: parameters that follow from the model; the user's own override them.
        bundle: a hand-over bundle with its compiled model.
        data_root: of the run that the model comes from, for a model that is calibrated with the run's cases.
    """

    recipe: Recipe
    given: Mapping[str, Any] = field(default_factory=dict)
    bundle: Bundle | None = None
    data_root: str | None = None


def find_named_model(name: str, recipe_name: str | None) -> NamedModel:
    """Recognises a model by what is at its path.

    Args:
        name: a path, or `demo` for the shipped weights of a recipe.
        recipe_name: the recipe of a checkpoint, or another one than the model's own kind suggests.

    Raises:
        ParameterError: there is no such path, or nothing says which recipe it belongs to.
        DataError: the run did not pass, or the bundle is not compiled.
    """
    path = None if name == "demo" else find_input(name, parameter="MODEL")
    if path is not None and (path / "run.json").is_file():
        return _model_of_run(path, recipe_name)
    if path is not None and (path / MANIFEST).is_file():
        return _model_of_bundle(path, recipe_name)
    if recipe_name is None and path is not None:
        if path.suffix in (".yaml", ".yml"):
            return NamedModel(recipes.load("own_model"), {"card": str(path)})
        if is_model_folder(path if path.is_dir() else path.parent):
            recipe_name = "nnunet"
    if recipe_name is None:
        raise ParameterError(
            f"{name} does not say which recipe it belongs to",
            expected="a finished run, a hand-over bundle, a model folder of nnU-Net, a model card, or --recipe",
            remedy=f"Add --recipe, one of {', '.join(recipes.recipe_names())}.",
        )
    recipe = recipes.load(recipe_name)
    where = "card" if recipe_name == "own_model" else "checkpoint"
    return NamedModel(recipe, {where: str(path) if path else "demo"})


def _model_of_run(folder: Path, recipe_name: str | None) -> NamedModel:
    status, reason = read_run_status(folder / "run.json")
    if status != "passed":
        raise DataError(
            f"the run in {folder} is {status}",
            received=reason or None,
            remedy="Name a run that passed, or its model.",
        )
    params = read_record(folder)["params"]
    _refuse_other_recipe(folder, params["recipe"], recipe_name)
    set_values = dict(drop_none(params))  # type: ignore[call-overload]  # a mapping stays one
    given = {name: value for name, value in set_values.items() if name not in {*_OF_THE_RUN, "data_root"}}
    if isinstance(given.get("builder_config"), dict):
        given["builder_config"] = {
            name: value for name, value in given["builder_config"].items() if value is not None
        }
    return NamedModel(recipes.load(params["recipe"]), given, data_root=params["data_root"])


def _model_of_bundle(folder: Path, recipe_name: str | None) -> NamedModel:
    bundle = read_bundle(folder)
    _refuse_other_recipe(folder, bundle.recipe, recipe_name)
    if bundle.model is None:
        raise DataError(
            f"the bundle {folder} has no compiled model", remedy=f"Run `cookbook compile {folder}` first."
        )
    given = {name: value for name, value in bundle.params.items() if name not in _OF_THE_RUN}
    target = {"target": str(bundle.model.target["name"]), "precision": bundle.model.precision}
    return NamedModel(recipes.load(bundle.recipe), {**given, **target}, bundle)


def _refuse_other_recipe(folder: Path, own: str, wanted: str | None) -> None:
    if wanted not in (None, own):
        raise ParameterError(f"{folder} belongs to another recipe", received=wanted, expected=own)
