"""Merges parameters: given ones over profile over recipe defaults over target, and refuses what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from helpers.errors import ParameterError
from helpers.params.model import RunParams
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.renamed import rename_parameters
from helpers.params.targets import Target, load_target
from helpers.params.yaml_file import explain_validation_error, read_yaml_mapping, unknown_name_error

P = TypeVar("P", bound=RunParams)


def load_profile(recipe: str, profile: str, params_folder: Path | None = None) -> dict:
    """The content of `<params_folder>/<recipe>/<profile>.yaml`; the project's own `params/` by default.

    Raises:
        ParameterError: there is no such profile, or the file names another profile.
    """
    folder = (params_folder or PARAMS_FOLDER) / recipe
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if profile not in known:
        raise unknown_name_error(f"profile of {recipe}", profile, known)
    content = read_yaml_mapping(folder / f"{profile}.yaml")
    if content.get("profile", profile) != profile:
        raise ParameterError(f"{profile}.yaml names another profile", received=content["profile"], expected=profile)
    return content


def resolve_params(
    model: type[P], recipe: str, recipe_defaults: Mapping, given: Mapping, params_folder: Path | None = None
) -> P:
    """One run's parameters.

    Args:
        model: the recipe's parameters class.
        recipe: its name.
        recipe_defaults: values the recipe sets for itself.
        given: values named for this run (papermill's -p and -f, the parameters cell); None means the default.
        params_folder: holds `<recipe>/<profile>.yaml`; the project's own `params/` by default.

    Raises:
        ParameterError: an unknown name, a wrong type, or a value beyond the target's limits.
    """
    known = model.model_fields
    given = rename_parameters({name: value for name, value in given.items() if value is not None}, known)
    for name in given:
        if name not in model.model_fields:
            raise unknown_name_error("parameter", name, model.model_fields)
    if given.get("recipe", recipe) != recipe:
        raise ParameterError("recipe names another recipe", received=given["recipe"], expected=recipe)
    profile_name = given.get("profile", model.model_fields["profile"].default)
    profile = rename_parameters(load_profile(recipe, str(profile_name), params_folder), known)
    layers = {**recipe_defaults, **profile, **given}
    target = load_target(str(layers.get("target", model.model_fields["target"].default)))
    merged = {**target.defaults, **layers, "recipe": recipe, "profile": profile_name, "target": target.name}
    try:
        params = model(**merged)
    except ValidationError as error:
        file = f"params/{recipe}/{profile_name}.yaml"
        places = dict.fromkeys(target.defaults, f"params/targets/{target.name}.yaml")
        places |= dict.fromkeys(profile, file) | dict.fromkeys(given)
        raise explain_validation_error(error, model, where=file, places=places) from None
    check_limits(params, target)
    return params


def check_limits(params: RunParams, target: Target) -> None:
    """Refuses what the target cannot do, before anything is started.

    Raises:
        ParameterError: a parameter lies beyond the target's limits.
    """
    if params.precision not in target.precisions:
        raise ParameterError(
            f"target {target.name} does not run this precision",
            received=params.precision,
            expected=" or ".join(target.precisions),
        )
    if not target.opset_minimum <= params.opset <= target.opset_maximum:
        raise ParameterError(
            f"target {target.name} does not read this opset",
            received=params.opset,
            expected=f"{target.opset_minimum} to {target.opset_maximum}",
        )
    if params.devices is not None and not target.has_numbered_chips:
        raise ParameterError(
            f"target {target.name} has no numbered devices",
            received=f"devices {params.devices}",
            remedy="Choose a target such as ascend310p3 or mlu370, or leave devices out.",
        )
    if params.batch_gears:
        _check_gears(params, target)
    if target.runtime != "magicmind" and params.builder_config.given():
        raise ParameterError(
            "builder_config is for MagicMind",
            received=f"target {target.name} ({target.runtime})",
            remedy="Choose a target such as mlu370, or leave it out.",
        )
    if params.device_tool:
        _check_device_tool(params, target)
    if target.batches is not None and params.batch_size not in target.batches:
        raise ParameterError(
            f"target {target.name} does not run this batch size",
            received=params.batch_size,
            expected=f"one of {target.batches}",
        )


def _check_device_tool(params: RunParams, target: Target) -> None:
    if target.runtime not in ("ascend", "ais_bench"):
        raise ParameterError(
            f"{params.device_tool} runs models of Ascend chips",
            received=f"target {target.name}",
            remedy="Choose a target such as ascend310p3, or leave device_tool out.",
        )
    gears = params.batch_gears or params.atc.dims_gears
    if gears:
        raise ParameterError("device_tool takes one input shape", received=gears, remedy="Leave the gears out.")
    if params.atc.f16_input:
        raise ParameterError("device_tool writes float32 inputs", received="f16_input", remedy="Leave it out.")


def _check_gears(params: RunParams, target: Target) -> None:
    gears = sorted(set(params.batch_gears))
    if not target.gears:
        raise ParameterError(
            f"target {target.name} compiles no gears",
            received=params.batch_gears,
            remedy="Leave batch_gears out: this target takes any batch, or the one of batch_size.",
        )
    if not params.dynamic_batch:
        raise ParameterError("gears need a graph whose batch is open", remedy="Leave dynamic_batch on.")
    if len(gears) != len(params.batch_gears) or not 2 <= len(gears) <= 100 or gears[0] < 1:
        raise ParameterError("wrong batch_gears", received=params.batch_gears, expected="2 to 100 different sizes")
    if params.batch_size > gears[-1]:
        raise ParameterError(
            "batch_size is larger than the largest gear", received=params.batch_size, expected=f"at most {gears[-1]}"
        )
