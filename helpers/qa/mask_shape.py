"""Shape of one structure in a mask: roughness of its surface, holes, and centre in patient space.

| measure | definition |
|---|---|
| roughness | area of the surface over the area of the surface of the smoothed structure; about 1 if it is smooth |
| holes | regions of at least ten background voxels that the structure encloses, connected by faces |
| centre | mean position of its voxels, in millimetres of the LPS patient space |

Surfaces are counted in faces of voxels. That overstates the area of a slanted surface, but equally for a structure
and its smoothed form. A voxel is in the smoothed form if more than half of the box around it is in the structure. The
box is five voxels wide along the finest axis and about as many millimetres along the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from helpers.data.regions import label_components

_SMOOTHED_VOXELS = 5
_FEWEST_VOXELS = 100  # the smoothed form of a smaller structure is mostly chance
_SMALLEST_HOLE = 10


def roughness(structure: np.ndarray, spacing: Sequence[float]) -> float | None:
    """How much larger a structure's surface is than that of its smoothed form.

    Args:
        structure: boolean (Z, Y, X) or (H, W), with two voxels of margin except at the border of the image.
        spacing: of voxels or pixels along each axis, in any unit.

    Returns:
        About 1 for a smooth surface, more for a rough one; None if the structure has fewer than 100 voxels, fills its
        array, or is so thin that smoothing leaves less than half of it.

    >>> block = np.zeros((20, 20, 20), bool)
    >>> block[4:16, 4:16, 4:16] = True
    >>> comb = block.copy()
    >>> comb[4:16:2, 4:8] = False
    >>> round(roughness(block, (1, 1, 1)), 2), round(roughness(comb, (1, 1, 1)), 2)
    (1.09, 1.8)
    """
    from scipy.ndimage import uniform_filter

    voxels = np.count_nonzero(structure)
    if voxels < _FEWEST_VOXELS:
        return None
    finest = min(spacing)
    widths = [2 * round((_SMOOTHED_VOXELS - 1) / 2 * finest / step) + 1 for step in spacing]
    smoothed = uniform_filter(structure.astype(np.float32), widths, mode="nearest") > 0.5
    if 2 * np.count_nonzero(smoothed) < voxels:
        return None
    area, smooth_area = surface_area(structure, spacing), surface_area(smoothed, spacing)
    return float(area / smooth_area) if area and smooth_area else None


def surface_area(structure: np.ndarray, spacing: Sequence[float]) -> float:
    """The area of the faces, or length of the edges, between a structure and the rest of its array.

    Args:
        structure: boolean, of any number of axes; its faces on the border of the array are not counted.
        spacing: along each axis.

    >>> surface_area(np.pad(np.ones((1, 2, 3), bool), 1), (4.0, 1.0, 0.5))  # 2 x (2 x 0.5 x 3 + 4 x 1.5 + 4 x 2)
    34.0
    """
    size = math.prod(spacing)
    total = 0.0  # in faces of each axis, times the area of such a face
    for axis, step in enumerate(spacing):
        along = np.moveaxis(structure, axis, 0)
        total += int(np.count_nonzero(along[1:] != along[:-1])) * size / step
    return total


def count_holes(structure: np.ndarray, background: np.ndarray) -> int:
    """Counts the regions that a structure encloses and that hold at least ten voxels of background.

    A region that another label fills is part of the anatomy, such as the core of a tumour inside its oedema.

    Args:
        structure: boolean (Z, Y, X) or (H, W).
        background: which voxels have no label, of the same shape.

    >>> ring = np.ones((6, 6), bool)
    >>> ring[1:5, 1:5] = False
    >>> count_holes(ring, ~ring), count_holes(ring, np.zeros((6, 6), bool)), count_holes(ring[:5], ~ring[:5])
    (1, 0, 0)
    """
    # A surface that is one voxel thick encloses nothing along that axis.
    margin = [(1, 1) if length > 1 else (0, 0) for length in structure.shape]
    regions, sizes = label_components(~np.pad(structure, margin), corners=False)
    if len(sizes) <= 2:  # the region outside is the only one
        return 0
    outside = regions.flat[0]
    held = np.bincount(regions[np.pad(background, margin)], minlength=len(sizes))
    held[[0, outside]] = 0
    return int(np.count_nonzero(held >= _SMALLEST_HOLE))


def centre_mm(structure: np.ndarray, start_zyx: Sequence[int], affine_lps: np.ndarray) -> tuple[float, float, float]:
    """The mean position of a structure's voxels.

    Args:
        structure: boolean (Z, Y, X), a part of the grid with at least one voxel.
        start_zyx: where the part starts in the grid.
        affine_lps: (4, 4), from voxel indices (x, y, z, 1) to LPS millimetres.

    >>> centre_mm(np.ones((1, 1, 3), bool), (5, 0, 10), np.diag([-2.0, 1.0, 4.0, 1.0]))
    (-22.0, 0.0, 20.0)
    """
    index = []
    for axis, start in enumerate(start_zyx):
        counts = structure.sum(axis=tuple(other for other in range(3) if other != axis))
        index.append(start + float(np.average(np.arange(len(counts)), weights=counts)))
    x, y, z = (affine_lps @ [*index[::-1], 1.0])[:3].tolist()
    return x, y, z
