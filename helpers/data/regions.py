"""Regions of a mask: its smallest bounding box and its connected components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[slice, ...]


def bounding_box(mask: np.ndarray, margin: Sequence[int] | int = 0) -> Box | None:
    """Finds the smallest box around the true voxels of a mask.

    Args:
        mask: boolean, of any number of axes.
        margin: voxels to add on every side, as one number or one per axis; the box stays within the array.

    Returns:
        One slice per axis, or None if the mask is empty.

    >>> mask = np.zeros((4, 6), bool)
    >>> mask[1, 2] = mask[2, 4] = True
    >>> bounding_box(mask)
    (slice(1, 3, None), slice(2, 5, None))
    >>> bounding_box(mask, margin=2)
    (slice(0, 4, None), slice(0, 6, None))
    """
    margins = [margin] * mask.ndim if isinstance(margin, int) else margin
    box = []
    for axis, (size, extra) in enumerate(zip(mask.shape, margins, strict=True)):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not hit.size:
            return None
        box.append(slice(max(0, int(hit[0]) - extra), min(size, int(hit[-1]) + 1 + extra)))
    return tuple(box)


def label_components(mask: np.ndarray, *, corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the connected components of a mask.

    Args:
        mask: boolean (H, W) or (Z, Y, X).
        corners: whether shared edges and corners connect voxels, in addition to faces.

    Returns:
        The component number of each voxel, counted from 1 in C order, 0 outside the mask; and the number of voxels in
        each component, indexed by its number (0 at index 0).

    >>> components, sizes = label_components(np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0]], bool), corners=False)
    >>> components.tolist(), sizes.tolist()
    ([[1, 0, 0], [0, 2, 2], [3, 0, 0]], [0, 1, 2, 1])
    """
    import cc3d

    # Not boolean: with booleans, cc3d 4.1.1 joins pixels that do not touch (2-D, corners) and fails on single rows.
    values = np.ascontiguousarray(mask, bool).view(np.uint8)
    components: np.ndarray
    if mask.ndim == 2:
        components = cc3d.connected_components(values, connectivity=8 if corners else 4)
    else:
        components = cc3d.connected_components(values, connectivity=26 if corners else 6)
    sizes = np.bincount(components.ravel(), minlength=1)
    sizes[0] = 0
    return components, sizes
