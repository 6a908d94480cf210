"""Runs a list of model folders over the same cases, and merges their masks into one label map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.data.nnunet.merge import MergedModel, check_names, paint
from helpers.errors import DataError
from helpers.params.paths import create_output, place_output
from helpers.recipes.base import Recipe
from helpers.run.atomic import write_json

# Runs the recipe with these parameters from its data to its end, and returns the run's folder.
RunModel = Callable[[Mapping[str, object]], Path]


def merge_models(
    recipe: Recipe, models: Sequence[MergedModel], given: Mapping[str, object], run_model: RunModel
) -> Path:
    """Runs each model, and writes the merged masks to `merged/` in the folder of outputs.

    Every model is opened, and its labels are compared with the list, before the first one runs.

    Args:
        recipe: `nnunet`.
        models: of the list.
        given: parameters that all models share, such as `data_root`.
        run_model: runs one model.

    Returns:
        The folder with one mask per case, and `labels.json`.

    Raises:
        CookbookError: a model cannot be used, lacks a label of the list, or failed.
    """
    if "checkpoint" in given:
        raise DataError("the list names the checkpoints", received=given["checkpoint"], remedy="Omit checkpoint.")
    if given.get("mask_format") == "dicom-seg":
        raise DataError("merged masks are not written as DICOM SEG", remedy="Omit mask_format.")
    parameters = [{**given, "checkpoint": model.checkpoint} for model in models]
    resolved = [recipe.prepare_params(**each) for each in parameters]
    for model, params in zip(models, resolved, strict=True):
        check_names(model, recipe.labels(params).names)
    folders = [run_model(each) for each in parameters]
    folder = create_output(place_output(resolved[0].outputs) / "merged")
    root = recipe.cases.data_folder(resolved[0])
    for files in recipe.cases.list_cases(root, resolved[0]):
        case = recipe.cases.read_case(files, resolved[0])
        merged = np.zeros(case.image.shape[1:], np.uint8)
        for model, params, made in zip(models, resolved, folders, strict=True):
            mask = recipe.cases.read_mask(made / "masks" / f"{case.id}{recipe.cases.mask_suffix(params)}", case)
            paint(merged, mask, model.values, recipe.labels(params).names)
        recipe.cases.write_mask(merged, case, folder / f"{case.id}{recipe.cases.mask_suffix(resolved[0])}")
    names = {str(value): name for model in models for name, value in model.values.items()}
    write_json(folder / "labels.json", {"0": "background", **{key: names[key] for key in sorted(names, key=int)}})
    return folder
