"""Merges parameters (given, then profile, recipe defaults, target) and checks them against the target."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from helpers.errors import ParameterError
from helpers.params.model import RunParams
from helpers.params.paths import PARAMS_FOLDER, anchor_input
from helpers.params.renamed import rename_parameters
from helpers.params.targets import Target, load_target
from helpers.params.yaml_file import explain_validation_error, read_yaml_mapping, unknown_name_error

P = TypeVar("P", bound=RunParams)


def load_profile(recipe: str, profile: str, params_folder: Path | None = None) -> dict:
    """Reads `<params_folder>/<recipe>/<profile>.yaml`, by default from the project's `params/`.

    Raises:
        ParameterError: there is no such profile, or the file names another profile.
    """
    folder = (params_folder or PARAMS_FOLDER) / recipe
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if profile not in known:
        raise unknown_name_error("profile", profile, known, where=f"of {recipe}")
    content = read_yaml_mapping(folder / f"{profile}.yaml")
    if content.get("profile", profile) != profile:
        raise ParameterError(f"{profile}.yaml names another profile", received=content["profile"], expected=profile)
    return content


def resolve_params(
    model: type[P], recipe: str, recipe_defaults: Mapping, given: Mapping, params_folder: Path | None = None
) -> P:
    """Resolves the parameters of one run.

    Args:
        model: the parameters class of the recipe.
        recipe: its name.
        recipe_defaults: values that the recipe sets.
        given: values given for this run (`-p`, `-f`, the parameters cell); None selects the default.
        params_folder: contains `<recipe>/<profile>.yaml`; the project's `params/` by default.

    Raises:
        ParameterError: a name is unknown, a value is invalid, or it exceeds a limit of the target.
    """
    known = model.model_fields
    given = rename_parameters({name: value for name, value in given.items() if value is not None}, known)
    for name in given:
        if name not in model.model_fields:
            raise unknown_name_error("parameter", name, model.model_fields)
    if given.get("recipe", recipe) != recipe:
        raise ParameterError("`recipe` names another recipe", received=given["recipe"], expected=recipe)
    profile_name = given.get("profile", model.model_fields["profile"].default)
    profile = rename_parameters(load_profile(recipe, str(profile_name), params_folder), known)
    layers = {**recipe_defaults, **profile, **given}
    target = load_target(str(layers.get("target", model.model_fields["target"].default)))
    merged = {**target.defaults, **layers, "recipe": recipe, "profile": profile_name, "target": target.name}
    try:
        params = model(**anchor_paths(merged, model))
    except ValidationError as error:
        file = f"params/{recipe}/{profile_name}.yaml"
        places: dict[str, str | None] = dict.fromkeys(target.defaults, f"params/targets/{target.name}.yaml")
        places |= dict.fromkeys(profile, file) | dict.fromkeys(given)
        raise explain_validation_error(error, model, where=file, places=places) from None
    _check_grey_window(params)
    _check_engine(params)
    _check_mask_format(params)
    check_limits(params, target)
    return params


def anchor_paths(values: Mapping[str, Any], model: type[RunParams]) -> dict[str, Any]:
    """The values with the paths of existing files made absolute; `demo` and names of data sets stay.

    A run may be continued in another process, with another working folder, where a relative path could be another
    file of the same name.

    Raises:
        ParameterError: a path cannot be read.
    """
    return {
        name: anchor_input(value, parameter=name)
        if name in model.PATHS and isinstance(value, str) and value != "demo"
        else value
        for name, value in values.items()
    }


def check_limits(params: RunParams, target: Target) -> None:
    """Checks parameters against the limits of the target, before anything is started.

    Raises:
        ParameterError: a parameter exceeds a limit.
    """
    if params.precision not in target.precisions:
        raise ParameterError(
            f"target {target.name} does not support this precision",
            received=params.precision,
            expected=" or ".join(target.precisions),
        )
    if not target.opset_minimum <= params.opset <= target.opset_maximum:
        raise ParameterError(
            f"target {target.name} does not support this opset",
            received=params.opset,
            expected=f"{target.opset_minimum} to {target.opset_maximum}",
        )
    if params.devices is not None and not target.has_numbered_chips:
        raise ParameterError(
            f"target {target.name} has no numbered devices",
            received=f"devices {params.devices}",
            remedy="Choose a target such as ascend310p3 or mlu370, or omit devices.",
        )
    if params.batch_gears:
        _check_gears(params, target)
    if target.runtime != "magicmind" and params.builder_config.given():
        raise ParameterError(
            "builder_config applies to MagicMind only",
            received=f"target {target.name} ({target.runtime})",
            remedy="Choose a target such as mlu370, or omit builder_config.",
        )
    if params.device_tool:
        _check_device_tool(params, target)
    if target.batches is not None and params.batch_size not in target.batches:
        raise ParameterError(
            f"target {target.name} does not support this batch size",
            received=params.batch_size,
            expected=f"one of {target.batches}",
        )


def _check_grey_window(params: RunParams) -> None:
    known = read_yaml_mapping(PARAMS_FOLDER / "windows.yaml") if params.grey_window else {}
    if params.grey_window and params.grey_window not in known:
        raise unknown_name_error("grey window", params.grey_window, known)


def _check_engine(params: RunParams) -> None:
    if params.engine != "ray":
        return
    if importlib.util.find_spec("ray") is None:
        raise ParameterError("engine ray needs the package ray", remedy="Install it: `pip install '.[ray]'`.")
    if params.devices is not None:
        raise ParameterError("Ray assigns devices", received=f"devices {params.devices}", remedy="Use ray_actors.")
    if params.device_tool:
        raise ParameterError("device_tool is run by hand", received="engine ray", remedy="Use engine local.")


def _check_mask_format(params: RunParams) -> None:
    if params.mask_format == "dicom-seg" and params.data_root == "demo":
        raise ParameterError(
            "the demo cases are no DICOM series, to which a DICOM SEG could refer",
            received="mask_format dicom-seg",
            remedy="Set data_root to DICOM series, or omit mask_format.",
        )


def _check_device_tool(params: RunParams, target: Target) -> None:
    if target.runtime not in ("ascend", "ais_bench"):
        raise ParameterError(
            f"{params.device_tool} runs Ascend models only",
            received=f"target {target.name}",
            remedy="Choose a target such as ascend310p3, or omit device_tool.",
        )
    if params.part:
        raise ParameterError(
            "device_tool splits its windows itself", received=f"part {params.part}", remedy="Use device_tool_chips."
        )
    gears = params.batch_gears or params.atc.dims_gears
    if gears:
        raise ParameterError(
            "device_tool takes a single input shape", received=f"gears {gears}", remedy="Omit the gears."
        )
    if params.atc.f16_input:
        raise ParameterError(
            "device_tool writes float32 inputs", received="f16_input: true", remedy="Omit f16_input."
        )


def _check_gears(params: RunParams, target: Target) -> None:
    gears = sorted(set(params.batch_gears))
    if not target.gears:
        raise ParameterError(
            f"target {target.name} has no gears",
            received=params.batch_gears,
            remedy="Omit batch_gears: the model takes any batch size, or the one in batch_size.",
        )
    if not params.dynamic_batch:
        raise ParameterError("gears need a graph with a dynamic batch axis", remedy="Set dynamic_batch: true.")
    if len(gears) != len(params.batch_gears) or not 2 <= len(gears) <= 100 or gears[0] < 1:
        raise ParameterError("invalid batch_gears", received=params.batch_gears, expected="2 to 100 distinct sizes")
    if params.batch_size > gears[-1]:
        raise ParameterError(
            "batch_size exceeds the largest gear", received=params.batch_size, expected=f"at most {gears[-1]}"
        )
