"""A display proxy: a version of a volume that a browser can hold, with fewer voxels over the same space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from helpers.data.geometry import Geometry

LONGEST_SIDE = 256
MOST_VOXELS = 6_000_000  # software rendering takes seconds for these, a minute for 512 x 512 x 300

Blocks = tuple[int, int, int]


def block_sizes(shape_zyx: Sequence[int], most_voxels: int = MOST_VOXELS) -> Blocks:
    """Chooses how many voxels along each axis become one.

    Args:
        shape_zyx: of the volume.
        most_voxels: of the proxy, whose sides have at most 256 voxels as well.

    >>> block_sizes((600, 512, 512)), block_sizes((155, 240, 240), most_voxels=3_000_000)
    ((3, 3, 3), (1, 2, 2))
    """
    blocks = [-(-side // LONGEST_SIDE) for side in shape_zyx]
    while math.prod(sides := proxy_shape(shape_zyx, blocks)) > most_voxels:
        blocks[sides.index(max(sides))] += 1
    z, y, x = blocks
    return z, y, x


def proxy_shape(shape_zyx: Sequence[int], blocks: Sequence[int]) -> tuple[int, int, int]:
    """The shape (Z, Y, X) of a proxy; the last block of an axis may be incomplete.

    >>> proxy_shape((5, 6, 7), (2, 2, 3))
    (3, 3, 3)
    """
    z, y, x = (-(-side // block) for side, block in zip(shape_zyx, blocks, strict=True))
    return z, y, x


def proxy_geometry(geometry: Geometry, blocks: Blocks) -> Geometry:
    """The grid of a proxy: its voxels are centred on the blocks."""
    (block_z, block_y, block_x), (mm_z, mm_y, mm_x) = blocks, geometry.spacing_mm_zyx
    matrix = np.array(geometry.direction, float).reshape(3, 3)
    half_mm_xyz = np.array([mm_x * (block_x - 1), mm_y * (block_y - 1), mm_z * (block_z - 1)]) / 2
    x, y, z = map(float, np.array(geometry.origin_mm_xyz, float) + matrix @ half_mm_xyz)
    spacing = (mm_z * block_z, mm_y * block_y, mm_x * block_x)
    return Geometry(proxy_shape(geometry.size_zyx, blocks), spacing, (x, y, z), geometry.direction)


def shrink_image(image: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Averages an image over blocks.

    Args:
        image: (Z, Y, X).
        blocks: from `block_sizes`.

    Returns:
        The proxy, in the image's dtype if that is an integer of at most 16 bits, else float32.
    """
    keep = image.dtype.kind in "iu" and image.dtype.itemsize <= 2
    small = np.empty(proxy_shape(image.shape, blocks), image.dtype if keep else np.float32)
    for target, slab in _slabs(image, blocks[0]):
        mean = _fold(slab.astype(np.float32), blocks, np.add) / np.prod(blocks)
        small[target] = np.rint(mean) if keep else mean
    return small


def shrink_labels(slab_of: Callable[[slice], np.ndarray], shape_zyx: Sequence[int], blocks: Blocks) -> np.ndarray:
    """Takes the largest label of each block, so that no labelled voxel vanishes.

    Args:
        slab_of: returns the labels (z, Y, X) uint8 of a range of slices. It is called for one layer of blocks at a
            time, so that a label map computed from others is never held in full.
        shape_zyx: of the whole volume.
        blocks: from `block_sizes`.
    """
    small = np.empty(proxy_shape(shape_zyx, blocks), np.uint8)
    for target, start in enumerate(range(0, shape_zyx[0], blocks[0])):
        small[target] = _fold(slab_of(slice(start, start + blocks[0])), blocks, np.maximum)
    return small


def _slabs(image: np.ndarray, thickness: int) -> Iterator[tuple[int, np.ndarray]]:
    for target, start in enumerate(range(0, image.shape[0], thickness)):
        yield target, image[start : start + thickness]


def _fold(slab: np.ndarray, blocks: Blocks, combine: np.ufunc) -> np.ndarray:
    """Folds one layer of blocks (z, Y, X) to (y, x); the last voxels are repeated to fill a block."""
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
