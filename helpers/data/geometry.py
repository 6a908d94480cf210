"""The grid of a volume in patient space: size, spacing, origin and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import DataError


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume.

    Sizes and spacings are in array order (Z, Y, X); origin and direction are as in SimpleITK: millimetres in the LPS
    patient space (x to the left, y to the back, z to the head), x first, the direction a row-major 3 x 3 matrix whose
    columns are the directions of the array's axes x, y and z.

    >>> grid = Geometry.identity((30, 128, 64), (2.5, 0.8, 0.8))
    >>> grid.size_zyx, grid.spacing_mm_zyx, grid.origin_mm_xyz
    ((30, 128, 64), (2.5, 0.8, 0.8), (0.0, 0.0, 0.0))
    """

    size_zyx: tuple[int, int, int]
    spacing_mm_zyx: tuple[float, float, float]
    origin_mm_xyz: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def identity(
        cls, size_zyx: tuple[int, int, int], spacing_mm_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> Geometry:
        """A grid whose origin and axes are those of the patient space."""
        return cls(size_zyx, spacing_mm_zyx, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))

    def affine_lps(self) -> np.ndarray:
        """The matrix (4, 4) from voxel indices (x, y, z, 1) to millimetres in the LPS patient space.

        NIfTI's affine is the same matrix with its first two rows negated (RAS).

        >>> grid = Geometry((10, 20, 30), (5.0, 2.0, 1.0), (-15.0, 0.0, 7.0), (0, 1, 0, -1, 0, 0, 0, 0, 1))
        >>> grid.affine_lps() @ [3, 1, 2, 1]
        array([-13.,  -3.,  17.,   1.])
        """
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) * np.array(self.spacing_mm_zyx[::-1])
        affine[:3, 3] = self.origin_mm_xyz
        return affine

    def differences_from(self, other: Geometry, tolerance_mm: float = 1e-3) -> list[str]:
        """Lists the differences from another grid, with both values; empty if the grids are the same.

        `tolerance_mm` covers float32 headers: NIfTI stores the affine in single precision.

        >>> grid = Geometry.identity((30, 128, 64), (2.5, 0.8, 0.8))
        >>> grid.differences_from(Geometry.identity((30, 128, 64), (3.0, 0.8, 0.8)))
        ['spacing (2.5, 0.8, 0.8) against (3, 0.8, 0.8) mm']
        """
        lines = []
        if self.size_zyx != other.size_zyx:
            lines.append(f"size (z, y, x) {_show(self.size_zyx)} against {_show(other.size_zyx)}")
        for name, unit, mine, theirs in (
            ("spacing", " mm", self.spacing_mm_zyx, other.spacing_mm_zyx),
            ("origin", " mm", self.origin_mm_xyz, other.origin_mm_xyz),
            ("direction", "", self.direction, other.direction),
        ):
            if not np.allclose(mine, theirs, rtol=0, atol=tolerance_mm):
                lines.append(f"{name} {_show(mine)} against {_show(theirs)}{unit}")
        return lines


def check_same_grid(geometry: Geometry, reference: Geometry, name: str, reference_name: str) -> None:
    """Raises a DataError that names every difference between the grids of two files of a case."""
    differences = geometry.differences_from(reference)
    if differences:
        raise DataError(
            f"{name} is on another grid than {reference_name}",
            received="; ".join(differences),
            expected="one grid for all files of a case",
            remedy="Register and resample the case first.",
        )


def _show(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
