"""Views of an array in one fixed anatomical order, whatever order its file has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.data.geometry import Geometry


@dataclass(frozen=True)
class LpsOrder:
    """How an array's axes are permuted and flipped so that X runs to the left, Y to the back and Z to the head.

    `axes` and `flips` are in array order (Z, Y, X): output axis `k` is input axis `axes[k]`, reversed where
    `flips[k]`. An oblique axis counts as the patient axis that it is nearest to.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> LpsOrder:
        """The order of a grid."""
        matrix = np.array(geometry.direction, float).reshape(3, 3)
        left = np.abs(matrix)
        axes, flips = [0, 0, 0], [False] * 3
        for _ in range(3):  # the most aligned pair first, so that every axis is used once
            patient, grid = np.unravel_index(int(left.argmax()), (3, 3))
            axes[2 - patient], flips[2 - patient] = 2 - int(grid), bool(matrix[patient, grid] < 0)
            left[patient], left[:, grid] = -1, -1
        return cls(tuple(axes), tuple(flips))

    def view(self, array: np.ndarray) -> np.ndarray:
        """The array (Z, Y, X) in LPS order, without a copy."""
        moved = array.transpose(self.axes)
        return moved[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]

    def geometry(self, geometry: Geometry) -> Geometry:
        """The grid of such a view: the same voxels at the same places."""
        size = tuple(geometry.size_zyx[axis] for axis in self.axes)
        spacing = tuple(geometry.spacing_mm_zyx[axis] for axis in self.axes)
        matrix = np.array(geometry.direction, float).reshape(3, 3)
        columns, origin = [], np.array(geometry.origin_mm_xyz, float)
        for out in (2, 1, 0):  # x, y, z
            column = matrix[:, 2 - self.axes[out]]
            if self.flips[out]:
                origin = origin + column * (size[out] - 1) * spacing[out]
                column = -column
            columns.append(column)
        direction = np.stack(columns, axis=1).ravel()
        return Geometry(size, spacing, tuple(map(float, origin)), tuple(map(float, direction)))

    def index_in_file(self, position_zyx: tuple[int, int, int], size_zyx: tuple[int, int, int]) -> tuple[int, ...]:
        """The voxel's index in the file's own order (Z, Y, X) for a position in the view of size `size_zyx`."""
        index = [0, 0, 0]
        for out, axis in enumerate(self.axes):
            at = position_zyx[out]
            index[axis] = size_zyx[out] - 1 - at if self.flips[out] else at
        return tuple(index)
