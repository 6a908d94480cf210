"""Cases in the layouts of nnU-Net and the Decathlon: imagesTr and labelsTr, or a folder of `<case>_0000.nii.gz`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.files import FoundFiles, find_files, one_file_each, refuse_broken, some_of, volume_stem
from helpers.data.geometry import check_same_grid
from helpers.data.truth import class_indices
from helpers.data.volume import read_volume
from helpers.errors import DataError

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_IMAGES = ("imagesTr", "imagesTs", ".")
# Of the cross-validation in both versions.
SEED = 12345
N_FOLDS = 5


def list_cases(
    root: Path, only: Collection[str] = (), *, task: str | None = None, ref_folder: Path | None = None
) -> list[CaseFiles]:
    """Lists the cases of a data set, sorted by id; the roles of the files are the channels "0000", "0001", ...

    Args:
        root: the task's folder, its parent, or a folder of images as `nnUNet_predict` expects it.
        only: ids to list, such as `liver_11`; empty for all.
        task: name of the task's folder, such as Task03_Liver, if `root` may be its parent.
        ref_folder: folder of the labels; by default `labelsTr` next to the images.

    Raises:
        DataError: there are no cases, one of `only` is missing, or a case lacks a channel that others have.
    """
    images, labels = _folders(root, task, ref_folder)
    if images is None:
        raise DataError(
            f"no cases below {root}",
            expected="imagesTr with <case>.nii.gz or <case>_0000.nii.gz",
            remedy="Set data_root to the task's folder.",
        )
    files = one_file_each(((_stem(path), path) for path in _volumes(images)), f"image of {images.parent.name},")
    channels: dict[str, dict[str, Path]] = {}
    for stem, path in files.items():
        match = _CHANNEL.fullmatch(stem)
        # An id may itself end in four digits, which are a channel only if there is also a channel 0000.
        case, channel = stem, "0000"
        if match is not None and f"{match['case']}_0000" in files:
            case, channel = match["case"], match["channel"]
        channels.setdefault(case, {})[channel] = path
    missing = sorted(set(only) - channels.keys())
    if missing:
        raise DataError(f"{images} does not contain {', '.join(missing)}", expected=f"one of {_some(channels)}")
    _refuse_missing_channels(images, {case: channels[case] for case in only or channels})
    truths = one_file_each(((_stem(path), path) for path in _all_volumes(labels)), "label") if labels else {}
    return [CaseFiles(case, channels[case], truths.get(case)) for case in sorted(only or channels)]


def skipped_files(root: Path, *, task: str | None = None, ref_folder: Path | None = None) -> list[str]:
    """What `list_cases` left out: folders that it met twice, and labels of no image."""
    images, labels = _folders(root, task, ref_folder)
    if images is None:
        return []
    stems = {_stem(path) for path in _volumes(images)}
    cases = stems | {match["case"] for stem in stems if (match := _CHANNEL.fullmatch(stem))}
    orphans = [path.name for path in _all_volumes(labels) if _stem(path) not in cases] if labels else []
    beside = [path.name for path in _all_volumes(images) if path not in _volumes(images)]
    said = [f"labels in {labels} without an image: {some_of(orphans)}"] if orphans else []
    said += [f"segmentations next to the images, unless in ref_folder: {some_of(beside)}"] if beside else []
    return [*_find(images).twice, *said]


def training_ids(root: Path, *, task: str | None = None) -> list[str]:
    """The ids of the training set before it is split into folds: those in dataset.json, or all cases with a label.

    Raises:
        DataError: there are no cases.
    """
    index = _task_folder(root, task) / "dataset.json"
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["training"] if index.is_file() else []
        names = [Path(entry["image"] if isinstance(entry, Mapping) else entry).name for entry in listed]
    except (ValueError, KeyError, TypeError):
        names = []
    known = sorted({_stem(Path(name)) for name in names})
    return known or [case.id for case in list_cases(root, task=task) if case.truth is not None]


def read_case(case: CaseFiles) -> Case:
    """Reads and checks one case: image (C, Z, Y, X) float32, truth uint8, one grid for all.

    Raises:
        DataError: a file is unreadable, grids differ, or a label is not an integer from 0 to 255.
    """
    volumes = {role: read_volume(path) for role, path in case.files.items()}
    reference = next(iter(volumes.values())).geometry
    for role, volume in volumes.items():
        check_same_grid(volume.geometry, reference, f"case {case.id}: channel {role}", "the image")
    image = np.concatenate([volume.array for volume in volumes.values()]).astype(np.float32)
    truth = None
    if case.truth is not None:
        label = read_volume(case.truth)
        check_same_grid(label.geometry, reference, f"case {case.id}: the label", "the image")
        truth = class_indices(case.truth, label.array[0])
    return Case(case.id, image, truth, reference)


def raw_folder(dataset: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """Finds a data set's folder by nnU-Net's variables `nnUNet_raw` (v2) and `nnUNet_raw_data_base` (v1).

    Args:
        dataset: name or number: Dataset003_Liver, Task003_Liver, 3.
        environment: environment variables; by default those of the process.

    Returns:
        The folder, or None if neither variable is set.

    Raises:
        DataError: a variable is set, but no folder below it has that name or number.
    """
    environment = os.environ if environment is None else environment
    roots = [
        Path(environment[name], *below)
        for name, below in (("nnUNet_raw", ()), ("nnUNet_raw_data_base", ("nnUNet_raw_data",)))
        if environment.get(name)
    ]
    if not roots:
        return None
    found = [path for root in roots for path in numbered_folders(root, dataset)]
    if not found:
        raise DataError(
            f"no folder for data set {dataset}",
            received=", ".join(map(str, roots)),
            expected="Dataset003_<name> or Task003_<name>",
            remedy="Check nnUNet_raw, or set data_root.",
        )
    return found[0]


def numbered_folders(root: Path, dataset: str) -> list[Path]:
    """The folders of a data set below a root: those with its name, or Dataset and Task folders with its number."""
    digits = re.search(r"\d+", dataset)
    folders = sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
    named = [path for path in folders if path.name == dataset]
    if named or not digits:
        return named
    pattern = re.compile(rf"(Dataset|Task)0*{int(digits[0])}_.+")
    return [path for path in folders if pattern.fullmatch(path.name)]


def split_fold(
    ids: Iterable[str], fold: int, n_folds: int = N_FOLDS, seed: int = SEED
) -> tuple[list[str], list[str]]:
    """The training and the held-out ids of one fold, each sorted.

    The split is that of scikit-learn's `KFold(5, shuffle=True, random_state=12345)` over the sorted ids, as in both
    versions of nnU-Net: a shuffle by numpy's legacy generator, cut into five parts whose sizes differ by at most one.

    Args:
        ids: ids of all training cases; a subset gives a different split.
        fold: 0 to `n_folds` - 1.

    Raises:
        DataError: the fold does not exist, or there are fewer cases than folds.

    >>> split_fold(["la_003", "la_004", "la_005", "la_007", "la_009", "la_010"], fold=0)
    (['la_003', 'la_004', 'la_005', 'la_009'], ['la_007', 'la_010'])
    """
    ordered = sorted(ids)
    if not 0 <= fold < n_folds or len(ordered) < n_folds:
        raise DataError(
            "the data set cannot be split",
            received=f"fold {fold} of {len(ordered)} cases",
            expected=f"fold 0 to {n_folds - 1} of at least {n_folds} cases",
        )
    indices = np.arange(len(ordered))
    np.random.RandomState(seed).shuffle(indices)
    held_out = set(np.array_split(indices, n_folds)[fold].tolist())
    training = [name for index, name in enumerate(ordered) if index not in held_out]
    return training, [name for index, name in enumerate(ordered) if index in held_out]


def _task_folder(root: Path, task: str | None) -> Path:
    return root / task if task and (root / task).is_dir() else root


def _folders(root: Path, task: str | None, ref_folder: Path | None) -> tuple[Path | None, Path | None]:
    """The folder of the images and that of their labels; None for what does not exist."""
    folder = _task_folder(root, task)
    images = next((folder / name for name in _IMAGES if any(_volumes(folder / name))), None)
    if images is None:
        return None, None
    labels = ref_folder or (images.parent / images.name.replace("images", "labels"))
    return images, labels if labels != images and labels.is_dir() else None


def _volumes(folder: Path) -> list[Path]:
    """The images in a folder: every volume but a.seg.nrrd, the segmentation of a.nrrd in 3D Slicer."""
    return [path for path in _all_volumes(folder) if not path.name.lower().endswith(".seg.nrrd")]


def _all_volumes(folder: Path) -> list[Path]:
    """The volumes in a folder, through links; in imagesTr, labelsTr and the like at every depth.

    Raises:
        DataError: a link to a volume is broken: the case would vanish, or lose its label.
    """
    if not folder.is_dir():
        return []
    found = _find(folder)
    refuse_broken([path for path in found.broken if volume_stem(path.name) is not None])
    return [path for path in found.files if volume_stem(path.name) is not None]


def _find(folder: Path) -> FoundFiles:
    return find_files(folder, deep=folder.name.startswith(("images", "labels")))


def _stem(path: Path) -> str:
    return volume_stem(path.name) or path.name


def _refuse_missing_channels(images: Path, channels: Mapping[str, Mapping[str, Path]]) -> None:
    known = sorted({channel for files in channels.values() for channel in files})
    for case, files in channels.items():
        if sorted(files) != known:
            raise DataError(
                f"case {case} lacks channels in {images}", received=", ".join(files), expected=", ".join(known)
            )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
