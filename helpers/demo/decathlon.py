"""Writes demo cases in the layout of the Medical Segmentation Decathlon: imagesTr, labelsTr and dataset.json.

Layout: Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13 (2022).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
from helpers.run.atomic import atomic_path

_LOG = logging.getLogger("cookbook")


@dataclass(frozen=True)
class DecathlonTask:
    """A task: its folder, its name in dataset.json, the modality, the labels in order and the format of an id."""

    folder: str
    name: str
    modality: str
    labels: tuple[str, ...]
    id_format: str


@dataclass(frozen=True)
class DemoCase:
    """One case: image (Z, Y, X) int16, labels (Z, Y, X) uint8, spacing in mm in the same order."""

    image: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]


def write_cases(
    root: Path, task: DecathlonTask, seeds: Sequence[int], generate: Callable[[int], DemoCase]
) -> list[str]:
    """Writes one case per seed to root/<task folder>; existing cases are kept.

    The label is written before the image, so a case with an image is complete; dataset.json lists complete cases.

    Returns:
        The ids of the cases, in the order of the seeds.

    Raises:
        DataError: a file cannot be written.
    """
    folder = Path(root) / task.folder
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    ids = [task.id_format.format(seed) for seed in seeds]
    for case_id, seed in zip(ids, seeds, strict=True):
        paths = [folder / part / f"{case_id}.nii.gz" for part in ("labelsTr", "imagesTr")]
        if all(path.is_file() for path in paths):
            continue
        case = generate(seed)
        geometry = _place(case)
        for path, array in zip(paths, (case.labels, case.image), strict=True):
            write_volume(path, Volume(array, geometry))
        _LOG.info("wrote demo case %s", case_id)
    _write_index(folder, task)
    return ids


def _place(case: DemoCase) -> Geometry:
    # The centre of the grid is the origin of the patient space; the axes point left, back and up (LPS).
    extent = [(n - 1) * s for n, s in zip(case.image.shape, case.spacing_mm, strict=True)]
    z, y, x = (-0.5 * length for length in extent)
    depth, height, width = case.image.shape
    return Geometry((depth, height, width), case.spacing_mm, (x, y, z), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def _write_index(folder: Path, task: DecathlonTask) -> None:
    names = sorted(path.name for path in (folder / "imagesTr").glob("[!.]*.nii.gz"))
    names = [name for name in names if (folder / "labelsTr" / name).is_file()]
    index = {
        "name": task.name,
        "description": "generated demo data with known truth; no patient's image",
        "tensorImageSize": "3D",
        "modality": {"0": task.modality},
        "labels": {str(value): label for value, label in enumerate(task.labels)},
        "numTraining": len(names),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    with atomic_path(folder / "dataset.json") as temporary:
        temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")
