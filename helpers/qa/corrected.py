"""A mask goes out to an editor such as ITK-SNAP, and comes back checked."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.data.volume import read_volume
from helpers.errors import DataError
from helpers.qa.finished import FinishedRun
from helpers.qa.review import read_pair
from helpers.run.atomic import copy_file, replace_when_whole
from helpers.run.digest import digest_file
from helpers.scoring.dice import dice
from helpers.view.palette import label_colour


@dataclass(frozen=True)
class Correction:
    """A mask that came back: where it is kept, and what was changed.

    Attributes:
        path: of the kept copy.
        mask_hash: SHA-256 of its file.
        changed_voxels: voxels, or pixels, with another label than the run's mask.
        dice: by class name, between the run's mask and the corrected one; None where neither has the class.
    """

    path: Path
    mask_hash: str
    changed_voxels: int
    dice: dict[str, float | None]

    def __str__(self) -> str:
        rows = ", ".join(f"{name} {value:.3f}" for name, value in self.dice.items() if value is not None)
        return f"{self.changed_voxels:,} changed; Dice with the run's mask: {rows or 'nothing marked'}; {self.path}"


def copy_for_editing(run: FinishedRun, case_id: str, folder: Path) -> list[Path]:
    """Copies of a case's shown image and mask, and the names and colours of its labels, into a folder.

    In ITK-SNAP: open the image, then Segmentation > Open Segmentation (the mask), then Segmentation > Import Label
    Descriptions. Save the mask under the same name. A mask that is there already is not overwritten.

    Returns:
        Image, mask and label file.

    Raises:
        DataError: the run has no such case, or an edited mask lies there.
    """
    files = _files(run, case_id)
    folder.mkdir(parents=True, exist_ok=True)
    image = list(files.files.values())[run.recipe.picture_settings(run.params).channel]
    mask = folder / f"{case_id}_mask{run.mask_suffix}"
    if mask.exists() and digest_file(mask) != digest_file(run.mask_path(case_id)):
        raise DataError(f"{mask} was edited already", remedy="Read it back, or remove it to begin anew.")
    copied = folder / f"{case_id}_image{''.join(image.suffixes[-2:]) if image.suffix == '.gz' else image.suffix}"
    if image.is_dir():
        shutil.copytree(image, copied, dirs_exist_ok=True)
    else:
        copy_file(image, copied)
    copy_file(run.mask_path(case_id), mask)
    labels = folder / f"{case_id}_labels.txt"
    with replace_when_whole(labels) as temporary:
        temporary.write_text(_snap_labels(run, files), encoding="utf-8")
    return [copied, mask, labels]


def read_corrected(run: FinishedRun, case_id: str, edited: Path, outputs: Path) -> Correction:
    """Checks an edited mask and keeps it in `<outputs>/corrected/<recipe>/<run>/`.

    Raises:
        DataError: it lies on another grid, holds labels that the recipe does not have, or cannot be read.
    """
    files = _files(run, case_id)
    case, before, _ = read_pair(run, None, files)
    after = run.recipe.cases.read_mask(edited, case)
    unknown = [int(index) for index in np.unique(after) if not 0 <= index < len(run.labels)]
    if unknown:
        raise DataError(f"{edited.name} holds labels that {run.recipe.title} does not have", received=unknown)
    kept = outputs / "corrected" / run.recipe.name / run.name / f"{case_id}{run.mask_suffix}"
    with replace_when_whole(kept) as temporary:
        run.recipe.cases.write_mask(after.astype(np.uint8), case, temporary)
    scores = {name: dice(before == index, after == index) for name, index in run.labels.foreground.items()}
    return Correction(kept, digest_file(kept), int(np.count_nonzero(before != after)), scores)


def _files(run: FinishedRun, case_id: str) -> CaseFiles:
    for case in run.cases:
        if case.id == case_id:
            return case
    raise DataError(f"the run has no case {case_id!r}", expected=", ".join(case.id for case in run.cases))


def _snap_labels(run: FinishedRun, files: CaseFiles) -> str:
    """ITK-SNAP's label descriptions: value in the file, red, green, blue, opacity, visible, in the mesh, name."""
    lines = ['0 0 0 0 0 0 0 "Clear Label"']
    for index, value in enumerate(_values_in_file(run, files)):
        if index:
            red, green, blue = (int(label_colour(index)[at : at + 2], 16) for at in (1, 3, 5))
            lines.append(f'{value} {red} {green} {blue} 1 1 1 "{run.labels.names[index]}"')
    return "\n".join(lines) + "\n"


def _values_in_file(run: FinishedRun, files: CaseFiles) -> list[int]:
    """What the recipe writes for each class index: data sets have conventions of their own (BraTS has no label 3)."""
    case = run.recipe.cases.read_case(files, run.params)
    shape = case.image.shape[1:]
    classes = np.zeros(shape, np.uint8)
    count = len(run.labels)
    classes.ravel()[:count] = np.arange(count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"probe{run.mask_suffix}"
        run.recipe.cases.write_mask(classes, case, path)
        written = read_volume(path).array if case.geometry else _read_picture(path)
    return [int(value) for value in written.ravel()[:count]]


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)
