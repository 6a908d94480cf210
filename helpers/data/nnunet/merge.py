"""Several models that share one label map: each segments some of the structures, and their masks are merged.

TotalSegmentator works in this way: five nnU-Net models, each for a group of organs, and one map of all labels. A list
of models is a YAML file:

    models:
      - checkpoint: Dataset291_organs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres
        labels: {spleen: 1, liver: 5}
      - checkpoint: Dataset292_vertebrae/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres
        labels: {vertebra_L1: 27}

Each name is a label of that model, and its number the value in the merged mask. A label without a number is left out.
Where models overlap, a later one paints over an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import DataError
from helpers.params.yaml_file import read_yaml_mapping

_LARGEST = 255  # a mask has eight bits


@dataclass(frozen=True)
class MergedModel:
    """One model of a list.

    Attributes:
        checkpoint: its model folder.
        values: value in the merged mask, by the model's own name of a label.
    """

    checkpoint: str
    values: Mapping[str, int]


def read_model_list(path: Path) -> list[MergedModel]:
    """Reads a list of models; a relative folder is below the folder of the file.

    Raises:
        DataError: the file has another form, a value is not from 1 to 255, or two labels share one.
        ParameterError: the file is not YAML.
    """
    content = read_yaml_mapping(path)
    models = content.get("models")
    if not isinstance(models, list) or not models or set(content) != {"models"}:
        raise DataError(f"{path} is not a list of models", received=", ".join(map(str, content)), expected="models")
    found = [_read_model(path, model) for model in models]
    values = [value for model in found for value in model.values.values()]
    shared = sorted({value for value in values if values.count(value) > 1})
    if shared:
        raise DataError(f"{path} gives two labels the same value", received=", ".join(map(str, shared)))
    return found


def _read_model(path: Path, model: object) -> MergedModel:
    labels = model.get("labels") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or set(model) != {"checkpoint", "labels"} or not isinstance(labels, Mapping):
        raise DataError(f"a model of {path} is incomplete", received=model, expected="checkpoint and labels")
    wrong = {name: value for name, value in labels.items() if type(value) is not int or not 1 <= value <= _LARGEST}
    if wrong or not labels:
        raise DataError(
            f"a model of {path} has no usable labels", received=wrong or "none", expected=f"values 1 to {_LARGEST}"
        )
    folder = path.resolve().parent / str(model["checkpoint"])
    checkpoint = str(folder) if folder.exists() else str(model["checkpoint"])
    return MergedModel(checkpoint, {str(name): value for name, value in labels.items()})


def check_names(model: MergedModel, names: Sequence[str]) -> None:
    """Refuses labels that a model does not have.

    Args:
        model: of the list.
        names: of the model's class indices, the background first.

    Raises:
        DataError: naming them.
    """
    unknown = sorted(set(model.values) - set(names[1:]))
    if unknown:
        raise DataError(
            f"the model {Path(model.checkpoint).name} has no such labels",
            received=", ".join(unknown),
            expected=", ".join(names[1:]),
        )


def paint(merged: np.ndarray, mask: np.ndarray, values: Mapping[str, int], names: Sequence[str]) -> None:
    """Paints the labels of one model over a merged mask.

    Args:
        merged: uint8, changed in place.
        mask: class indices of the model, of the same shape.
        values: value in the merged mask, by the name of a label.
        names: of the class indices.

    >>> merged = np.array([7, 7, 0], np.uint8)
    >>> paint(merged, np.array([0, 1, 2]), {"spleen": 1, "liver": 5}, ("background", "liver", "spleen"))
    >>> merged.tolist()
    [7, 5, 1]
    """
    table = np.array([values.get(name, 0) for name in names], np.uint8)
    painted = table[mask]
    np.copyto(merged, painted, where=painted != 0)
