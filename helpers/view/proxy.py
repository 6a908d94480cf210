"""A smaller stand-in for a volume that a browser can hold: the same place, fewer voxels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from helpers.data.geometry import Geometry

LONGEST_SIDE = 256
MOST_VOXELS = 6_000_000  # a browser's software renderer takes seconds for these, a minute for 512 x 512 x 300


def block_sizes(shape_zyx: tuple[int, ...], most_voxels: int = MOST_VOXELS) -> tuple[int, int, int]:
    """Voxels along each axis that become one, for no side above 256 and at most `most_voxels`."""
    blocks = [-(-side // LONGEST_SIDE) for side in shape_zyx]
    while math.prod(sides := _small_shape(shape_zyx, blocks)) > most_voxels:
        blocks[sides.index(max(sides))] += 1
    return tuple(blocks)


def proxy_geometry(geometry: Geometry, blocks: tuple[int, int, int]) -> Geometry:
    """The grid of blocks: its voxels' centres lie at the centres of the blocks."""
    size = tuple(-(-side // block) for side, block in zip(geometry.size_zyx, blocks, strict=True))
    spacing = tuple(mm * block for mm, block in zip(geometry.spacing_mm_zyx, blocks, strict=True))
    matrix = np.array(geometry.direction, float).reshape(3, 3)
    half_mm_zyx = [mm * (block - 1) / 2 for mm, block in zip(geometry.spacing_mm_zyx, blocks, strict=True)]
    origin = np.array(geometry.origin_mm_xyz, float) + matrix @ np.array(half_mm_zyx[::-1])
    return Geometry(size, spacing, tuple(map(float, origin)), geometry.direction)


def shrink_image(image: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    """Means over blocks, in the image's dtype where that is an integer of 16 bits or less, else float32.

    Args:
        image: (Z, Y, X).
        blocks: from `block_sizes`.
    """
    keep = image.dtype.kind in "iu" and image.dtype.itemsize <= 2
    small = np.empty(_small_shape(image.shape, blocks), image.dtype if keep else np.float32)
    for target, slab in _slabs(image, blocks[0]):
        total = _fold(slab.astype(np.float32), blocks, np.add) / np.prod(blocks)
        small[target] = np.rint(total) if keep else total
    return small


def shrink_labels(slab_of: Callable[[slice], np.ndarray], shape, blocks: tuple[int, int, int]) -> np.ndarray:
    """The largest label of each block, so that no labelled voxel vanishes.

    Args:
        slab_of: gives the labels (z, Y, X) uint8 of a range of slices; asked for one layer of blocks at a time, so
            that a label map that is computed from others is never whole in memory.
        shape: of the whole, (Z, Y, X).
        blocks: from `block_sizes`.
    """
    small = np.empty(_small_shape(shape, blocks), np.uint8)
    for target, start in enumerate(range(0, shape[0], blocks[0])):
        small[target] = _fold(slab_of(slice(start, start + blocks[0])), blocks, np.maximum)
    return small


def _small_shape(shape, blocks) -> tuple[int, ...]:
    return tuple(-(-side // block) for side, block in zip(shape, blocks, strict=True))


def _slabs(image: np.ndarray, thickness: int):
    for target, start in enumerate(range(0, image.shape[0], thickness)):
        yield target, image[start : start + thickness]


def _fold(slab: np.ndarray, blocks, combine) -> np.ndarray:
    """One layer of blocks (z, Y, X) folded to (y, x); the last voxels are repeated to fill a block."""
    missing = [-side % block for side, block in zip(slab.shape, blocks, strict=True)]
    if any(missing):
        slab = np.pad(slab, [(0, count) for count in missing], mode="edge")
    folded = slab[0]
    for layer in slab[1:]:
        folded = combine(folded, layer)
    rows = folded[0 :: blocks[1]]
    for offset in range(1, blocks[1]):
        rows = combine(rows, folded[offset :: blocks[1]])
    columns = rows[:, 0 :: blocks[2]]
    for offset in range(1, blocks[2]):
        columns = combine(columns, rows[:, offset :: blocks[2]])
    return columns
