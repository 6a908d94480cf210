"""Small BraTS cases with the names of either year, for the tests of the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.data import brats
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume

SHAPE = (6, 8, 10)
GRID = Geometry(SHAPE, (1.0, 1.0, 1.0), (0.0, -239.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
NAMES_2018 = {role: f"_{role}" for role in (*brats.MODALITIES, "seg")}
NAMES_2023 = {"t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w", "flair": "-t2f", "seg": "-seg"}


def write(path: Path, array: np.ndarray, geometry: Geometry = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_volume(path, Volume(array, geometry))


def labels_of(*values: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 2:6, 3:8] = np.resize(values, (2, 4, 5))
    return labels


def write_case(
    folder: Path, name: str, names=NAMES_2018, labels=None, leave_out=(), suffix=".nii.gz", **arrays: np.ndarray
) -> Path:
    """Modality number m holds m + noise; there is no label file if `labels` is None."""
    random = np.random.default_rng(0)
    for index, role in enumerate(brats.MODALITIES):
        array = arrays.get(role, (100 * index + random.random(SHAPE)).astype(np.float32))
        if role not in leave_out:
            write(folder / f"{name}{names[role]}{suffix}", array)
    if labels is not None:
        write(folder / f"{name}{names['seg']}{suffix}", labels)
    return folder


def only_case(root: Path):
    (case,) = brats.list_brats_cases(root)
    return case
