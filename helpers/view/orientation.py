"""Anatomical orientation of a grid: the letters of its axes, and views of its arrays in one fixed order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.data.geometry import Geometry

# Letters towards smaller and larger coordinates along x, y, z of the LPS patient space.
_LPS_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}


def axis_letters(direction: tuple[float, ...]) -> dict[str, tuple[str, str]]:
    """The patient letters towards the first and the last index of the array axes x, y and z.

    Args:
        direction: row-major 3 x 3 matrix whose columns are the LPS directions of the array's axes; an oblique axis
            gets the letters of the nearest patient axis.

    >>> axis_letters((1, 0, 0, 0, -1, 0, 0, 0, 1))
    {'x': ('R', 'L'), 'y': ('P', 'A'), 'z': ('I', 'S')}
    """
    from nibabel.orientations import aff2axcodes

    last = aff2axcodes(_affine(direction), _LPS_LETTERS)
    return {name: (_OPPOSITE[letter], letter) for name, letter in zip("xyz", last, strict=True)}


@dataclass(frozen=True)
class LpsOrder:
    """How an array's axes are permuted and flipped so that X runs to the left, Y to the back and Z to the head.

    `axes` and `flips` are in array order (Z, Y, X): output axis `k` is input axis `axes[k]`, reversed if `flips[k]`.
    An oblique axis counts as the nearest patient axis.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> LpsOrder:
        """The order of a grid."""
        from nibabel.orientations import io_orientation

        axes, flips = [0, 0, 0], [False, False, False]
        for grid_axis, (patient_axis, sign) in enumerate(io_orientation(_affine(geometry.direction))):
            axes[2 - int(patient_axis)] = 2 - grid_axis
            flips[2 - int(patient_axis)] = bool(sign < 0)
        return cls((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    def view(self, array: np.ndarray) -> np.ndarray:
        """The array (Z, Y, X) in LPS order, without a copy."""
        moved = array.transpose(self.axes)
        return moved[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]

    def geometry(self, geometry: Geometry) -> Geometry:
        """The grid of such a view: the same voxels in the same places."""
        size_z, size_y, size_x = size = tuple(geometry.size_zyx[axis] for axis in self.axes)
        mm_z, mm_y, mm_x = spacing = tuple(geometry.spacing_mm_zyx[axis] for axis in self.axes)
        matrix = np.array(geometry.direction, float).reshape(3, 3)
        columns, origin = [], np.array(geometry.origin_mm_xyz, float)
        for out in (2, 1, 0):  # x, y, z
            column = matrix[:, 2 - self.axes[out]]
            if self.flips[out]:
                origin = origin + column * (size[out] - 1) * spacing[out]
                column = -column
            columns.append(column)
        x, y, z = map(float, origin)
        direction = tuple(map(float, np.stack(columns, axis=1).ravel()))
        return Geometry((size_z, size_y, size_x), (mm_z, mm_y, mm_x), (x, y, z), direction)

    def position_of(self, index_zyx: tuple[int, ...], size_zyx: tuple[int, ...]) -> tuple[int, int, int]:
        """The place (z, y, x) in the view of a voxel of the file; the inverse of `index_in_file`.

        Args:
            index_zyx: of the voxel in the file's own order.
            size_zyx: of the view.

        >>> order = LpsOrder((2, 0, 1), (True, False, False))
        >>> order.position_of(order.index_in_file((1, 2, 3), (5, 6, 7)), (5, 6, 7))
        (1, 2, 3)
        """
        z, y, x = (
            size_zyx[out] - 1 - index_zyx[axis] if self.flips[out] else index_zyx[axis]
            for out, axis in enumerate(self.axes)
        )
        return z, y, x

    def index_in_file(self, position_zyx: tuple[int, int, int], size_zyx: tuple[int, ...]) -> tuple[int, int, int]:
        """The voxel's index (z, y, x) in the file's own order.

        Args:
            position_zyx: of the voxel in the view.
            size_zyx: of the view.
        """
        index = [0, 0, 0]
        for out, axis in enumerate(self.axes):
            at = position_zyx[out]
            index[axis] = size_zyx[out] - 1 - at if self.flips[out] else at
        return index[0], index[1], index[2]


def _affine(direction: tuple[float, ...]) -> np.ndarray:
    """A 4 x 4 affine of the direction alone; spacing and origin do not change an orientation."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(direction, float).reshape(3, 3)
    return affine
