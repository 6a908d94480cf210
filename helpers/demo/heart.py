"""Demo cases of the MSD Task02 Heart layout with known truth: late-enhancement-like MRI of generated hearts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.demo.anatomy import smooth_field
from helpers.demo.decathlon import DecathlonTask, DemoCase, write_cases
from helpers.demo.heart_anatomy import Chest, build_chest
from helpers.demo.torso_shapes import blend, soft_edge

TASK = DecathlonTask("Task02_Heart", "LeftAtrium", "MRI", ("background", "left atrium"), "la_{:03d}")
IN_PLANE_MM = 1.25
_WIDTH_MM = 1.8


def generate_case(seed: int) -> DemoCase:
    """Makes the case of a seed; the same seed gives the same bytes.

    The image is (Z, Y, X) int16, at 1.25 mm in plane and 1.4 to 2.7 mm between slices; label 1 is the left
    atrium with its appendage and the first centimetre of each pulmonary vein.
    """
    grid, shape, look, scanner = np.random.Generator(np.random.PCG64([2, seed])).spawn(4)
    spacing_mm = (round(float(grid.uniform(1.4, 2.7)), 2), IN_PLANE_MM, IN_PLANE_MM)
    depth = int(np.clip(round(grid.uniform(96, 112) / spacing_mm[0]), 40, 64))
    size = (depth, 8 * int(grid.integers(17, 21)), 8 * int(grid.integers(18, 22)))
    chest = build_chest(size, spacing_mm, shape)
    image = _acquire(_paint(chest, look), scanner)
    return DemoCase(image, (chest.atrium > 0).astype(np.uint8), spacing_mm)


def write_demo_cases(root: Path, seeds: Sequence[int]) -> list[str]:
    """Writes cases as MSD does: Task02_Heart/{imagesTr,labelsTr}/la_<seed>.nii.gz and dataset.json.

    Returns:
        The cases' ids, in the order of the seeds.

    Raises:
        DataError: a file cannot be written.
    """
    return write_cases(root, TASK, seeds, generate_case)


def _paint(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Brightness (Z, Y, X) float32; blood is near 0.8, healthy muscle is nulled, scar brighter than blood."""
    levels, size = chest.levels, chest.atrium.shape
    blood, muscle, fat = rng.uniform(0.68, 0.88), rng.uniform(0.14, 0.24), rng.uniform(0.45, 0.95)
    soft = rng.uniform(0.26, 0.4)
    texture = smooth_field(rng, size, 3.0)
    picture = np.full(size, 0.02, np.float32)
    blend(picture, levels["skin"], fat, 3)
    blend(picture, levels["fat_layer"], soft, 4)
    blend(picture, levels["inner"], 0.07 + 0.25 * soft_edge(texture - 1.7, 0.8), 3)
    fatty = fat * (0.8 + 0.1 * texture)
    for name in ("column", "front", "pericardium"):
        blend(picture, np.minimum(levels[name], levels["inner"]), fatty, 4)
    for name, value in (("spine", soft + 0.06), ("disc", 0.55), ("sternum", 0.3), ("liver", soft + 0.2)):
        blend(picture, levels[name], value, 2.5)
    blend(picture, levels["gullet"], soft + 0.05, _WIDTH_MM)
    blend(picture, levels["rv_wall"], muscle + 0.06, _WIDTH_MM)
    blend(picture, levels["lv_wall"], muscle, _WIDTH_MM)
    infarct = np.minimum(levels["lv_wall"], (smooth_field(rng, size, 14.0) - 1.3) * 6)
    blend(picture, infarct, 1.2 * blood, 3)
    for name in ("descending", "veins", "cava", "pulmonary", "aorta", "ra", "rv", "lv"):
        blend(picture, levels[name], blood * rng.uniform(0.9, 1.1), _WIDTH_MM)
    _paint_atrium(picture, chest.atrium, blood, rng)
    return picture * (1 + 0.05 * texture + 0.04 * smooth_field(rng, size, 8.0))


def _paint_atrium(picture: np.ndarray, atrium: np.ndarray, blood: float, rng: np.random.Generator) -> None:
    """A thin wall with patches of scar, then the cavity; veins leave through the wall."""
    scar = soft_edge(smooth_field(rng, atrium.shape, 8.0) - rng.uniform(0.5, 1.1), 0.5)
    thickness_mm = rng.uniform(1.6, 2.6) * (1 + 0.25 * smooth_field(rng, atrium.shape, 9.0))
    wall = np.minimum(atrium + thickness_mm, thickness_mm)
    through = np.float32(blood) - picture
    value = 0.3 + scar * (rng.uniform(1.0, 1.3) - 0.3)
    # Where blood already fills the voxel, the wall is open (a vein going on) or thin (the mitral valve).
    share = soft_edge(wall, _WIDTH_MM) * np.where(np.abs(through) < 0.12, np.float32(0.45), np.float32(1))
    picture += share * (value - picture)
    blend(picture, atrium, blood * rng.uniform(0.92, 1.08), _WIDTH_MM)


def _acquire(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a scanner makes of it: coil bias, a ghost of the moving chest, Rician noise, gain; int16."""
    bias = np.exp(np.float32(rng.uniform(0.12, 0.26)) * smooth_field(rng, picture.shape, 60.0))
    ramp = np.linspace(rng.uniform(1.0, 1.5), rng.uniform(0.75, 1.0), picture.shape[1], dtype=np.float32)
    signal = picture * bias * ramp[:, None]
    ghost = np.roll(signal, int(rng.integers(12, 40)), axis=1)
    signal = signal + np.float32(rng.uniform(0.02, 0.07)) * ghost
    sigma = np.float32(rng.uniform(0.05, 0.085))
    real = signal + sigma * rng.standard_normal(signal.shape, np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, np.float32)
    return np.rint(np.hypot(real, imaginary) * np.float32(rng.uniform(160, 420))).astype(np.int16)
