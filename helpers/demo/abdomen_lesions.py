"""Liver lesions with their truth, and findings elsewhere that look like them and carry no label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.demo.abdomen_organs import Levels
from helpers.demo.anatomy import smooth_field
from helpers.demo.torso_shapes import ellipsoid_level

_FAR_MM = -60.0


@dataclass(frozen=True)
class Finding:
    """A rough ball: its level in mm (Z, Y, X), and its value and its core's relative to the liver's in HU."""

    level: np.ndarray
    contrast_hu: float
    core_hu: float | None = None


def grow_lesions(points: np.ndarray, liver: np.ndarray, rng: np.random.Generator) -> list[Finding]:
    """Two to six lesions inside the liver, at least one of them large; most are darker than the liver."""
    radii = [rng.uniform(16, 27), *rng.uniform(7, 20, int(rng.integers(1, 6)))]
    lesions, taken = [], np.full(liver.shape, np.float32(_FAR_MM))
    for radius in radii:
        candidates = np.argwhere((liver > 0.45 * radius) & (taken < -radius - 5))
        if len(candidates) == 0:
            continue
        level = _ball(points, candidates, radius, rng)
        level = np.minimum(level, liver - np.float32(0.5))
        taken = np.maximum(taken, level)
        # One in six is brighter than the liver, as a metastasis with many vessels.
        contrast = rng.uniform(45, 70) if rng.random() < 1 / 6 else -rng.uniform(36, 70)
        core = contrast - rng.uniform(18, 30) if radius > 13 and rng.random() < 0.5 else None
        lesions.append(Finding(level, contrast, core))
    return lesions


def scatter_lookalikes(points: np.ndarray, levels: Levels, rng: np.random.Generator) -> list[Finding]:
    """Cysts and masses of kidneys and spleen, nodes in fat, muscle and lung, spots in vertebrae."""
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
    # Only a box around the ball is computed; elsewhere it is far away.
    reach = 1.5 * radius_mm + 8
    near = [np.abs(points[axis] - centre[axis]) < reach for axis in range(3)]
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis, mask in enumerate(near)]
    box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    part = points[(slice(None), *box)]
    ball = ellipsoid_level(part, centre, radius_mm * rng.uniform(0.8, 1.2, 3), rng.uniform(-1, 1, 3))
    level = np.full(points.shape[1:], np.float32(_FAR_MM))
    level[box] = ball + np.float32(0.13 * radius_mm) * smooth_field(rng, ball.shape, max(2.0, radius_mm / 5))
    return level
