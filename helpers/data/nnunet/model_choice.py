"""Chooses one of the models that nnU-Net trained for a data set: trainer, plans and configuration.

v2 keeps them in `nnUNet_results/Dataset003_Liver/<trainer>__<plans>__<configuration>`, v1 in
`RESULTS_FOLDER/nnUNet/<configuration>/Task003_Liver/<trainer>__<plans>`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.data.nnunet.cases import numbered_folders
from helpers.errors import DataError

# What nnU-Net trains unless told otherwise, by version.
_DEFAULTS: dict[int, dict[str, tuple[str, ...]]] = {
    1: {"trainer": ("nnUNetTrainerV2", "nnUNetTrainerV2CascadeFullRes"), "plans": ("nnUNetPlansv2.1",)},
    2: {"trainer": ("nnUNetTrainer",), "plans": ("nnUNetPlans",)},
}
_PARTS = ("trainer", "plans", "configuration")
CONFIGURATION = "3d_fullres"


@dataclass(frozen=True)
class TrainedModel:
    """A model folder, described by its path."""

    path: Path
    version: int
    trainer: str
    plans: str
    configuration: str

    def __str__(self) -> str:
        return f"{self.trainer}__{self.plans}__{self.configuration}"


@dataclass(frozen=True)
class Wanted:
    """The model that the user asks for; None: whichever there is, nnU-Net's default first.

    Attributes:
        trainer, plans, configuration: as nnU-Net's -tr, -p and -c.
        preferred: the configuration to take if there are several and none is asked for.
    """

    trainer: str | None = None
    plans: str | None = None
    configuration: str | None = None
    preferred: str = CONFIGURATION

    def named(self) -> dict[str, str]:
        """The parts that the user named."""
        values = {"trainer": self.trainer, "plans": self.plans, "configuration": self.configuration}
        return {part: value for part, value in values.items() if value is not None}


def models_of_dataset(dataset: str, environment: Mapping[str, str] | None = None) -> list[TrainedModel]:
    """The models of a data set below `nnUNet_results` (v2), or else `RESULTS_FOLDER` (v1).

    Args:
        dataset: name or number: Dataset003_Liver, Task003_Liver, 3.
        environment: variables; by default those of the process.
    """
    environment = os.environ if environment is None else environment
    found: list[TrainedModel] = []
    if environment.get("nnUNet_results"):
        for folder in numbered_folders(Path(environment["nnUNet_results"]), dataset):
            found += models_below(folder)
    if not found and environment.get("RESULTS_FOLDER"):
        for configuration in _folders(Path(environment["RESULTS_FOLDER"], "nnUNet")):
            for folder in numbered_folders(configuration, dataset):
                found += models_below(folder)
    return found


def models_below(folder: Path) -> list[TrainedModel]:
    """The model folders directly below a data set's folder of results."""
    found = []
    for path in _folders(folder):
        parts = path.name.split("__")
        trainer, plans, configuration = (*parts, folder.parent.name, "")[:3]
        if len(parts) == 3 and (path / "plans.json").is_file() and (path / "dataset.json").is_file():
            found.append(TrainedModel(path, 2, trainer, plans, configuration))
        elif len(parts) == 2 and (path / "plans.pkl").is_file():
            found.append(TrainedModel(path, 1, trainer, plans, configuration))
    return found


def choose_model(models: Sequence[TrainedModel], wanted: Wanted) -> TrainedModel:
    """The model that the user asks for, else nnU-Net's default.

    Raises:
        DataError: none is as asked, or several are and none of them is nnU-Net's default.

    >>> names = ("nnUNetTrainerDA5", "nnUNetTrainer", "nnUNetTrainer_1epoch")
    >>> models = [TrainedModel(Path(name), 2, name, "nnUNetPlans", "3d_fullres") for name in names]
    >>> choose_model(models, Wanted()).trainer
    'nnUNetTrainer'
    """
    left = [model for model in models if all(vars(model)[part] == value for part, value in wanted.named().items())]
    if not left:
        raise DataError(
            "the data set has no such model",
            received=", ".join(f"{part} {value}" for part, value in wanted.named().items()),
            expected=f"one of {_names(models)}",
        )
    for part in _PARTS:
        if part not in wanted.named():
            left = [model for model in left if vars(model)[part] in _default(model, part, wanted)] or left
    if len(left) > 1:
        raise DataError(
            "the data set has several models, and none of them is nnU-Net's default",
            received=_names(left),
            remedy="Choose one: set trainer, plans or configuration, or name its folder.",
        )
    return left[0]


def _default(model: TrainedModel, part: str, wanted: Wanted) -> tuple[str, ...]:
    return (wanted.preferred,) if part == "configuration" else _DEFAULTS[model.version][part]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _names(models: Sequence[TrainedModel]) -> str:
    return ", ".join(map(str, models)) or "none"
