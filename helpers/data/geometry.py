"""Where a volume lies in the patient: size, spacing, origin and direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Grid of a volume.

    Sizes and spacings are in array order (Z, Y, X); origin and direction are as SimpleITK keeps them:
    millimetres in the LPS patient space, x first, the direction a row-major 3 x 3 matrix.
    """

    size_zyx: tuple[int, int, int]
    spacing_mm_zyx: tuple[float, float, float]
    origin_mm_xyz: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def identity(
        cls, size_zyx: tuple[int, int, int], spacing_mm_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> Geometry:
        """A grid at the patient space's origin with axes along it."""
        return cls(tuple(size_zyx), tuple(spacing_mm_zyx), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))

    def differences_from(self, other: Geometry, tolerance_mm: float = 1e-3) -> list[str]:
        """Names what differs from another grid, with both values; empty when the grids are the same.

        `tolerance_mm` covers float32 headers: NIfTI keeps the affine in single precision.
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


def _show(values) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
