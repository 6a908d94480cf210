"""Demo cases of the MSD Task03 Liver layout with known truth: CT-like abdomens with planted liver lesions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.demo.abdomen_lesions import Finding, grow_lesions, scatter_lookalikes
from helpers.demo.abdomen_organs import Levels, draw_organs, scatter_bowel
from helpers.demo.anatomy import smooth_field
from helpers.demo.decathlon import DecathlonTask, DemoCase, write_cases
from helpers.demo.torso_shapes import blend, make_points, soft_edge

TASK = DecathlonTask("Task03_Liver", "Liver", "CT", ("background", "liver", "cancer"), "liver_{}")
LIVER, LESION = 1, 2
_SIDE = 128
_WIDTH_MM = 3.5


def generate_case(seed: int) -> DemoCase:
    """Makes the case of a seed; the same seed gives the same bytes.

    The image is (Z, 128, 128) int16 in Hounsfield units, at 2.6 to 3.0 mm in plane and 3 to 5 mm between
    slices; labels are 1 liver (its vessels included) and 2 lesion.
    """
    grid, shape, look, scanner = np.random.Generator(np.random.PCG64([3, seed])).spawn(4)
    in_plane_mm = round(float(grid.uniform(2.6, 3.0)), 2)
    spacing_mm = (round(float(grid.uniform(3.0, 5.0)), 1), in_plane_mm, in_plane_mm)
    size = (round(grid.uniform(205, 235) / spacing_mm[0]), _SIDE, _SIDE)
    levels = draw_organs(size, spacing_mm, shape)
    points = make_points(size, spacing_mm)
    lesions = grow_lesions(points, levels["liver"], shape)
    image = _acquire(_paint(points, levels, lesions, look), levels["skin"], scanner)
    labels = np.where(levels["liver"] > 0, np.uint8(LIVER), np.uint8(0))
    for lesion in lesions:
        labels[lesion.level > 0] = LESION
    return DemoCase(image, labels, spacing_mm)


def write_demo_cases(root: Path, seeds: Sequence[int]) -> list[str]:
    """Writes cases as MSD does: Task03_Liver/{imagesTr,labelsTr}/liver_<seed>.nii.gz and dataset.json.

    Returns:
        The cases' ids, in the order of the seeds.

    Raises:
        DataError: a file cannot be written.
    """
    return write_cases(root, TASK, seeds, generate_case)


def _paint(points: np.ndarray, levels: Levels, lesions: list[Finding], rng: np.random.Generator) -> np.ndarray:
    """Hounsfield units (Z, Y, X) float32 before noise; spleen, gut and muscle lie near the liver's value."""
    size = points.shape[1:]
    liver, muscle = rng.uniform(78, 112), rng.uniform(58, 72)
    texture = smooth_field(rng, size, 4.0)
    image = np.full(size, -1000, np.float32)
    _paint_frame(image, levels, muscle, texture, rng)
    for loop in scatter_bowel(points, levels, rng):
        _paint_hollow(image, points, loop, muscle, liver, rng)
    blend(image, levels["pancreas"], liver - rng.uniform(0, 18) + 8 * texture, _WIDTH_MM)
    _paint_hollow(image, points, levels["stomach"], muscle, liver, rng)
    blend(image, levels["spleen"], liver + rng.uniform(10, 24), _WIDTH_MM)
    for name in ("right_kidney", "left_kidney"):
        blend(image, levels[name], liver + rng.uniform(20, 60), _WIDTH_MM)
    blend(image, levels["sinus"], rng.uniform(-60, 0), 6)
    blend(image, levels["heart"], liver + rng.uniform(-10, 25) + 10 * texture, _WIDTH_MM)
    blend(image, levels["aorta"], liver + rng.uniform(15, 50), _WIDTH_MM)
    for finding in scatter_lookalikes(points, levels, rng):
        blend(image, finding.level, liver + finding.contrast_hu, _WIDTH_MM)
    blend(image, levels["liver"], liver + 5 * texture + 4 * smooth_field(rng, size, 14.0), _WIDTH_MM)
    for name in ("portal", "hepatic"):
        blend(image, np.minimum(levels[name], levels["inner"]), liver + rng.uniform(8, 40), _WIDTH_MM)
    blend(image, levels["cava"], liver + rng.uniform(0, 30), _WIDTH_MM)
    blend(image, levels["gallbladder"], rng.uniform(2, 18), _WIDTH_MM)
    for lesion in lesions:
        blend(image, lesion.level, liver + lesion.contrast_hu + 7 * texture, _WIDTH_MM)
        if lesion.core_hu is not None:
            blend(image, lesion.level - 6, liver + lesion.core_hu, _WIDTH_MM)
    return image


def _paint_frame(image: np.ndarray, levels: Levels, muscle: float, texture: np.ndarray, rng) -> None:
    fat = rng.uniform(-112, -92)
    blend(image, levels["couch"], -350, 3)
    blend(image, levels["skin"], 10, _WIDTH_MM)
    blend(image, levels["skin"] - 3, fat + 8 * texture, _WIDTH_MM)
    fibres = muscle + 10 * texture
    blend(image, levels["muscle"], fibres, _WIDTH_MM)
    blend(image, levels["inner"], fat + 12 * texture, _WIDTH_MM)
    blend(image, levels["back"], fibres, _WIDTH_MM)
    blend(image, levels["ribs"], rng.uniform(250, 420), _WIDTH_MM)
    blend(image, levels["spine"], rng.uniform(330, 480), _WIDTH_MM)
    blend(image, levels["spine"] - 4, rng.uniform(130, 220) + 25 * texture, _WIDTH_MM)
    blend(image, levels["discs"], rng.uniform(80, 110), _WIDTH_MM)
    blend(image, levels["canal"], 30, _WIDTH_MM)
    # Thick lung vessels show as bright dots.
    blend(image, levels["lungs"], -860 + 500 * soft_edge(texture - 1.8, 0.8), _WIDTH_MM)


def _paint_hollow(
    image: np.ndarray,
    points: np.ndarray,
    level: np.ndarray,
    muscle: float,
    liver: float,
    rng: np.random.Generator,
) -> None:
    """Stomach or bowel: a wall, contents from water to the liver's value or contrast, sometimes gas on top."""
    blend(image, level, muscle + rng.uniform(0, 25), _WIDTH_MM)
    kind = rng.random()
    contents = rng.uniform(5, 30) if kind < 0.2 else liver + rng.uniform(-40, -16) if kind < 0.85 else 260.0
    lumen = level - np.float32(rng.uniform(3, 5))
    blend(image, lumen, contents, _WIDTH_MM)
    inside = lumen > 0
    if inside.any() and rng.random() < 0.45:
        # The patient lies on the back, so gas gathers in front.
        surface = np.quantile(points[1][inside], rng.uniform(0.1, 0.35))
        blend(image, np.minimum(lumen, np.float32(surface) - points[1]), -950, _WIDTH_MM)


def _acquire(image: np.ndarray, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a scanner makes of it: cupping, streaks from side to side and correlated noise; int16."""
    from scipy import ndimage

    inside = soft_edge(skin, 20)
    cupping = np.float32(rng.uniform(4, 12)) * np.clip(skin / 110, 0, 1)
    rows = smooth_field(rng, (*image.shape[:2], 1), 1.6)
    streaks = np.float32(rng.uniform(3, 8)) * rows * (1 + 0.5 * smooth_field(rng, image.shape, 20.0))
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), (0.3, 0.6, 0.6))
    noise *= np.float32(rng.uniform(15, 22)) / noise.std()
    noisy = image + noise * (0.35 + 0.65 * inside) + inside * (streaks - cupping)
    return np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)
