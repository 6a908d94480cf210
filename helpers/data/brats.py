"""Lists and reads BraTS cases in every layout of the challenge, and prepares them as MedicalZooPytorch does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.geometry import check_same_grid
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

_CLIP_PERCENTILES = (0.1, 99.8)


def list_brats_cases(root: Path, only: Collection[str] = ()) -> list[CaseFiles]:
    """Lists every case below a folder, sorted by id: training folders with HGG and LGG, or flat ones.

    Args:
        root: folder to search at every depth; hidden files are ignored.
        only: ids of the cases that will be used; incomplete cases with other ids are then left out.

    Raises:
        DataError: there are no cases, a case lacks a modality, or two cases have the same id.
    """
    found: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in sorted(root.rglob("*.nii*")):
        match = _FILE.fullmatch(path.name)
        if match and path.is_file() and not path.name.startswith("."):
            role = _NAMES[match["role"].lower()]
            found.setdefault((path.parent, match["case"]), {})[role] = path
    if not found:
        raise DataError(
            f"no BraTS cases below {root}",
            expected="files such as <case>_flair.nii.gz or <case>-t2f.nii.gz",
            remedy="Set data_root to the folder that contains the cases.",
        )
    cases: dict[str, CaseFiles] = {}
    for (folder, name), roles in found.items():
        wanted = not only or name in only
        if wanted and name in cases:
            folders = [str(cases[name].files["t1"].parent), str(folder)]
            raise DataError(f"two cases have the id {name}", received=folders, remedy="Rename or move one of them.")
        missing = [role for role in MODALITIES if role not in roles]
        if missing and not wanted:
            continue
        if missing:
            raise DataError(
                f"case {name} lacks {', '.join(missing)}",
                received=sorted(path.name for path in roles.values()),
                expected=f"one file for each of {', '.join(MODALITIES)} in {folder}",
                remedy="Complete the case, or leave it out with `cases`.",
            )
        cases[name] = CaseFiles(name, {role: roles[role] for role in MODALITIES}, roles.get("seg"))
    return [cases[name] for name in sorted(cases)]


def read_brats_case(case: CaseFiles) -> Case:
    """Reads and checks one case.

    Returns:
        Image (4, Z, Y, X) float32 in the order t1, t1ce, t2, flair; truth as class indices 0 to 3; the label
        convention in `notes` ("2018" or "2023").

    Raises:
        DataError: a file is unreadable, grids differ, voxels are not finite, or labels do not belong to BraTS.
    """
    volumes = {role: read_volume(path) for role, path in case.files.items()}
    reference = volumes[MODALITIES[0]].geometry
    for role, volume in volumes.items():
        check_same_grid(volume.geometry, reference, f"case {case.id}: {role}", MODALITIES[0])
    image = np.concatenate([volumes[role].array for role in MODALITIES]).astype(np.float32)
    truth, convention = None, _convention_of_names(case)
    if case.truth is not None:
        label = read_volume(case.truth)
        check_same_grid(label.geometry, reference, f"case {case.id}: seg", MODALITIES[0])
        truth, convention = _to_classes(case.truth, label.array[0], convention)
    return Case(case.id, image, truth, reference, {"convention": convention})


def prepare_brats(image: np.ndarray) -> np.ndarray:
    """Normalises each modality over the whole volume, background included, as in the network's training.

    Clips to two percentiles, subtracts the mean and divides by the unbiased standard deviation.

    Args:
        image: (4, Z, Y, X) float32.

    Source: black0017/MedicalZooPytorch, lib/medloaders/medical_image_process.py (`full_volume_mean`).

    >>> prepared = prepare_brats(np.arange(4.0, dtype=np.float32).reshape(1, 1, 2, 2))
    >>> prepared.mean().round(3).item(), prepared.std(ddof=1).round(3).item()
    (0.0, 1.0)
    """
    prepared = np.empty(image.shape, np.float32)
    for index, channel in enumerate(image):
        low, high = np.percentile(channel, _CLIP_PERCENTILES)
        clipped = np.clip(channel, low, high)
        deviation = clipped.std(ddof=1, dtype=np.float64)
        prepared[index] = (clipped - clipped.mean(dtype=np.float64)) / (deviation or 1.0)
    return prepared


def brain_box(image: np.ndarray) -> Box:
    """The smallest box (Z, Y, X) around the non-zero voxels of all modalities; the entire grid if there are none.

    Interpolated images have negative intensities inside the brain, so the test is "non-zero" and not "positive".
    """
    return bounding_box((image != 0).any(axis=0)) or tuple(slice(0, size) for size in image.shape[1:])


def classes_to_brats(classes: np.ndarray, convention: str) -> np.ndarray:
    """Converts class indices 0 to 3 to the labels of a BraTS year: enhancing tumour is 4 ("2018") or 3 ("2023")."""
    return np.where(classes == 3, np.uint8(_ENHANCING[convention]), classes).astype(np.uint8)


def brats_to_classes(labels: np.ndarray, convention: str) -> np.ndarray:
    """Converts the labels of a BraTS year to class indices 0 to 3."""
    return np.where(labels == _ENHANCING[convention], np.uint8(3), labels).astype(np.uint8)


def volume_of_mask(classes: np.ndarray, case: Case) -> Volume:
    """Converts a mask of class indices to a volume with the label convention and the grid of its case."""
    return Volume(classes_to_brats(classes, str(case.notes["convention"]))[None], case.require_geometry())


def mask_to_classes(path: Path, labels: np.ndarray, convention: str) -> np.ndarray:
    """As `brats_to_classes`, but checks the values, because the mask file may have been edited by hand.

    Raises:
        DataError: a value is not a label of that year.
    """
    known = (0, 1, 2, _ENHANCING[convention])
    if not (fits := np.isin(labels, known)).all():
        raise DataError(
            f"{path.name} has labels that BraTS {convention} does not define",
            received=np.unique(labels[~fits])[:8].tolist(),
            expected=", ".join(map(str, known)),
        )
    return brats_to_classes(labels, convention)


def draw_crops(
    tumours: Sequence[np.ndarray] | PackedMasks, count: int, size: int, seed: int
) -> list[tuple[int, tuple[int, int, int]]]:
    """Draws the source's evaluation crops, each with at least one tumour voxel.

    Args:
        tumours: one boolean (Z, Y, X) mask of the labelled voxels per case; accessed one at a time.
        count: number of crops; the source draws 128.
        size: side of the cube; on axes shorter than this a crop starts at 0.
        seed: random seed; 1777777 in the source.

    Returns:
        (index of the case, start (Z, Y, X) of the crop) for each crop.

    Raises:
        DataError: no case has a tumour voxel.
    """
    if not any(tumour.any() for tumour in tumours):
        raise DataError("cannot draw a crop with a tumour", received="labels without any tumour voxel")
    random = np.random.RandomState(seed)
    crops: list[tuple[int, tuple[int, int, int]]] = []
    while len(crops) < count:
        index = int(random.randint(len(tumours)))
        tumour = tumours[index]
        z, y, x = (int(random.randint(max(axis - size, 0) + 1)) for axis in tumour.shape)
        if tumour[z : z + size, y : y + size, x : x + size].any():
            crops.append((index, (z, y, x)))
    return crops


class PackedMasks:
    """Boolean volumes stored with one bit per voxel, so that the masks of an entire data set fit in memory."""

    def __init__(self) -> None:
        self._packed: list[tuple[np.ndarray, tuple[int, ...]]] = []

    def append(self, mask: np.ndarray) -> None:
        """Adds a boolean volume."""
        self._packed.append((np.packbits(mask), mask.shape))

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

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
            remedy="Check that all values are integers, then save it as uint8 (SimpleITK: Cast to sitkUInt8).",
        )
    values = set(np.unique(labels).tolist())
    if values <= {0, 1, 2}:
        return labels.astype(np.uint8), convention
    for year, enhancing in _ENHANCING.items():
        if values <= {0, 1, 2, enhancing}:
            return brats_to_classes(labels, year), year
    raise DataError(
        f"{path} has labels that BraTS does not define",
        received=sorted(values),
        expected="0, 1, 2, 4 (2018 to 2021) or 0, 1, 2, 3 (2023)",
        remedy="Convert the labels, or leave the case out with `cases`.",
    )
