"""A chest around the heart as levels in mm: chambers, great vessels, veins, appendage, lungs, spine and wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.demo.anatomy import smooth_field
from helpers.demo.torso_shapes import bend_points, ellipsoid_level, make_points, rotate_points, tube_level

_STUB_MM = 11.0
_INF = np.inf


@dataclass(frozen=True)
class Chest:
    """Levels (Z, Y, X) float32 in mm, positive inside, by structure; `atrium` is the labelled left atrium.

    The atrium holds the body of the chamber, its appendage and the first centimetre of each pulmonary vein.
    """

    levels: dict[str, np.ndarray]
    atrium: np.ndarray


def build_chest(size_zyx: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng) -> Chest:
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


def _near(rng: np.random.Generator, *point: float, jitter_mm: float = 3.0) -> np.ndarray:
    return np.array(point) + rng.uniform(-jitter_mm, jitter_mm, 3)


def _draw_frame(points: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Skin, chest wall, spine with discs, descending aorta, gullet, liver under its dome and a sternum."""
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
    """Ascending aorta and arch, pulmonary trunk with both arteries, and the two caval veins."""
    root = _near(rng, 2, -14, 2)
    aorta = [root, (26, -18, -10), (58, -8, -8), (70, 10, 6), (64, 34, 20), (45, 46, 22)]
    trunk = [_near(rng, 14, -38, 12), (30, -22, 18), (38, -4, 14)]
    right, left = [(36, -4, 14), (34, 12, -14), (32, 18, -44)], [(38, -4, 14), (42, 16, 34), (38, 24, 52)]
    superior = [_near(rng, 8, -4, -38), (45, -6, -32), (90, -10, -28)]
    inferior = [(-90, 12, -34), (-40, 8, -34), _near(rng, -14, 0, -38)]
    pulmonary = [tube_level(points, trunk, [12.5, 13, 12]), tube_level(points, right, [10.5, 10, 8])]
    pulmonary.append(tube_level(points, left, [10.5, 9.5, 7.5]))
    return {
        "aorta": tube_level(points, aorta, [14, 15.5, 14, 13, 12, 12]),
        "pulmonary": np.maximum.reduce(pulmonary),
        "cava": np.maximum(tube_level(points, superior, [9, 9, 9]), tube_level(points, inferior, [12, 13, 13])),
    }


def _draw_atrium(points: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The labelled atrium and the whole pulmonary veins; beyond the stubs only the veins go on."""
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
    path = [(10, 16, 24), _near(rng, 13, 8, 36), _near(rng, 14, -4, 42), tip]
    appendage = tube_level(points, path, [8, rng.uniform(5.5, 8), rng.uniform(6, 9), rng.uniform(3, 6)])
    stubs = np.minimum(np.maximum.reduce(veins), body + np.float32(_STUB_MM))
    return np.maximum.reduce([body, appendage, stubs]), np.maximum.reduce(veins)
