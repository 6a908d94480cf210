"""Any model folder that nnU-Net wrote, version 1 or 2, on any data set.

Labels, regions, channels, readers, network and preparation are those of the folder. The demo is a small folder in the
form that nnU-Net v2 writes: a 2-D network with a residual encoder that separates two overlapping regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.data.nnunet.model_choice import CONFIGURATION, Wanted
from helpers.data.nnunet.model_folder import ModelFolder
from helpers.demo.abdomen import TASK, generate_case
from helpers.demo.decathlon import write_cases
from helpers.recipes.base import Recipe
from helpers.recipes.nnunet_family import (
    NnunetCases,
    NnunetModel,
    NnunetParams,
    NnunetPreparation,
    NnunetScoring,
    find_model,
)

# Below helpers/weights; nnU-Net's own name of the folder.
_DEMO_FOLDER = "nnunet_demo/nnUNetTrainerNoMirroring__nnUNetResEncUNetMPlans__2d"


@dataclass(frozen=True)
class FolderDemo:
    """A shipped model folder, which is opened as the user's is.

    Attributes:
        folder: below the folder of the shipped weights.
        configuration: preferred if the user's data set has several.
    """

    folder: str
    configuration: str = CONFIGURATION

    def open(self, weights: Path) -> ModelFolder:
        """The folder, next to the other shipped weights."""
        return find_model(str(weights.parent / self.folder), Wanted(), None)


def write_demo_cases(root: Path, seeds: Sequence[int]) -> list[str]:
    """Writes generated abdomens of known truth: imagesTr, labelsTr and dataset.json."""
    return write_cases(root, replace(TASK, folder="."), seeds, generate_case)


_TITLE = "nnU-Net: your model folder"
_MODEL = NnunetModel[NnunetParams]("nnunet", FolderDemo(_DEMO_FOLDER))
_PREPARATION = NnunetPreparation(_MODEL)

RECIPE = Recipe(
    name="nnunet",
    title=_TITLE,
    params_model=NnunetParams,
    model=_MODEL,
    cases=NnunetCases(_MODEL, write_demo=write_demo_cases, grey_window=None),
    preparation=_PREPARATION,
    scoring=NnunetScoring(_MODEL, _PREPARATION, title=_TITLE, task="nnU-Net"),
    targets_to_lint=("ascend310", "ascend310p3", "mlu370"),
)
