"""An upper abdomen as levels in mm: wall, bones, lungs, heart, liver, spleen, kidneys, gut and vessels."""

from __future__ import annotations

import numpy as np

from helpers.demo.anatomy import smooth_field
from helpers.demo.torso_shapes import bend_points, ellipsoid_level, make_points, tube_level

_INF = np.inf
Levels = dict[str, np.ndarray]


def draw_organs(size_zyx: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng) -> Levels:
    """Levels (Z, Y, X) float32 by organ, positive inside; the same state of `rng` gives the same bytes.

    The liver gives way to its neighbours (gallbladder, right kidney, stomach, caval vein), lungs and heart to it.
    """
    points = make_points(size_zyx, spacing_mm)
    frame = bend_points(points, rng, [(4.0, 26.0)])
    soft = bend_points(points, rng, [(6.0, 22.0), (2.0, 8.0)])
    soft -= rng.uniform(-8, 8, 3).reshape(3, 1, 1, 1).astype(np.float32)
    levels = _draw_wall(frame, rng)
    levels |= _draw_spine(frame, rng)
    levels |= _draw_viscera(soft, rng)
    levels |= _draw_vessels(soft, rng)
    for name in ("spleen", "right_kidney", "left_kidney", "stomach", "gallbladder", "pancreas"):
        levels[name] = np.minimum(levels[name], levels["inner"] - np.float32(3))
    levels["liver"] = _draw_liver(soft, levels, rng)
    apart = -levels["liver"] - np.float32(3)
    dome = _lung_floor(frame, rng)
    levels["lungs"] = np.minimum.reduce([levels["inner"], frame[0] - dome, apart, -levels["spleen"] - 3])
    heart = ellipsoid_level(soft, np.array((102, -32, 20)) + rng.uniform(-8, 8, 3), (44, 42, 58), (0.3, 0, 0))
    levels["heart"] = np.minimum.reduce([heart, levels["inner"] - 4, apart])
    levels["lungs"] = np.minimum.reduce([levels["lungs"], -levels["heart"] - 3, -levels["spine"] - 12])
    return levels


def scatter_bowel(points: np.ndarray, levels: Levels, rng: np.random.Generator) -> list[np.ndarray]:
    """Loops of bowel below the stomach and the liver, one level each."""
    gaps_mm = {"liver": 4, "stomach": 3, "spine": 8, "right_kidney": 4, "left_kidney": 4}
    apart = [-levels[name] - np.float32(gap) for name, gap in gaps_mm.items()]
    free = np.minimum.reduce([levels["inner"] - 6, *apart])
    loops = []
    candidates = np.argwhere((free > 7) & (points[0] < 15) & (points[1] < 35))
    for _ in range(int(rng.integers(16, 26))):
        if len(candidates) == 0:
            break
        centre = points[(slice(None), *candidates[rng.integers(len(candidates))])]
        loop = ellipsoid_level(points, centre, rng.uniform(11, 26, 3), rng.uniform(-0.6, 0.6, 3))
        loops.append(np.minimum(loop, free))
    return loops


def _near(rng: np.random.Generator, *point: float, jitter_mm: float = 5.0) -> np.ndarray:
    return np.array(point) + rng.uniform(-jitter_mm, jitter_mm, 3)


def _draw_wall(points: np.ndarray, rng: np.random.Generator) -> Levels:
    """Skin, muscle under the fat, the cavity under the muscle, ribs, and the couch behind the back."""
    depth, width = rng.uniform(102, 120), rng.uniform(145, 166)
    skin = ellipsoid_level(points, (0, 0, 0), (_INF, depth, width))
    muscle = skin - np.float32(rng.uniform(7, 22)) - 4 * smooth_field(rng, skin.shape, 20.0)
    inner = muscle - np.float32(rng.uniform(13, 18))
    slope, gap = rng.uniform(0.45, 0.7), rng.uniform(26, 32)
    rings = np.cos(2 * np.pi * (points[0] + slope * points[1]) / gap + rng.uniform(0, 6))
    band = np.float32(4.5) - np.abs(inner + np.float32(5))
    ribs = np.minimum.reduce([band, (rings - 0.55) * 9, (points[0] + 0.35 * points[1] + 55) / 2])
    couch = 2.5 - np.abs(points[1] - depth - 9 + 0.0012 * points[2] ** 2)
    return {"skin": skin, "muscle": muscle, "inner": inner, "ribs": ribs, "couch": couch}


def _draw_spine(points: np.ndarray, rng: np.random.Generator) -> Levels:
    y = rng.uniform(52, 60)
    body = ellipsoid_level(points, (0, y, 0), (_INF, 17, 22))
    process = ellipsoid_level(points, (0, y + 40, 0), (_INF, 16, 5))
    arch = np.maximum(ellipsoid_level(points, (0, y + 26, 0), (_INF, 13, 19)), process)
    beat = np.cos(2 * np.pi * (points[0] + rng.uniform(0, 36)) / rng.uniform(32, 38))
    arch = np.minimum(arch, (beat + 0.6) * 9)
    backs = [ellipsoid_level(points, (0, y + 26, side * 38), (_INF, 20, 27)) for side in (-1, 1)]
    psoas = [ellipsoid_level(points, (-75, y + 4, side * 38), (75, 17, 16)) for side in (-1, 1)]
    return {
        "spine": np.maximum(body, arch),
        "discs": np.minimum(body, (beat - 0.75) * 12),
        "canal": ellipsoid_level(points, (0, y + 24, 0), (_INF, 7, 9)),
        "back": np.maximum.reduce([*backs, *psoas]),
    }


def _draw_viscera(points: np.ndarray, rng: np.random.Generator) -> Levels:
    def organ(centre, radii, angles=(0.0, 0.0, 0.0)):
        turn = np.array(angles) + rng.uniform(-0.15, 0.15, 3)
        return ellipsoid_level(points, _near(rng, *centre), np.array(radii) * rng.uniform(0.87, 1.13, 3), turn)

    stomach = np.maximum(
        organ((30, -12, 68), (38, 36, 36)),
        tube_level(points, [(20, -25, 66), (-8, -50, 48), (-22, -52, 10)], [26, 22, 15]),
    )
    levels = {
        "spleen": organ((28, 42, 104), (48, 40, 24), (0.5, 0.0, 0.2)),
        "right_kidney": organ((-52, 50, -66), (50, 25, 27), (0.0, -0.15, 0.15)),
        "left_kidney": organ((-38, 52, 66), (52, 25, 27), (0.0, 0.15, 0.15)),
        "stomach": stomach,
        "gallbladder": organ((-30, -34, -44), (27, 14, 14), (0.0, 0.3, 0.5)),
        "pancreas": tube_level(points, [_near(rng, -22, 2, -22), (-8, 2, 12), (6, 22, 70)], [14, 10, 10]),
    }
    levels["sinus"] = np.maximum(
        ellipsoid_level(points, (-50, 44, -52), (24, 10, 14)), ellipsoid_level(points, (-36, 46, 52), (24, 10, 14))
    )
    return levels


def _draw_vessels(points: np.ndarray, rng: np.random.Generator) -> Levels:
    cava = [(-120, 28, -24), (0, 24, -26), (45, 16, -30), (75, 2, -22)]
    hilum = _near(rng, 0, -2, -34, jitter_mm=4)
    portal = [tube_level(points, [(-28, 10, -4), (-12, 6, -16), hilum], [7.5, 7.5, 7])]
    for end, width in (((18, 6, -92), 5), ((-25, 10, -85), 5), ((26, -30, 8), 4.5), ((30, 30, -80), 3.5)):
        end = _near(rng, *end, jitter_mm=10)
        middle = (hilum + end) / 2 + rng.uniform(-8, 8, 3)
        portal.append(tube_level(points, [hilum, middle, end], [6, width, 1.5]))
    hepatic = []
    for end in ((15, 20, -108), (12, -40, -72), (40, -38, -2)):
        end = _near(rng, *end, jitter_mm=10)
        middle = (np.array((48, 10, -34)) + end) / 2 + rng.uniform(-6, 6, 3)
        hepatic.append(tube_level(points, [(50, 14, -30), middle, end], [6.5, 5, 1.5]))
    return {
        "aorta": tube_level(points, [(-120, 34, 4), (0, 34, 10), (120, 38, 16)], [9, 10.5, 12]),
        "cava": tube_level(points, cava, [11, 11.5, 13, 13]),
        "portal": np.maximum.reduce(portal),
        "hepatic": np.maximum.reduce(hepatic),
    }


def _draw_liver(points: np.ndarray, levels: Levels, rng: np.random.Generator) -> np.ndarray:
    """Two lobes of chance size, joined, with the impressions of the neighbours."""
    centre, radii = _near(rng, 2, 0, -78), rng.uniform(0.88, 1.12, 3) * (78, 76, 60)
    right = ellipsoid_level(points, centre, radii, rng.uniform(-0.15, 0.15, 3))
    centre, radii = _near(rng, 32, -36, -8), rng.uniform(0.8, 1.15, 3) * (36, 36, 72)
    left = ellipsoid_level(points, centre, radii, (rng.uniform(-0.3, 0.1), 0.15, 0))
    tip = ellipsoid_level(points, _near(rng, -62, -4, -100), (rng.uniform(25, 55), 38, 26))
    liver = np.maximum.reduce([right, left, tip])
    give_way = [levels[name] for name in ("gallbladder", "right_kidney", "stomach", "cava")]
    give_way += [levels["spine"] + 9, levels["aorta"] + 6, levels["pancreas"] + 2]
    return np.minimum.reduce([liver, levels["inner"] - 2, -np.maximum.reduce(give_way) - 2])


def _lung_floor(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Height of the diaphragm in mm above each point: two domes that fall towards the wall."""
    top = rng.uniform(74, 90)
    return top - 0.011 * ((np.abs(points[2]) - 62) ** 2 + (points[1] + 15) ** 2)
