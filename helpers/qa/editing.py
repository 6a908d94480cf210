"""Masks corrected by hand: exported for an editor such as ITK-SNAP, and checked when they come back."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import DataError
from helpers.qa.finished import FinishedRun
from helpers.recipes.base import LabelSet
from helpers.run.atomic import atomic_path, copy_file
from helpers.run.digest import digest_file
from helpers.scoring.dice import dice
from helpers.view.palette import label_colour, rgb


@dataclass(frozen=True)
class Correction:
    """A corrected mask that was imported.

    Attributes:
        path: of the stored copy.
        changed_voxels: voxels, or pixels, whose label differs from the run's mask.
        dice: by class name, between the run's mask and the corrected one; None if neither has the class.
    """

    path: Path
    changed_voxels: int
    dice: dict[str, float | None]


def export_case(run: FinishedRun, case_id: str, folder: Path) -> list[Path]:
    """Copies the shown image and the mask of a case to a folder, and writes the names and colours of its labels.

    In ITK-SNAP: open the image, then Segmentation > Open Segmentation (the mask), then Segmentation > Import Label
    Descriptions. Save the mask under the same name. A mask that was edited there already is not overwritten.

    Returns:
        Image, mask and label file.

    Raises:
        DataError: the run has no such case, or the folder holds an edited mask.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = list(run.case_files(case_id).files.values())[run.recipe.picture_settings(run.params).channel]
    mask = folder / f"{case_id}_mask{run.mask_suffix}"
    if mask.exists() and digest_file(mask) != digest_file(run.mask_path(case_id)):
        raise DataError(f"{mask} was edited already", remedy="Import it, or delete it to start over.")
    copied = folder / f"{case_id}_image{''.join(image.suffixes[-2:]) if image.suffix == '.gz' else image.suffix}"
    if image.is_dir():
        shutil.copytree(image, copied, dirs_exist_ok=True)
    else:
        copy_file(image, copied)
    copy_file(run.mask_path(case_id), mask)
    labels = folder / f"{case_id}_labels.txt"
    with atomic_path(labels) as temporary:
        values = run.recipe.cases.mask_values(run.read_case(case_id), run.labels)
        temporary.write_text(_label_descriptions(run.labels, values), encoding="utf-8")
    return [copied, mask, labels]


def import_mask(run: FinishedRun, case_id: str, edited: Path, outputs: Path) -> Correction:
    """Checks an edited mask and stores it in `<outputs>/corrected/<recipe>/<run>/`.

    Raises:
        DataError: it is on another grid, has labels unknown to the recipe, or cannot be read.
    """
    case = run.read_case(case_id)
    before, after = run.read_mask(case), run.recipe.cases.read_mask(edited, case)
    unknown = [int(index) for index in np.unique(after) if not 0 <= index < len(run.labels)]
    if unknown:
        raise DataError(f"{edited.name} has labels that {run.recipe.title} does not have", received=unknown)
    kept = outputs / "corrected" / run.recipe.name / run.name / f"{case_id}{run.mask_suffix}"
    with atomic_path(kept) as temporary:
        run.recipe.cases.write_mask(after.astype(np.uint8), case, temporary)
    scores = {name: dice(before == index, after == index) for name, index in run.labels.foreground.items()}
    return Correction(kept, int(np.count_nonzero(before != after)), scores)


def _label_descriptions(labels: LabelSet, values: Sequence[int]) -> str:
    """ITK-SNAP's label file: value, red, green, blue, opacity, visible, visible in the mesh, name."""
    lines = ['0 0 0 0 0 0 0 "Clear Label"']
    for name, index in labels.foreground.items():
        red, green, blue = (round(255 * value) for value in rgb(label_colour(index)))
        lines.append(f'{values[index]} {red} {green} {blue} 1 1 1 "{name}"')
    return "\n".join(lines) + "\n"
