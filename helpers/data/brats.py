"""BraTS cases: found in any of the challenge's layouts, checked, and prepared as MedicalZooPytorch does."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.geometry import Geometry
from helpers.data.regions import Box, bounding_box
from helpers.data.volume import Volume, read_volume
from helpers.errors import DataError

MODALITIES = ("t1", "t1ce", "t2", "flair")  # the channel order of MedicalZooPytorch
CLASS_NAMES = ("background", "necrotic core", "oedema", "enhancing tumour")
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}

# BraTS 2018 to 2021 name files `<case>_t1ce.nii.gz`, 2023 and later `<case>-t1c.nii.gz`.
_NAMES = {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair", "seg": "seg"}
_NAMES |= {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
_FILE = re.compile(r"(?P<case>.+)[-_](?P<role>t1ce|t1n|t1c|t1|t2w|t2f|t2|flair|seg)\.nii(\.gz)?", re.IGNORECASE)
# Enhancing tumour is label 4 up to 2021 and label 3 from 2023 on.
_ENHANCING = {"2018": 4, "2023": 3}


def list_brats_cases(root: Path, only: Collection[str] = ()) -> list[CaseFiles]:
    """Every case below a folder, sorted by id: training folders with HGG and LGG, or flat ones.

    Args:
        root: searched in all depths; hidden files are no data.
        only: ids that will be used; other incomplete cases are left out then.

    Raises:
        DataError: there is no case, one lacks a modality (it is named), or two have the same id.
    """
    found: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in sorted(root.rglob("*.nii*")):
        match = _FILE.fullmatch(path.name)
        if match and path.is_file() and not path.name.startswith("."):
            role = _NAMES[match["role"].lower()]
            found.setdefault((path.parent, match["case"]), {})[role] = path
    if not found:
        raise DataError(
            f"no BraTS case below {root}",
            expected="files such as <case>_flair.nii.gz or <case>-t2f.nii.gz",
            remedy="Set data_root to the folder that holds the cases.",
        )
    cases: dict[str, CaseFiles] = {}
    for (folder, name), roles in found.items():
        wanted = not only or name in only
        if wanted and name in cases:
            folders = [str(cases[name].files["t1"].parent), str(folder)]
            raise DataError(f"two cases are called {name}", received=folders, remedy="Rename or move one of them.")
        missing = [role for role in MODALITIES if role not in roles]
        if missing and not wanted:
            continue
        if missing:
            raise DataError(
                f"case {name} lacks {', '.join(missing)}",
                received=sorted(path.name for path in roles.values()),
                expected=f"one file for each of {', '.join(MODALITIES)} in {folder}",
                remedy="Complete the case or leave it out with `cases`.",
            )
        cases[name] = CaseFiles(name, {role: roles[role] for role in MODALITIES}, roles.get("seg"))
    return [cases[name] for name in sorted(cases)]


def read_brats_case(case: CaseFiles) -> Case:
    """Reads and checks one case.

    Returns:
        Image (4, Z, Y, X) float32 in the order t1, t1ce, t2, flair; truth as class indices 0 to 3; `notes` hold the
        label convention ("2018" or "2023").

    Raises:
        DataError: a file is unreadable, grids differ, voxels are not finite, or labels are not those of BraTS.
    """
    volumes = {role: read_volume(path) for role, path in case.files.items()}
    reference = volumes[MODALITIES[0]].geometry
    for role, volume in volumes.items():
        _refuse_other_grid(case.id, role, volume.geometry, reference)
    image = np.concatenate([volumes[role].array for role in MODALITIES]).astype(np.float32)
    truth, convention = None, _convention_of_names(case)
    if case.truth is not None:
        label = read_volume(case.truth)
        _refuse_other_grid(case.id, "seg", label.geometry, reference)
        truth, convention = _to_classes(case.truth, label.array[0], convention)
    return Case(case.id, image, truth, reference, {"convention": convention})


def prepare_brats(image: np.ndarray) -> np.ndarray:
    """Normalises each modality over the whole volume, background included, as the network was trained.

    Clips to the percentiles 0.1 and 99.8, then subtracts the mean and divides by the unbiased standard deviation.

    Args:
        image: (4, Z, Y, X) float32.

    Source: black0017/MedicalZooPytorch, lib/medloaders/medical_image_process.py (`full_volume_mean`).
    """
    prepared = np.empty(image.shape, np.float32)
    for index, channel in enumerate(image):
        low, high = np.percentile(channel, (0.1, 99.8))
        clipped = np.clip(channel, low, high)
        deviation = clipped.std(ddof=1, dtype=np.float64)
        prepared[index] = (clipped - clipped.mean(dtype=np.float64)) / (deviation or 1.0)
    return prepared


def brain_box(image: np.ndarray) -> Box:
    """The smallest box (Z, Y, X) around the voxels that are not zero in some modality; everything if all are zero.

    Interpolated images have negative intensities inside the brain, so the test is "not zero" and not "positive".
    """
    return bounding_box((image != 0).any(axis=0)) or tuple(slice(0, size) for size in image.shape[1:])


def classes_to_brats(classes: np.ndarray, convention: str) -> np.ndarray:
    """Class indices 0 to 3 as the labels of a BraTS year: enhancing tumour is 4 ("2018") or 3 ("2023")."""
    return np.where(classes == 3, np.uint8(_ENHANCING[convention]), classes).astype(np.uint8)


def brats_to_classes(labels: np.ndarray, convention: str) -> np.ndarray:
    """Labels of a BraTS year as class indices 0 to 3."""
    return np.where(labels == _ENHANCING[convention], np.uint8(3), labels).astype(np.uint8)


def mask_to_classes(path: Path, labels: np.ndarray, convention: str) -> np.ndarray:
    """As `brats_to_classes`, of a file that somebody may have edited.

    Raises:
        DataError: it holds a value that is no label of that year.
    """
    known = (0, 1, 2, _ENHANCING[convention])
    if not (fits := np.isin(labels, known)).all():
        raise DataError(
            f"{path.name} holds labels that BraTS {convention} does not have",
            received=np.unique(labels[~fits])[:8].tolist(),
            expected=", ".join(map(str, known)),
        )
    return brats_to_classes(labels, convention)


def draw_crops(
    tumours: Sequence[np.ndarray], count: int, size: int, seed: int
) -> list[tuple[int, tuple[int, int, int]]]:
    """The source's evaluation crops: (index of the case, start (Z, Y, X)), each with at least one tumour voxel.

    Args:
        tumours: whether a voxel is labelled, boolean (Z, Y, X), of each case; read one at a time.
        count: crops to draw; the source draws 128.
        size: side of the cube; an axis shorter than it starts at 0.
        seed: the source sets 1777777.

    Raises:
        DataError: no case holds a tumour voxel.
    """
    if not any(tumour.any() for tumour in tumours):
        raise DataError("no crop with a tumour can be drawn", received="labels without any tumour voxel")
    random = np.random.RandomState(seed)
    crops = []
    while len(crops) < count:
        index = int(random.randint(len(tumours)))
        tumour = tumours[index]
        start = tuple(int(random.randint(max(axis - size, 0) + 1)) for axis in tumour.shape)
        if tumour[tuple(slice(first, first + size) for first in start)].any():
            crops.append((index, start))
    return crops


class PackedMasks(Sequence):
    """Boolean volumes at one bit a voxel: the tumours of a whole data set fit in memory."""

    def __init__(self) -> None:
        self._packed: list[tuple[np.ndarray, tuple[int, ...]]] = []

    def append(self, mask: np.ndarray) -> None:
        """Adds a boolean volume."""
        self._packed.append((np.packbits(mask), mask.shape))

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: int) -> np.ndarray:
        bits, shape = self._packed[index]
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def _convention_of_names(case: CaseFiles) -> str:
    return "2023" if case.files["flair"].name.split(".")[0].lower().endswith("t2f") else "2018"


def _to_classes(path: Path, labels: np.ndarray, convention: str) -> tuple[np.ndarray, str]:
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{path} stores labels as {labels.dtype}",
            expected="an integer type",
            remedy="Resave it as uint8 (SimpleITK: Cast to sitkUInt8) after checking that all values are whole.",
        )
    values = set(np.unique(labels).tolist())
    if values <= {0, 1, 2}:
        return labels.astype(np.uint8), convention
    for year, enhancing in _ENHANCING.items():
        if values <= {0, 1, 2, enhancing}:
            return brats_to_classes(labels, year), year
    raise DataError(
        f"{path} holds labels that are not BraTS's",
        received=sorted(values),
        expected="0, 1, 2, 4 (2018 to 2021) or 0, 1, 2, 3 (2023)",
        remedy="Convert the labels, or leave the case out with `cases`.",
    )


def _refuse_other_grid(case: str, role: str, geometry: Geometry, reference: Geometry) -> None:
    differences = geometry.differences_from(reference)
    if differences:
        raise DataError(
            f"case {case}: {role} lies on another grid than {MODALITIES[0]}",
            received="; ".join(differences),
            expected="one grid for all modalities and the label",
            remedy="Register and resample the case first.",
        )


def volume_of_mask(classes: np.ndarray, case: Case) -> Volume:
    """A mask of class indices as a volume in the case's own label convention and grid."""
    return Volume(classes_to_brats(classes, str(case.notes["convention"]))[None], case.geometry)
