"""Cases in the layouts of nnU-Net and the Decathlon: imagesTr and labelsTr, or a folder of `<case>_0000.nii.gz`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.case_volumes import dicom_folders, read_image_volume, read_label_volume, series_by_role
from helpers.data.files import FoundFiles, find_files, one_file_each, refuse_broken, some_of
from helpers.data.formats.dicom import is_dicom_folder
from helpers.data.geometry import check_same_grid
from helpers.data.nnunet.readers import PICTURES, READERS, SIGHT, STACKS, read_image, sight_of, stem_of, suffixes_of
from helpers.data.truth import class_indices
from helpers.errors import DataError, last_line

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_NUMBERED = re.compile(r"(?:Dataset|Task)(\d+)_.+|(\d+)")
_IMAGES = ("imagesTr", "imagesTs", ".")


def list_cases(
    root: Path,
    only: Collection[str] = (),
    *,
    task: str | None = None,
    ref_folder: Path | None = None,
    reader: str = READERS[0],
    n_channels: int | None = None,
    series: str = "",
) -> list[CaseFiles]:
    """Lists the cases of a data set, sorted by id; the roles of the files are the channels "0000", "0001", ...

    Args:
        root: the task's folder, its parent, or a folder of images as `nnUNet_predict` expects it, or of DICOM files.
        only: ids to list, such as `liver_11`; empty for all.
        task: name of the task's folder, such as Task03_Liver, if `root` may be its parent.
        ref_folder: folder of the labels; by default `labelsTr` next to the images.
        reader: nnU-Net's name of the reader, which determines the suffixes of the images.
        n_channels: files per case of the model; tells a channel from an id that ends in four digits. None: unknown.
        series: of each channel, as in `series_by_role`, in one folder of DICOM files per case.

    Raises:
        DataError: there are no cases, one of `only` is missing, or a case lacks a channel that others have.
    """
    folder = _task_folder(root, task)
    named = _named_by_dataset(folder)
    if named is not None:
        return _select(f"{folder / 'dataset.json'}", _with_labels(named, ref_folder, reader), only)
    images, labels = _folders(folder, ref_folder, reader)
    if images is None:
        raise _no_cases(root, suffixes_of(reader)[0])
    files = _dicom(images, reader) | _by_stem(_images(images, reader), reader, f"image of {images.parent.name},")
    truths = _by_stem(_all_images(labels, reader), reader, "label") if labels else {}
    channels = _channels_of(files, truths, n_channels)
    found = {case: _every_channel(each, series, n_channels or 1) for case, each in channels.items()}
    cases = {case: CaseFiles(case, each, truths.get(case)) for case, each in found.items()}
    chosen = _select(str(images), cases, only)
    _refuse_missing_channels(images, {case.id: case.files for case in chosen}, n_channels)
    return chosen


def skipped_files(
    root: Path, *, task: str | None = None, ref_folder: Path | None = None, reader: str = READERS[0]
) -> list[str]:
    """What `list_cases` left out: folders that it met twice, and labels of no image."""
    folder = _task_folder(root, task)
    images, labels = _folders(folder, ref_folder, reader)
    if images is None or _named_by_dataset(folder) is not None:
        return []
    truths = {_stem(path, reader): path for path in (_all_images(labels, reader) if labels else [])}
    files = _dicom(images, reader) | {_stem(path, reader): path for path in _images(images, reader)}
    cases = _channels_of(files, truths, None).keys()
    orphans = [path.name for stem, path in sorted(truths.items()) if stem not in cases]
    next_to = sorted({*_all_images(images, reader)} - {*_images(images, reader)})
    said = [f"labels in {labels} without an image: {some_of(orphans)}"] if orphans else []
    if next_to:
        said.append(f"segmentations next to the images, unless in ref_folder: {some_of([p.name for p in next_to])}")
    return [*_find(images).twice, *said]


def training_ids(
    root: Path, *, task: str | None = None, reader: str = READERS[0], n_channels: int | None = None
) -> list[str]:
    """The ids of the training set before it is split into folds: those in dataset.json, or all cases with a label.

    Raises:
        DataError: there are no cases.
    """
    content = _read_dataset(_task_folder(root, task))
    if isinstance(content.get("dataset"), Mapping):
        return sorted(content["dataset"])
    cases = list_cases(root, task=task, reader=reader, n_channels=n_channels)
    listed = content.get("training")
    known = {case.id for case in cases}
    ids = {_id_of(entry, known, reader) for entry in listed} if isinstance(listed, list) else set()
    ids.discard(None)
    return sorted(str(name) for name in ids) or [case.id for case in cases if case.truth is not None]


def channel_names(root: Path, *, task: str | None = None) -> tuple[str, ...]:
    """The names of the channels by number in a data set's own dataset.json; empty without one."""
    index = _task_folder(root, task) / "dataset.json"
    try:
        content = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
        named = content.get("channel_names") or content.get("modality") or {}
        return tuple(str(named[str(number)]) for number in range(len(named)))
    except (ValueError, OverflowError, KeyError, AttributeError, TypeError):
        return ()


def read_case(case: CaseFiles, reader: str = READERS[0]) -> Case:
    """Reads and checks one case: image (C, Z, Y, X) float32, truth uint8, one grid for all.

    Args:
        case: its files.
        reader: nnU-Net's name of the reader; what it reports besides the voxels is the case's note `sight`.

    Raises:
        DataError: a file is unreadable, grids differ, or a label is not an integer from 0 to 255.
    """
    volumes = {
        role: read_image(path, reader, partial(read_image_volume, case=case, role=role))
        for role, path in case.files.items()
    }
    reference = next(iter(volumes.values())).geometry
    for role, volume in volumes.items():
        check_same_grid(volume.geometry, reference, f"case {case.id}: channel {role}", "the image")
    image = np.concatenate([volume.array for volume in volumes.values()]).astype(np.float32)
    truth = None
    if case.truth is not None:
        label = read_image(case.truth, reader, partial(read_label_volume, case=case))
        check_same_grid(label.geometry, reference, f"case {case.id}: the label", "the image")
        if len(label.array) != 1:
            raise DataError(f"{case.truth} is not a mask", received=f"{len(label.array)} channels", expected="1")
        truth = class_indices(case.truth, label.array[0])
    sight = sight_of(next(iter(case.files.values())), reader, reference)
    return Case(case.id, image, truth, reference, {SIGHT: sight})


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
    """The folders of a data set below a root: those with its name, or Dataset and Task folders with its number.

    Args:
        root: a folder of data sets.
        dataset: name or number: Dataset003_Liver, Task003_Liver, 3. Any other text with digits in it, such as a
            file's name, is only a name.
    """
    number = _NUMBERED.fullmatch(dataset)
    folders = sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
    named = [path for path in folders if path.name == dataset]
    if named or not number:
        return named
    pattern = re.compile(rf"(Dataset|Task)0*{int(number[1] or number[2])}_.+")
    return [path for path in folders if pattern.fullmatch(path.name)]


def _no_cases(root: Path, suffix: str) -> DataError:
    return DataError(
        f"no cases below {root}",
        expected=f"imagesTr with <case>{suffix} or <case>_0000{suffix}",
        remedy="Set data_root to the task's folder.",
    )


def _task_folder(root: Path, task: str | None) -> Path:
    return root / task if task and (root / task).is_dir() else root


def _folders(folder: Path, ref_folder: Path | None, reader: str) -> tuple[Path | None, Path | None]:
    """The folder of the images and that of their labels; None for what does not exist."""
    found = (folder / name for name in _IMAGES)
    images = next((path for path in found if any(_images(path, reader)) or _dicom(path, reader)), None)
    if images is None:
        return None, None
    labels = ref_folder or (images.parent / images.name.replace("images", "labels"))
    return images, labels if labels != images and labels.is_dir() else None


def _images(folder: Path, reader: str) -> list[Path]:
    """The images in a folder: every one but a.seg.nrrd, the segmentation of a.nrrd in 3D Slicer."""
    return [path for path in _all_images(folder, reader) if not path.name.lower().endswith(".seg.nrrd")]


def _dicom(folder: Path, reader: str) -> dict[str, Path]:
    """The folders of DICOM files in a folder by name; the folder itself if it is one."""
    if reader in (PICTURES, STACKS) or not folder.is_dir():
        return {}
    return {folder.resolve().name: folder} if is_dicom_folder(folder) else dicom_folders(folder)


def _all_images(folder: Path, reader: str) -> list[Path]:
    """The files of a reader in a folder, through links; in imagesTr, labelsTr and the like at every depth.

    Raises:
        DataError: a link to one is broken: the case would vanish, or lose its label.
    """
    if not folder.is_dir():
        return []
    found = _find(folder)
    refuse_broken([path for path in found.broken if stem_of(path.name, reader) is not None])
    return [path for path in found.files if stem_of(path.name, reader) is not None]


def _find(folder: Path) -> FoundFiles:
    return find_files(folder, deep=folder.name.startswith(("images", "labels")))


def _stem(path: Path, reader: str) -> str:
    return stem_of(path.name, reader) or path.name


def _by_stem(paths: Iterable[Path], reader: str, what: str) -> dict[str, Path]:
    return one_file_each(((_stem(path, reader), path) for path in paths), what)


def _channels_of(
    files: Mapping[str, Path], truths: Mapping[str, Path], n_channels: int | None
) -> dict[str, dict[str, Path]]:
    """The files of each case by channel.

    Four digits at the end of a name are a channel if the names are nnU-Net's, and part of the id otherwise: `la_0001`
    may be the second channel of `la` or the first of `la_0001`.
    """
    grouped: dict[str, dict[str, Path]] = {}
    twice: list[str] = []
    for name, path in files.items():
        match = _CHANNEL.fullmatch(name)
        # Four digits are a channel only if there is also a channel 0000.
        has_first = match is not None and f"{match['case']}_0000" in files
        case, channel = (match["case"], match["channel"]) if match and has_first else (name, "0000")
        twice += [case] if channel in grouped.get(case, {}) else []
        grouped.setdefault(case, {})[channel] = path
    whole = {name: {"0000": path} for name, path in files.items()}
    if grouped.keys() == whole.keys():
        return grouped
    as_cases, as_channels = len(truths.keys() & whole.keys()), len(truths.keys() & grouped.keys())
    too_many = n_channels == 1 and any(len(found) > 1 for found in grouped.values())
    if as_cases > as_channels or (as_cases == as_channels and too_many):
        return whole
    if twice:
        one_file_each(((twice[0], files[name]) for name in (twice[0], f"{twice[0]}_0000")), "image")
    return grouped


def _every_channel(found: dict[str, Path], series: str, n_channels: int) -> dict[str, Path]:
    """The channels of a case, all in its one folder of DICOM files if `series` names one for each."""
    numbers, only = [f"{channel:04}" for channel in range(n_channels)], next(iter(found.values()))
    is_shared = len(found) == 1 and only.is_dir() and series_by_role(series, numbers)
    return dict.fromkeys(numbers, only) if is_shared else found


def _select(where: str, cases: Mapping[str, CaseFiles], only: Collection[str]) -> list[CaseFiles]:
    missing = sorted(set(only) - cases.keys())
    if missing:
        raise DataError(f"{where} does not contain {', '.join(missing)}", expected=f"one of {_some(cases)}")
    return [cases[name] for name in sorted(only or cases)]


def _named_by_dataset(folder: Path) -> dict[str, CaseFiles] | None:
    """The cases that `dataset.json` of v2 names one by one under `dataset`, or None if it does not."""
    named = _read_dataset(folder).get("dataset")
    if not isinstance(named, Mapping):
        return None
    cases = {}
    try:
        for case, entry in named.items():
            images = {f"{index:04}": _place(folder, image) for index, image in enumerate(entry["images"])}
            cases[str(case)] = CaseFiles(str(case), images, _place(folder, entry["label"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{folder / 'dataset.json'} has a data set that cannot be read",
            received=last_line(error),
            expected='{"dataset": {"<case>": {"images": ["…"], "label": "…"}}}',
        ) from None
    return cases


def _with_labels(named: dict[str, CaseFiles], ref_folder: Path | None, reader: str) -> dict[str, CaseFiles]:
    """The cases with the labels of another folder, if there is one."""
    if ref_folder is None:
        return named
    given = _by_stem(_all_images(ref_folder, reader), reader, "label")
    return {name: replace(case, truth=given.get(name)) for name, case in named.items()}


def _place(folder: Path, name: str) -> Path:
    return folder / os.path.expandvars(name)


def _read_dataset(folder: Path) -> Mapping:
    index = folder / "dataset.json"
    try:
        content = json.loads(index.read_text(encoding="utf-8-sig")) if index.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{index} cannot be read", received=last_line(error), expected="JSON") from None
    return content if isinstance(content, Mapping) else {}


def _id_of(entry: object, known: Collection[str], reader: str) -> str | None:
    """The id of an entry of dataset.json: the name of its label, or of its image with or without the channel."""
    given = [entry.get("label"), entry.get("image")] if isinstance(entry, Mapping) else [entry]
    names = [_stem(Path(name), reader) for name in given if isinstance(name, str)]
    names += [match["case"] for name in names if (match := _CHANNEL.fullmatch(name))]
    return next((name for name in names if name in known), names[0] if names else None)


def _refuse_missing_channels(
    images: Path, channels: Mapping[str, Mapping[str, Path]], n_channels: int | None
) -> None:
    known = sorted({channel for files in channels.values() for channel in files})
    if n_channels is not None:
        known = [f"{channel:04}" for channel in range(n_channels)]
    for case, files in channels.items():
        if sorted(files) != known:
            problem = "lacks channels" if set(known) - files.keys() else "has more channels than the model takes"
            raise DataError(
                f"case {case} {problem} in {images}", received=", ".join(files), expected=", ".join(known)
            )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
