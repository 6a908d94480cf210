"""Demo cases of the BraTS 2018 layout with known truth: real anatomy, synthetic contrasts, painted gliomas.

Nothing in them is a patient: only the anatomy of healthy volunteers' average is real.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
from helpers.demo.anatomy import SIZE_ZYX, bend_anatomy
from helpers.demo.brats_contrast import MODALITIES, acquire, paint, render_healthy
from helpers.demo.brats_lookalikes import place_lookalikes
from helpers.demo.brats_tumour import grow_tumour

GROUP = Path("MICCAI_BraTS_2018_Data_Training", "HGG")
SPACING_MM_ZYX = (1.0, 1.0, 1.0)
_ORIGIN_MM_XYZ = (0.0, -239.0, 0.0)
_logger = logging.getLogger("cookbook")


@dataclass(frozen=True)
class DemoCase:
    """One case: images (4, Z, Y, X) int16 in the order t1, t1ce, t2, flair, and labels (Z, Y, X) uint8.

    Labels are those of BraTS 2018: 0 background, 1 necrotic core, 2 oedema, 4 enhancing tumour.
    """

    images: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]


def generate_case(seed: int) -> DemoCase:
    """Makes the case of a seed; the same seed gives the same bytes.

    Raises:
        DataError: a file of the anatomy is missing or damaged.
    """
    shape, look, texture, scanner = np.random.Generator(np.random.PCG64(seed)).spawn(4)
    anatomy = bend_anatomy(shape)
    tumour = grow_tumour(anatomy, shape)
    layers = render_healthy(anatomy, texture)
    for blob in (*place_lookalikes(anatomy, tumour, look), *tumour.blobs):
        paint(layers, blob, texture)
    return DemoCase(acquire(layers, anatomy.brain, scanner), tumour.labels, SPACING_MM_ZYX)


def write_demo_cases(root: Path, seeds: Sequence[int]) -> list[str]:
    """Writes cases as BraTS 2018 lays them out: GROUP/Demo_<seed>/Demo_<seed>_{t1,t1ce,t2,flair,seg}.nii.gz.

    A case appears under its name only when all its files are written; a complete case is kept as it is.

    Args:
        root: the data set's root; it is made when it is missing.
        seeds: one case each.

    Returns:
        The cases' names, in the order of the seeds.

    Raises:
        DataError: a file cannot be written, or the anatomy is missing.
    """
    folder = Path(root) / GROUP
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for seed in seeds:
        name = f"Demo_{seed:05d}"
        names.append(name)
        if not _is_complete(folder / name):
            _write_case(folder / name, generate_case(seed))
            _logger.info("made demo case %s", name)
    return names


def _file_names(name: str) -> list[str]:
    return [f"{name}_{kind}.nii.gz" for kind in (*MODALITIES, "seg")]


def _is_complete(case_folder: Path) -> bool:
    return all((case_folder / file).is_file() for file in _file_names(case_folder.name))


def _write_case(case_folder: Path, case: DemoCase) -> None:
    geometry = Geometry(SIZE_ZYX, case.spacing_mm, _ORIGIN_MM_XYZ, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    # Outside the folder of cases, so that even a kill leaves nothing there that looks like one.
    unfinished = Path(tempfile.mkdtemp(prefix=".part-", dir=case_folder.parents[2]))
    try:
        for file, array in zip(_file_names(case_folder.name), (*case.images, case.labels), strict=True):
            write_volume(unfinished / file, Volume(array, geometry))
        unfinished.chmod(0o755)
        if not _is_complete(case_folder):
            shutil.rmtree(case_folder, ignore_errors=True)
            os.replace(unfinished, case_folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
