"""Tasks of the Medical Segmentation Decathlon looked through: dataset.json against the files, then every file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from helpers.data.volume import Volume
from helpers.errors import DataError
from helpers.fetch.layouts import CheckedCase, read_together


def check_task(root: Path, task: str) -> Iterator[CheckedCase]:
    """One task: what dataset.json names is there, readable, on one grid, with labels that it declares.

    Args:
        root: the task's folder, or the one above it.
        task: name of the task's folder, such as Task02_Heart.

    Raises:
        DataError: there is no dataset.json, or it is not what the Decathlon writes.
    """
    root = root / task if (root / task).is_dir() else root
    description = _read_description(root / "dataset.json")
    classes = {int(value) for value in description["labels"]}
    pairs = [(pair["image"], pair["label"]) for pair in description["training"]]
    for image, label in pairs:
        yield _check_files(root, [image, label], classes)
    if (root / "imagesTs").is_dir():
        for image in description.get("test", []):
            yield _check_files(root, [image], classes)
    named = [name for pair in pairs for name in pair] + list(description.get("test", []))
    yield from _check_unnamed(root, named)
    count = description.get("numTraining", len(pairs))
    if count != len(pairs):
        line = f"{root / 'dataset.json'} names {len(pairs)} training cases and says that they are {count}"
        yield CheckedCase("dataset.json", (line,))


check_liver = partial(check_task, task="Task03_Liver")
check_heart = partial(check_task, task="Task02_Heart")


def _read_description(path: Path) -> dict:
    if not path.is_file():
        raise DataError(f"{path} does not exist", remedy="Name the folder that holds dataset.json, or the one above.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        whole = all({"image", "label"} <= pair.keys() for pair in description["training"])
        whole = whole and all(str(value).isdigit() for value in description["labels"])
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise DataError(
            f"{path} is no description of a Decathlon task",
            expected="JSON with labels and with training as a list of {image, label}",
            remedy="Unpack the archive again.",
        )
    return description


def _check_files(root: Path, names: list[str], classes: set[int]) -> CheckedCase:
    case = Path(names[0]).name.split(".")[0]
    outside = [name for name in names if not (root / name).resolve().is_relative_to(root.resolve())]
    if outside:
        return CheckedCase(case, tuple(f"dataset.json names {name!r}, which is not below {root}" for name in outside))
    paths = [root / Path(name) for name in names]
    problems, volumes = read_together(paths)
    for path, volume in volumes.items():
        problems += _values(path, volume, classes if path in paths[1:] else None)
    return CheckedCase(case, tuple(problems))


def _values(path: Path, volume: Volume, classes: set[int] | None) -> list[str]:
    if classes is None:
        if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
            return [f"{path} has voxels that are NaN or infinite"]
        return []
    strange = sorted(set(np.unique(volume.array).tolist()) - classes)
    if strange:
        return [f"{path} holds labels that dataset.json does not declare: {strange[:5]}"]
    return []


def _check_unnamed(root: Path, named: list[str]) -> Iterator[CheckedCase]:
    known = {(root / name).resolve() for name in named}
    for folder in ("imagesTr", "labelsTr"):
        for path in sorted((root / folder).glob("*.nii*")):
            # The official archives carry hidden twins (._la_003.nii.gz) of a file manager.
            if path.resolve() not in known and not path.name.startswith("."):
                yield CheckedCase(path.name, (f"{path} is not named in dataset.json",))
