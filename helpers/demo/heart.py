"""Demo cases in the layout of MSD Task02 Heart with known truth: late-enhancement MRI of generated hearts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from helpers.demo.decathlon import DecathlonTask, DemoCase, write_cases
from helpers.demo.shapes import (
    bend_points,
    blend,
    ellipsoid_level,
    make_points,
    near_point,
    rotate_points,
    smooth_field,
    soft_edge,
    tube_level,
)

TASK = DecathlonTask("Task02_Heart", "LeftAtrium", "MRI", ("background", "left atrium"), "la_{:03d}")
IN_PLANE_MM = 1.25
_WIDTH_MM = 1.8
_STUB_MM = 11.0
_INF = np.inf
_near = partial(near_point, jitter_mm=3.0)


@dataclass(frozen=True)
class Chest:
    """The level (Z, Y, X) float32 of each structure; `atrium` is the labelled left atrium.

    The atrium consists of the chamber, its appendage and the first centimetre of each pulmonary vein.
    """

    levels: dict[str, np.ndarray]
    atrium: np.ndarray


def generate_case(seed: int) -> DemoCase:
    """Generates one case; the same seed gives the same bytes.

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
    """Writes cases in the layout of the MSD: Task02_Heart/{imagesTr,labelsTr}/la_<seed>.nii.gz and dataset.json.

    Returns:
        The ids of the cases, in the order of the seeds.

    Raises:
        DataError: a file cannot be written.
    """
    return write_cases(root, TASK, seeds, generate_case)


def build_chest(
    size_zyx: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Chest:
    """Draws one chest; the same state of `rng` gives the same bytes."""
    points = make_points(size_zyx, spacing_mm)
    body = bend_points(points, rng, [(3.0, 30.0)])
    shift = rng.uniform(-7, 7, 3).reshape(3, 1, 1, 1).astype(np.float32)
    heart = rotate_points(points - shift, rng.uniform(-0.2, 0.2, 3))
    heart = bend_points(heart, rng, [(3.0, 22.0), (1.1, 9.0)]) / np.float32(rng.uniform(0.9, 1.14))
    levels = _draw_frame(body, rng)
    levels |= _draw_right_heart(heart, rng)
    levels |= _draw_left_ventricle(heart, rng)
    levels |= _draw_vessels(heart, rng)
    atrium, veins = _draw_atrium(heart, rng)
    levels["veins"] = veins
    parts = [level for name, level in levels.items() if name in ("lv_wall", "rv", "ra", "aorta", "pulmonary")]
    around = np.maximum.reduce([*parts, atrium])
    levels["pericardium"] = around + rng.uniform(3, 7) + 2.5 * smooth_field(rng, size_zyx, 10.0)
    levels["rv_wall"] = np.maximum(levels["rv"], levels["ra"]) + np.float32(2.5)
    return Chest(levels, atrium)


def _draw_frame(points: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws skin, chest wall, spine with discs, descending aorta, gullet, the dome of the liver, and the sternum."""
    skin = ellipsoid_level(points, (0, 25, 0), (_INF, rng.uniform(108, 122), rng.uniform(150, 180)))
    spine_y = rng.uniform(68, 78)
    spine = ellipsoid_level(points, (0, spine_y, rng.uniform(-6, 2)), (_INF, 16, 19))
    discs = np.cos(2 * np.pi * (points[0] + rng.uniform(0, 30)) / rng.uniform(26, 32)) - 0.8
    aorta_x = rng.uniform(18, 28)
    path = [(-90, spine_y - 12, aorta_x - 8), (0, spine_y - 18, aorta_x), (90, spine_y - 22, aorta_x + 2)]
    gullet = [(-90, spine_y - 28, 12), (0, spine_y - 26, 4), (90, spine_y - 22, 0)]
    liver = ellipsoid_level(points, _near(rng, -92, 10, -48), (rng.uniform(48, 62), 70, 70))
    return {
        "skin": skin,
        "inner": skin - np.float32(rng.uniform(18, 26)),
        "fat_layer": skin - np.float32(rng.uniform(5, 12)),
        "spine": spine,
        "disc": np.minimum(spine, discs * 12),
        "column": ellipsoid_level(points, (0, spine_y - 8, 6), (_INF, 34, 38)),
        "front": ellipsoid_level(points, (0, -70, 0), (_INF, 34, rng.uniform(14, 26))),
        "sternum": ellipsoid_level(points, (0, -80, 0), (_INF, 6, 16)),
        "descending": tube_level(points, path, [11, 11.5, 12.5]),
        "gullet": tube_level(points, gullet, [5.5, 6, 5]),
        "liver": liver,
    }


def _draw_right_heart(points: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    ra = ellipsoid_level(points, _near(rng, -4, -6, -38), rng.uniform(0.9, 1.1, 3) * (27, 23, 20))
    centre, radii = _near(rng, -16, -40, -6), rng.uniform(0.9, 1.1, 3) * (34, 22, 36)
    ventricle = ellipsoid_level(points, centre, radii, (0, 0, 0.2))
    outflow = tube_level(points, [(-10, -44, 2), (14, -40, 10)], [16, 13])
    return {"ra": ra, "rv": np.maximum(ventricle, outflow)}


def _draw_left_ventricle(points: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    angles = (rng.uniform(0.45, 0.7), rng.uniform(-0.2, 0.2), rng.uniform(0.25, 0.45))
    outer = ellipsoid_level(points, _near(rng, -18, -20, 38), rng.uniform(0.93, 1.07, 3) * (31, 32, 44), angles)
    wall_mm = np.float32(rng.uniform(8, 11))
    # The cavity opens towards the mitral valve, so the wall thins out there.
    valve = ellipsoid_level(points, _near(rng, -6, 2, 20), (15, 12, 15))
    return {"lv_wall": outer, "lv": np.maximum(outer - wall_mm, np.minimum(valve, outer + 2))}


def _draw_vessels(points: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws the ascending aorta and the arch, the pulmonary trunk and arteries, and both caval veins."""
    root = _near(rng, 2, -14, 2)
    aorta: list[ArrayLike] = [root, (26, -18, -10), (58, -8, -8), (70, 10, 6), (64, 34, 20), (45, 46, 22)]
    trunk: list[ArrayLike] = [_near(rng, 14, -38, 12), (30, -22, 18), (38, -4, 14)]
    right, left = [(36, -4, 14), (34, 12, -14), (32, 18, -44)], [(38, -4, 14), (42, 16, 34), (38, 24, 52)]
    superior: list[ArrayLike] = [_near(rng, 8, -4, -38), (45, -6, -32), (90, -10, -28)]
    inferior: list[ArrayLike] = [(-90, 12, -34), (-40, 8, -34), _near(rng, -14, 0, -38)]
    pulmonary = [tube_level(points, trunk, [12.5, 13, 12]), tube_level(points, right, [10.5, 10, 8])]
    pulmonary.append(tube_level(points, left, [10.5, 9.5, 7.5]))
    return {
        "aorta": tube_level(points, aorta, [14, 15.5, 14, 13, 12, 12]),
        "pulmonary": np.maximum.reduce(pulmonary),
        "cava": np.maximum(tube_level(points, superior, [9, 9, 9]), tube_level(points, inferior, [12, 13, 13])),
    }


def _draw_atrium(points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws the labelled atrium, which has the first part of each pulmonary vein, and the complete veins."""
    radii = rng.uniform(0.85, 1.18, 3) * (23, 19, 31)
    body = ellipsoid_level(points, _near(rng, 6, 24, 3), radii, rng.uniform(-0.15, 0.15, 3))
    roof = ellipsoid_level(points, _near(rng, 16, 22, 6), rng.uniform(0.85, 1.15, 3) * (14, 15, 24))
    body = np.maximum(body, roof)
    veins = []
    for side in (-1, 1):
        for up in (-1, 1):
            ostium = _near(rng, 7 + 11 * up, 32, side * 26 + 2, jitter_mm=2.5)
            middle = _near(rng, 8 + 17 * up, 38, side * 44, jitter_mm=4)
            end = _near(rng, 9 + 30 * up, 46, side * 78, jitter_mm=8)
            width = rng.uniform(5.2, 7.6)
            veins.append(tube_level(points, [(6, 26, side * 12), ostium, middle, end], [6, width, 0.9 * width, 4]))
    tip = _near(rng, 14, -14, 46, jitter_mm=5)
    path: list[ArrayLike] = [(10, 16, 24), _near(rng, 13, 8, 36), _near(rng, 14, -4, 42), tip]
    appendage = tube_level(points, path, [8, rng.uniform(5.5, 8), rng.uniform(6, 9), rng.uniform(3, 6)])
    stubs = np.minimum(np.maximum.reduce(veins), body + np.float32(_STUB_MM))
    return np.maximum.reduce([body, appendage, stubs]), np.maximum.reduce(veins)


def _paint(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Paints brightness (Z, Y, X) float32: blood near 0.8, healthy muscle nulled, scar brighter than blood."""
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
    """Paints a thin wall with patches of scar, then the cavity; veins pass through the wall."""
    scar = soft_edge(smooth_field(rng, atrium.shape, 8.0) - rng.uniform(0.5, 1.1), 0.5)
    thickness_mm = rng.uniform(1.6, 2.6) * (1 + 0.25 * smooth_field(rng, atrium.shape, 9.0))
    wall = np.minimum(atrium + thickness_mm, thickness_mm)
    through = np.float32(blood) - picture
    value = 0.3 + scar * (rng.uniform(1.0, 1.3) - 0.3)
    # Where blood already fills the voxel, the wall is open (a vein continues) or thin (the mitral valve).
    share = soft_edge(wall, _WIDTH_MM) * np.where(np.abs(through) < 0.12, np.float32(0.45), np.float32(1))
    picture += share * (value - picture)
    blend(picture, atrium, blood * rng.uniform(0.92, 1.08), _WIDTH_MM)


def _acquire(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates the scanner: coil bias, a ghost of the moving chest, Rician noise and gain; int16."""
    bias = np.exp(np.float32(rng.uniform(0.12, 0.26)) * smooth_field(rng, picture.shape, 60.0))
    ramp = np.linspace(rng.uniform(1.0, 1.5), rng.uniform(0.75, 1.0), picture.shape[1], dtype=np.float32)
    signal = picture * bias * ramp[:, None]
    ghost = np.roll(signal, int(rng.integers(12, 40)), axis=1)
    signal = signal + np.float32(rng.uniform(0.02, 0.07)) * ghost
    sigma = np.float32(rng.uniform(0.05, 0.085))
    real = signal + sigma * rng.standard_normal(signal.shape, np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, np.float32)
    return np.rint(np.hypot(real, imaginary) * np.float32(rng.uniform(160, 420))).astype(np.int16)
