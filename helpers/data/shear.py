"""Sheared volumes, such as CT with a tilted gantry: resampled to perpendicular axes, and their masks back.

The first two axes keep their plane; the third becomes its normal. The grid contains every voxel of the sheared one,
and depends on the sheared grid alone, so the files of a case that share one end on one.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np

from helpers.data.geometry import Geometry

Interpolation = Literal["linear", "nearest"]

_ROUNDING = 0.01  # voxels: single precision in a header adds no layer to the grid


def perpendicular_grid(sheared: Geometry) -> Geometry:
    """The smallest perpendicular grid around the voxels of a sheared one, which it keeps as `sheared`.

    >>> tilted = Geometry((3, 4, 5), (2.0, 1.0, 1.0), (0, 0, 0), (1, 0, 0, 0, 1, 0.6, 0, 0, 0.8))
    >>> perpendicular_grid(tilted).size_zyx, perpendicular_grid(tilted).spacing_mm_zyx
    ((3, 7, 5), (1.6, 1.0, 1.0))
    """
    axes = np.reshape(sheared.direction, (3, 3))
    x = axes[:, 0]
    y = axes[:, 1] - (axes[:, 1] @ x) * x
    y /= np.linalg.norm(y)
    normal = np.cross(x, y)
    normal *= np.sign(normal @ axes[:, 2])
    direction = np.column_stack([x, y, normal])
    spacing = np.array(sheared.spacing_mm_zyx[::-1]) * np.abs(np.diag(direction.T @ axes))
    ends = itertools.product(*((0, size - 1) for size in sheared.size_zyx[::-1]))
    corners = (direction.T @ sheared.affine_lps()[:3, :3] @ np.array(list(ends)).T) / spacing[:, None]
    first = np.floor(corners.min(axis=1) + _ROUNDING)
    size = (np.ceil(corners.max(axis=1) - _ROUNDING) - first).astype(int) + 1
    origin = np.array(sheared.origin_mm_xyz) + direction @ (first * spacing)
    return Geometry(
        size_zyx=(int(size[2]), int(size[1]), int(size[0])),
        spacing_mm_zyx=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        origin_mm_xyz=tuple(origin.tolist()),
        direction=tuple(direction.ravel().tolist()),
        sheared=sheared,
    )


def resample(array: np.ndarray, source: Geometry, target: Geometry, interpolation: Interpolation) -> np.ndarray:
    """Resamples voxels (Z, Y, X) from one grid to another; outside they have the lowest value of the volume.

    Args:
        array: on `source`.
        source: grid of the voxels.
        target: grid of the result.
        interpolation: nearest for labels.

    Returns:
        Voxels of the same dtype; integers are rounded.
    """
    from scipy.ndimage import affine_transform

    to_source = np.linalg.inv(source.affine_lps()) @ target.affine_lps()
    matrix = to_source[:3, :3][::-1, ::-1]
    order = 1 if interpolation == "linear" else 0
    stored = array.astype(np.float64) if order else array
    moved = affine_transform(
        stored, matrix, to_source[:3, 3][::-1], target.size_zyx, order=order, mode="constant", cval=array.min()
    )
    return (np.rint(moved) if array.dtype.kind in "iu" else moved).astype(array.dtype)
