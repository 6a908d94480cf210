"""Demo cases in the layout of MSD Task03 Liver with known truth: CT-like abdomens with planted liver lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from helpers.demo.decathlon import DecathlonTask, DemoCase, write_cases
from helpers.demo.shapes import (
    bend_points,
    blend,
    ellipsoid_level,
    make_points,
    near_point,
    smooth_field,
    soft_edge,
    tube_level,
)

TASK = DecathlonTask("Task03_Liver", "Liver", "CT", ("background", "liver", "cancer"), "liver_{}")
LIVER, LESION = 1, 2
_SIDE = 128
_WIDTH_MM = 3.5
_FAR_MM = -60.0
_INF = np.inf
Levels = dict[str, np.ndarray]
_near = partial(near_point, jitter_mm=5.0)


@dataclass(frozen=True)
class Finding:
    """A rough ball: its level (Z, Y, X), and the contrast of ball and core in HU relative to the liver."""

    level: np.ndarray
    contrast_hu: float
    core_hu: float | None = None


def generate_case(seed: int) -> DemoCase:
    """Generates one case; the same seed gives the same bytes.

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
    """Writes cases in the layout of the MSD: Task03_Liver/{imagesTr,labelsTr}/liver_<seed>.nii.gz and dataset.json.

    Returns:
        The ids of the cases, in the order of the seeds.

    Raises:
        DataError: a file cannot be written.
    """
    return write_cases(root, TASK, seeds, generate_case)


def draw_organs(
    size_zyx: tuple[int, int, int], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Levels:
    """Draws the level (Z, Y, X) float32 of each organ; the same state of `rng` gives the same bytes.

    Gallbladder, right kidney, stomach and caval vein indent the liver; the liver displaces lungs and heart.
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


def _draw_wall(points: np.ndarray, rng: np.random.Generator) -> Levels:
    """Draws the skin, the muscle under the fat, the cavity inside it, the ribs, and the couch behind the back."""
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
    for target, width in (((18, 6, -92), 5), ((-25, 10, -85), 5), ((26, -30, 8), 4.5), ((30, 30, -80), 3.5)):
        end = _near(rng, *target, jitter_mm=10)
        middle = (hilum + end) / 2 + rng.uniform(-8, 8, 3)
        portal.append(tube_level(points, [hilum, middle, end], [6, width, 1.5]))
    hepatic = []
    for target in ((15, 20, -108), (12, -40, -72), (40, -38, -2)):
        end = _near(rng, *target, jitter_mm=10)
        middle = (np.array((48, 10, -34)) + end) / 2 + rng.uniform(-6, 6, 3)
        hepatic.append(tube_level(points, [(50, 14, -30), middle, end], [6.5, 5, 1.5]))
    return {
        "aorta": tube_level(points, [(-120, 34, 4), (0, 34, 10), (120, 38, 16)], [9, 10.5, 12]),
        "cava": tube_level(points, cava, [11, 11.5, 13, 13]),
        "portal": np.maximum.reduce(portal),
        "hepatic": np.maximum.reduce(hepatic),
    }


def _draw_liver(points: np.ndarray, levels: Levels, rng: np.random.Generator) -> np.ndarray:
    """Draws two joined lobes of random size, indented by their neighbours."""
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
    """The height of the diaphragm in mm at each point: two domes that slope down towards the wall."""
    top = rng.uniform(74, 90)
    return top - 0.011 * ((np.abs(points[2]) - 62) ** 2 + (points[1] + 15) ** 2)


def scatter_bowel(points: np.ndarray, levels: Levels, rng: np.random.Generator) -> list[np.ndarray]:
    """Draws loops of bowel below the stomach and the liver; returns one level per loop."""
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


def grow_lesions(points: np.ndarray, liver: np.ndarray, rng: np.random.Generator) -> list[Finding]:
    """Draws two to six lesions in the liver, at least one of them large; most are darker than the liver."""
    radii = [rng.uniform(16, 27), *rng.uniform(7, 20, int(rng.integers(1, 6)))]
    lesions, taken = [], np.full(liver.shape, np.float32(_FAR_MM))
    for radius in radii:
        candidates = np.argwhere((liver > 0.45 * radius) & (taken < -radius - 5))
        if len(candidates) == 0:
            continue
        level = _ball(points, candidates, radius, rng)
        level = np.minimum(level, liver - np.float32(0.5))
        taken = np.maximum(taken, level)
        # One in six is brighter than the liver, like a hypervascular metastasis.
        contrast = rng.uniform(45, 70) if rng.random() < 1 / 6 else -rng.uniform(36, 70)
        core = contrast - rng.uniform(18, 30) if radius > 13 and rng.random() < 0.5 else None
        lesions.append(Finding(level, contrast, core))
    return lesions


def scatter_lookalikes(points: np.ndarray, levels: Levels, rng: np.random.Generator) -> list[Finding]:
    """Draws cysts and masses in kidneys and spleen, nodes in fat, muscle and lung, and spots in vertebrae."""
    kidneys = np.maximum(levels["right_kidney"], levels["left_kidney"])
    fat = np.minimum(levels["inner"], -levels["liver"] - 8)
    findings = []
    for region, count, radius, contrast in (
        (kidneys - 2, rng.integers(2, 5), (7, 17), (-95, -30)),
        (levels["spleen"] - 3, rng.integers(1, 4), (7, 15), (-68, -32)),
        (fat - 5, rng.integers(5, 10), (6, 15), (-70, 10)),
        (levels["back"] - 3, rng.integers(1, 4), (7, 12), (-10, 45)),
        (levels["lungs"] - 5, rng.integers(1, 5), (5, 12), (-80, -20)),
        (levels["spine"] - 3, rng.integers(0, 3), (7, 11), (-60, 10)),
        (levels["stomach"] - 5, rng.integers(0, 3), (7, 14), (-70, 40)),
    ):
        candidates = np.argwhere(region > 0)
        for _ in range(int(count) if len(candidates) else 0):
            level = _ball(points, candidates, rng.uniform(*radius), rng)
            level = np.minimum(level, -levels["liver"] - np.float32(3))
            findings.append(Finding(level, rng.uniform(*contrast)))
    return findings


def _ball(points: np.ndarray, candidates: np.ndarray, radius_mm: float, rng: np.random.Generator) -> np.ndarray:
    centre = points[(slice(None), *candidates[rng.integers(len(candidates))])]
    # The level is computed in a box around the ball only; elsewhere it is a constant far outside.
    reach = 1.5 * radius_mm + 8
    near = [np.abs(points[axis] - centre[axis]) < reach for axis in range(3)]
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis, mask in enumerate(near)]
    box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    part = points[(slice(None), *box)]
    ball = ellipsoid_level(part, centre, radius_mm * rng.uniform(0.8, 1.2, 3), rng.uniform(-1, 1, 3))
    level = np.full(points.shape[1:], np.float32(_FAR_MM))
    level[box] = ball + np.float32(0.13 * radius_mm) * smooth_field(rng, ball.shape, max(2.0, radius_mm / 5))
    return level


def _paint(points: np.ndarray, levels: Levels, lesions: list[Finding], rng: np.random.Generator) -> np.ndarray:
    """Paints Hounsfield units (Z, Y, X) float32 without noise; spleen, gut and muscle are close to the liver."""
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


def _paint_frame(
    image: np.ndarray, levels: Levels, muscle: float, texture: np.ndarray, rng: np.random.Generator
) -> None:
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
    """Paints stomach or bowel: a wall, contents (water, soft tissue or contrast agent), and sometimes gas on top."""
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
    """Simulates the scanner: cupping, streaks from side to side and correlated noise; int16."""
    from scipy import ndimage

    inside = soft_edge(skin, 20)
    cupping = np.float32(rng.uniform(4, 12)) * np.clip(skin / 110, 0, 1)
    rows = smooth_field(rng, (*image.shape[:2], 1), 1.6)
    streaks = np.float32(rng.uniform(3, 8)) * rows * (1 + 0.5 * smooth_field(rng, image.shape, 20.0))
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), (0.3, 0.6, 0.6))
    noise *= np.float32(rng.uniform(15, 22)) / noise.std()
    noisy = image + noise * (0.35 + 0.65 * inside) + inside * (streaks - cupping)
    return np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)
