"""Lists and reads BraTS cases in every layout of the challenge, and prepares them as MedicalZooPytorch does."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers.data.brats_years import CONVENTIONS, read_naming, to_classes
from helpers.data.case import Case, CaseFiles
from helpers.data.case_volumes import dicom_folders, read_image_volume, read_label_volume
from helpers.data.files import find_files, one_file_each, refuse_broken, some_of, volume_stem
from helpers.data.formats.dicom import is_dicom_folder
from helpers.data.geometry import check_same_grid
from helpers.data.regions import Box, bounding_box
from helpers.data.truth import whole_labels
from helpers.data.volume import Volume
from helpers.errors import DataError

MODALITIES = ("t1", "t1ce", "t2", "flair")  # the channel order of MedicalZooPytorch
CLASS_NAMES = ("background", "necrotic core", "oedema", "enhancing tumour")
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}

# Roles as named until 2022 and from 2023 on.
_NAMES = {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair", "seg": "seg"}
_NAMES |= {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
_STEM = re.compile(r"(?P<case>.+)[-_](?P<role>t1ce|t1n|t1c|t1|t2w|t2f|t2|flair|seg)", re.IGNORECASE)

_CLIP_PERCENTILES = (0.1, 99.8)


def list_brats_cases(root: Path, only: Collection[str] = (), label_year: int | None = None) -> list[CaseFiles]:
    """Lists every case below a folder, sorted by id: training folders with HGG and LGG, or flat ones.

    Args:
        root: folder to search at every depth, through links; a modality may be a folder of DICOM files.
        only: ids of the cases that will be used; incomplete cases with other ids are then left out.
        label_year: year of the labels, if names do not tell it.

    Raises:
        DataError: there are no cases, a case lacks a modality or has two files for one, or two cases have one id.
    """
    found: dict[tuple[Path, str], list[tuple[str, Path]]] = {}
    broken, named, _ = _files_of_cases(root)
    refuse_broken([path for path, match in broken if not only or match["case"] in only])
    for path, match in named:
        found.setdefault((path.parent, match["case"]), []).append((_NAMES[match["role"].lower()], path))
    if not found:
        raise _no_cases(root)
    cases: dict[str, CaseFiles] = {}
    for (folder, name), files in found.items():
        if (wanted := not only or name in only) and name in cases:
            folders = [str(cases[name].files["t1"].parent), str(folder)]
            raise DataError(f"two cases have the id {name}", received=folders, remedy="Rename or move one of them.")
        missing = [role for role in MODALITIES if role not in dict(files)]
        if missing and wanted:
            raise DataError(
                f"case {name} lacks {', '.join(missing)}",
                received=sorted(path.name for _, path in files),
                expected=f"one file for each of {', '.join(MODALITIES)} in {folder}",
                remedy=_name_series(root) or "Complete the case, or leave it out with `cases`.",
            )
        if not missing:
            roles = one_file_each(files, f"role of case {name},") if wanted else dict(files)
            cases[name] = _case_of(name, roles, label_year)
    return [cases[name] for name in sorted(cases)]


def list_dicom_cases(root: Path, only: Collection[str] = (), label_year: int | None = None) -> list[CaseFiles]:
    """Lists the cases of a folder whose four modalities are series in one place, sorted by id.

    Args:
        root: a folder of one folder per case, or the folder of one case; a truth is a volume `<case>_seg`.
        only: ids of the cases to list; empty: all.
        label_year: as in `list_brats_cases`.

    Raises:
        DataError: there are no cases, or one of `only` is missing.
    """
    folders = {root.resolve().name: root} if is_dicom_folder(root) else dicom_folders(root)
    truths = [(match["case"], path) for path, match in _files_of_cases(root)[1] if match["role"].lower() == "seg"]
    labels = one_file_each([(case, path) for case, path in truths if case in folders], "seg of case")
    missing = sorted(set(only) - folders.keys())
    if not folders or missing:
        raise DataError(
            f"no DICOM folder of {', '.join(missing) or 'a case'} in {root}",
            received=some_of(sorted(folders)) or None,
            expected="one folder per case, with the files of its four series",
        )
    chosen = sorted(only or folders)
    return [_case_of(name, _roles_in(folders[name], labels.get(name)), label_year) for name in chosen]


def _roles_in(folder: Path, truth: Path | None) -> dict[str, Path]:
    return {**dict.fromkeys(MODALITIES, folder), **({"seg": truth} if truth else {})}


def _no_cases(root: Path) -> DataError:
    return DataError(
        f"no BraTS cases below {root}",
        expected="files such as <case>_flair.nii.gz or <case>-t2f.nii.gz",
        remedy=_name_series(root) or "Set data_root to the folder that contains the cases.",
    )


def _name_series(root: Path) -> str:
    """The remedy for a folder of DICOM series whose names say no modality; empty for other folders."""
    named = {match["case"] for _, match in _files_of_cases(root)[1] if match["role"].lower() != "seg"}
    if named or not root.is_dir() or not (is_dicom_folder(root) or dicom_folders(root)):
        return ""
    return "Name the series of each modality: -p series 't1 = …; t1ce = …; t2 = …; flair = …'."


def skipped_files(root: Path) -> list[str]:
    """What `list_brats_cases` left out: broken links, folders that it met twice, and volumes of no known role."""
    others = [path.name for path in _files_of_cases(root)[2]]
    count = "1 volume is" if len(others) == 1 else f"{len(others)} volumes are"
    said = [f"{count} not named as a modality or a seg: {some_of(others)}"] if others else []
    return [*find_files(root).skipped, *said]


_Named = list[tuple[Path, re.Match[str]]]


def _files_of_cases(root: Path) -> tuple[_Named, _Named, list[Path]]:
    """Broken links and volumes with the match of their names, and volumes of other names."""
    found = find_files(root)
    broken, volumes = (
        [(path, _STEM.fullmatch(stem)) for path in paths if (stem := volume_stem(path.name)) is not None]
        for paths in (found.broken, found.files)
    )
    folders = sorted({path.parent for path in found.files if volume_stem(path.name) is None})
    matches = [(folder, match) for folder in folders if (match := _STEM.fullmatch(folder.name))]
    volumes += [(folder, match) for folder, match in matches if is_dicom_folder(folder)]
    others = [path for path, match in volumes if not match]
    return [(p, m) for p, m in broken if m], [(p, m) for p, m in volumes if m], others


def _case_of(name: str, roles: Mapping[str, Path], label_year: int | None) -> CaseFiles:
    files = CaseFiles(name, {role: roles[role] for role in MODALITIES}, roles.get("seg"))
    naming = read_naming(files, label_year)
    # The digest of a case names its convention only if the style of its names does not say it.
    notes = {} if naming.convention == naming.style else {"labels": naming.convention}
    return replace(files, notes=notes)


def read_brats_case(case: CaseFiles, label_year: int | None = None) -> Case:
    """Reads and checks one case.

    Returns:
        Image (4, Z, Y, X) float32 in the order t1, t1ce, t2, flair; truth as class indices 0 to 3; the label
        convention in `notes`, a name in `brats_years.CONVENTIONS`.

    Raises:
        DataError: a file is unreadable, grids differ, voxels are not finite, or labels do not belong to the case's
            year.
    """
    volumes = {role: read_image_volume(path, case, role) for role, path in case.files.items()}
    reference = volumes[MODALITIES[0]].geometry
    for role, volume in volumes.items():
        check_same_grid(volume.geometry, reference, f"case {case.id}: {role}", MODALITIES[0])
    image = np.concatenate([volumes[role].array for role in MODALITIES]).astype(np.float32)
    naming = read_naming(case, label_year)
    truth, remarks = None, [str(naming)]
    if case.truth is not None:
        label = read_label_volume(case.truth, case)
        check_same_grid(label.geometry, reference, f"case {case.id}: seg", MODALITIES[0])
        truth, more = to_classes(case.truth, whole_labels(case.truth, label.array[0]), naming)
        remarks += more
    return Case(case.id, image, truth, reference, {"convention": naming.convention}, tuple(remarks))


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
    return np.array(CONVENTIONS[convention].written, np.uint8)[classes]


def brats_to_classes(labels: np.ndarray, convention: str) -> np.ndarray:
    """Converts the labels of a mask of a BraTS year to class indices 0 to 3."""
    return np.where(labels == CONVENTIONS[convention].written[3], np.uint8(3), labels).astype(np.uint8)


def volume_of_mask(classes: np.ndarray, case: Case) -> Volume:
    """Converts a mask of class indices to a volume with the label convention and the grid of its case."""
    return Volume(classes_to_brats(classes, str(case.notes["convention"]))[None], case.require_geometry())


def mask_to_classes(path: Path, labels: np.ndarray, convention: str) -> np.ndarray:
    """As `brats_to_classes`, but checks the values, because the mask file may have been edited by hand.

    Raises:
        DataError: a value is not a label that a mask of that year holds.
    """
    known = CONVENTIONS[convention].written
    if not (fits := np.isin(labels, known)).all():
        raise DataError(
            f"{path.name} has labels that a mask of BraTS {CONVENTIONS[convention].years} does not define",
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
