"""Smooth random fields and soft shapes in millimetres, from which the generated cases are made.

A shape is given by its level: millimetres (Z, Y, X) that are positive inside and negative outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike


def smooth_field(rng: np.random.Generator, size_zyx: tuple[int, ...], knot_spacing: float) -> np.ndarray:
    """A smooth random field (Z, Y, X) float32 with mean near 0 and standard deviation near 1.

    Args:
        knot_spacing: voxels between the knots of its cubic B-spline, about the radius of its features.
    """
    knots = [int(np.ceil(size / knot_spacing)) + 3 for size in size_zyx]
    field = rng.standard_normal(knots).astype(np.float32)
    for axis, (size, count) in enumerate(zip(size_zyx, knots, strict=True)):
        weights = _spline_matrix(size, count, knot_spacing)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    # A cubic B-spline of white noise keeps on average 0.479 of its variance per axis.
    return np.ascontiguousarray(field * np.float32(0.479**-1.5))


@lru_cache(maxsize=256)
def _spline_matrix(size: int, count: int, knot_spacing: float) -> np.ndarray:
    position = np.arange(size) / knot_spacing
    distance = np.abs(position[:, None] + 1 - np.arange(count)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - np.minimum(distance, 2)) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def make_points(size_zyx: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    """Voxel centres (3, Z, Y, X) float32 in mm from the middle of the grid: z up, y to posterior, x to the left.

    >>> make_points((1, 2, 3), (5.0, 2.0, 1.0))[:, 0, 1].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 1.0]]
    """
    axes = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(size_zyx, spacing_mm, strict=True))
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def bend_points(
    points: np.ndarray, rng: np.random.Generator, strengths_mm: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Displaces points smoothly at random, so that shapes drawn on them are not plain ellipsoids.

    Args:
        points: (3, Z, Y, X) in mm.
        strengths_mm: pairs of a standard deviation in mm and the distance of the field's knots in voxels.
    """
    bent = points.copy()
    for strength_mm, knot_spacing in strengths_mm:
        for axis in bent:
            axis += np.float32(strength_mm) * smooth_field(rng, axis.shape, knot_spacing)
    return bent


def rotate_points(points: np.ndarray, angles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Rotates points (3, ...) about the axes z, y and x, in this order; angles in radians."""
    turned = points.copy()
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        a, b = turned[first].copy(), turned[second].copy()
        turned[first] = np.float32(np.cos(angle)) * a - np.float32(np.sin(angle)) * b
        turned[second] = np.float32(np.sin(angle)) * a + np.float32(np.cos(angle)) * b
    return turned


def near_point(rng: np.random.Generator, *point_mm: float, jitter_mm: float) -> np.ndarray:
    """Moves a point (3,) at random by up to `jitter_mm` along each axis."""
    return np.array(point_mm) + rng.uniform(-jitter_mm, jitter_mm, 3)


def ellipsoid_level(
    points: np.ndarray, centre_mm: ArrayLike, radii_mm: ArrayLike, angles: Sequence[float] | np.ndarray = (0, 0, 0)
) -> np.ndarray:
    """The level of an ellipsoid; an infinite radius makes a cylinder along that axis."""
    offset = points - np.asarray(centre_mm, np.float32).reshape(3, 1, 1, 1)
    if any(angles):
        offset = rotate_points(offset, angles)
    radii = np.asarray(radii_mm, np.float32)
    distance = np.sqrt(sum(np.square(part / radius) for part, radius in zip(offset, radii, strict=True)))
    finite = radii[np.isfinite(radii)]
    return (1 - distance) * np.float32(finite.prod() ** (1 / len(finite)))


def tube_level(points: np.ndarray, path_mm: Sequence[ArrayLike], radii_mm: Sequence[float]) -> np.ndarray:
    """The level of a tube along a polyline, its radius linear between the knots; at least -20 everywhere."""
    level = np.full(points.shape[1:], -20, np.float32)
    knots = np.asarray(path_mm, np.float32)
    for start, end, first, last in zip(knots[:-1], knots[1:], radii_mm[:-1], radii_mm[1:], strict=True):
        reach = max(first, last) + 8
        low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
        near = np.logical_and.reduce([(p > a) & (p < b) for p, a, b in zip(points, low, high, strict=True)])
        offset = points[:, near] - start[:, None]
        along = end - start
        share = np.clip(along @ offset / max(float(along @ along), 1e-6), 0, 1)
        distance = np.linalg.norm(offset - share * along[:, None], axis=0)
        level[near] = np.maximum(level[near], first + (last - first) * share - distance)
    return level


def soft_edge(level_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """The fraction of tissue (0..1) at a level: a linear edge, like the partial volume effect.

    >>> soft_edge(np.array([-2.0, 0.0, 0.5, 2.0]), width_mm=2.0).tolist()
    [0.0, 0.5, 0.75, 1.0]
    """
    return np.clip(level_mm / np.float32(width_mm) + np.float32(0.5), 0, 1)


def blend(picture: np.ndarray, level_mm: np.ndarray, value: float | np.ndarray, width_mm: float) -> None:
    """Blends the value of a shape into a picture in place, with a soft edge."""
    picture += soft_edge(level_mm, width_mm) * (np.asarray(value, np.float32) - picture)
