"""The grid of a volume in patient space: size, spacing, origin and direction."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import DataError
from helpers.run.said import say_once

# Cosines of the angle between two axes: up to the first they are taken as they are, as ITK does; up to the second
# (0.6 degrees) they are perpendicular but for rounding, such as an affine that was saved with two decimals.
EXACT_COSINE = 1e-4
ROUNDING_COSINE = 0.01
# Outside these limits a header is damaged or not in millimetres, and single precision would overflow.
_SMALLEST_MM, _LARGEST_MM, _FARTHEST_MM = 1e-6, 1e6, 1e8
_AXES = "xyz"


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume.

    Sizes and spacings are in array order (Z, Y, X); origin and direction are as in SimpleITK: millimetres in the LPS
    patient space (x to the left, y to the back, z to the head), x first, the direction a row-major 3 x 3 matrix whose
    columns are the directions of the array's axes x, y and z.

    `sheared` is the grid of the file, if its axes are not perpendicular and its voxels were resampled to this grid.
    `is_patient` is False if the file says nothing of a patient, such as a photograph: its sides have no names then.

    >>> grid = Geometry.identity((30, 128, 64), (2.5, 0.8, 0.8))
    >>> grid.size_zyx, grid.spacing_mm_zyx, grid.origin_mm_xyz
    ((30, 128, 64), (2.5, 0.8, 0.8), (0.0, 0.0, 0.0))
    """

    size_zyx: tuple[int, int, int]
    spacing_mm_zyx: tuple[float, float, float]
    origin_mm_xyz: tuple[float, float, float]
    direction: tuple[float, ...]
    sheared: Geometry | None = None
    is_patient: bool = True

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
                lines.append(f"{name} {' against '.join(_show_both(mine, theirs))}{unit}")
        return lines


def grid_of_axes(
    name: str,
    field: str,
    size_zyx: tuple[int, int, int],
    axes_mm: np.ndarray,
    origin_mm: Sequence[float] | np.ndarray,
    spacing_mm: Sequence[float] | np.ndarray | None = None,
) -> Geometry:
    """The grid of three axes. Axes that are perpendicular but for rounding are made so, and that is logged.

    Axes that are sheared stay so: `check_perpendicular` refuses them.

    Args:
        name: the file, for messages.
        field: the part of its header that has the axes, for messages.
        size_zyx: number of voxels.
        axes_mm: (3, 3), whose columns are the steps from voxel to voxel along x, y and z, in LPS millimetres.
        origin_mm: the centre of the first voxel, LPS.
        spacing_mm: distances of voxels (x, y, z), if they are known more precisely than from the axes.

    Raises:
        DataError: a number is not finite or implausible, an axis is zero, or axes are in one plane.

    >>> grid_of_axes("v.nii", "sform", (2, 3, 4), np.diag([-0.5, -0.75, 2.5]), (0, 0, 0)).spacing_mm_zyx
    (2.5, 0.75, 0.5)
    """
    axes_mm, origin = np.asarray(axes_mm, float), np.asarray(origin_mm, float)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        lengths = np.linalg.norm(axes_mm, axis=0)
    spacing = np.asarray(lengths if spacing_mm is None else spacing_mm, float)
    _refuse_unusable(name, field, axes_mm, origin, spacing)
    direction = axes_mm / lengths
    if EXACT_COSINE < largest_cosine(direction) <= ROUNDING_COSINE:
        direction = _made_perpendicular(name, field, size_zyx, direction, spacing)
    spacing_x, spacing_y, spacing_z = spacing.tolist()
    direction = direction + 0.0  # -0.0 becomes 0.0
    return Geometry(
        size_zyx, (spacing_z, spacing_y, spacing_x), tuple(origin.tolist()), tuple(direction.ravel().tolist())
    )


def largest_cosine(direction: np.ndarray) -> float:
    """The largest cosine, without sign, of the angle between two columns of unit length.

    >>> largest_cosine(np.eye(3))
    0.0
    """
    between = direction.T @ direction
    return float(max(abs(between[0, 1]), abs(between[0, 2]), abs(between[1, 2])))


def _refuse_unusable(name: str, field: str, axes_mm: np.ndarray, origin: np.ndarray, spacing: np.ndarray) -> None:
    if not np.isfinite(axes_mm).all():
        raise _bad_grid(name, field, f"axes that are not finite, {_show(axes_mm.ravel())}", "finite numbers")
    if not (np.isfinite(origin).all() and np.abs(origin).max() <= _FARTHEST_MM):
        raise _bad_grid(name, field, f"an origin of {_show(origin)} mm", "finite numbers")
    if np.abs(axes_mm).max() > _LARGEST_MM:
        raise _bad_grid(name, field, f"a step of {np.abs(axes_mm).max():g} mm", "a plausible distance of voxels")
    lengths = np.linalg.norm(axes_mm, axis=0)
    for axis, length, step in zip(_AXES, lengths, spacing, strict=True):
        if length < _SMALLEST_MM:
            raise _bad_grid(name, field, f"an axis {axis} of length {length:g}", "three axes that are not zero")
        if not _SMALLEST_MM <= step <= _LARGEST_MM:
            raise _bad_grid(name, field, f"a spacing of {step:g} mm along {axis}", "a positive number of millimetres")
    if abs(np.linalg.det(axes_mm / lengths)) < 1e-3:
        raise _bad_grid(name, field, "axes that lie in one plane", "three independent axes")


def _bad_grid(name: str, field: str, received: str, expected: str) -> DataError:
    return DataError(
        f"{name} has an unusable {field}",
        received=received,
        expected=expected,
        remedy="Write its header again from the original images.",
    )


def is_sheared(geometry: Geometry) -> bool:
    """Whether two axes are farther from perpendicular than rounding explains."""
    return largest_cosine(np.reshape(geometry.direction, (3, 3))) > ROUNDING_COSINE


def check_perpendicular(name: str, geometry: Geometry) -> None:
    """Refuses a sheared grid.

    Raises:
        DataError: two axes are farther from perpendicular than rounding explains.
    """
    if not is_sheared(geometry):
        return
    direction = np.reshape(geometry.direction, (3, 3))
    between = np.abs(direction.T @ direction)
    first, second = max(((0, 1), (0, 2), (1, 2)), key=lambda pair: between[pair])
    degrees, limit = _degrees_off(between[first, second]), _degrees_off(ROUNDING_COSINE)
    raise DataError(
        f"{name} is sheared, as by a tilted gantry",
        received=f"axes {_AXES[first]} and {_AXES[second]} of its grid {degrees:.2f} degrees from perpendicular",
        expected=f"at most {limit:.2f} degrees, which rounding explains",
        remedy="With -p allow_shear True it is resampled to perpendicular axes, and its mask back.",
    )


def _made_perpendicular(
    name: str, field: str, size_zyx: tuple[int, int, int], direction: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    """The nearest rotation or reflection, whose distance is logged."""
    left, _, right = np.linalg.svd(direction)
    nearest = left @ right
    corners = np.array(list(itertools.product(*((0, size - 1) for size in size_zyx[::-1])))).T
    moved = np.linalg.norm((nearest - direction) * spacing @ corners, axis=0).max()
    say_once(
        logging.WARNING,
        "%s: the axes of its %s are %.2f degrees from perpendicular, taken for rounding and made perpendicular; "
        "no voxel moves by more than %.2g mm",
        *(name, field, _degrees_off(largest_cosine(direction)), moved),
    )
    return nearest


def _degrees_off(cosine: float) -> float:
    return 90 - math.degrees(math.acos(min(1.0, cosine)))


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


def _show_both(one: Sequence[float], other: Sequence[float]) -> tuple[str, str]:
    """Two vectors with as many digits as it takes to see where they differ."""
    for digits in range(4, 18):
        shown = _show(one, digits), _show(other, digits)
        pairs = zip(one, other, strict=True)
        if all(f"{a:.{digits}g}" != f"{b:.{digits}g}" for a, b in pairs if not np.isclose(a, b, rtol=0, atol=1e-9)):
            break
    return shown


def _show(values: Sequence[float] | np.ndarray, digits: int = 4) -> str:
    return "(" + ", ".join(f"{value:.{digits}g}" for value in values) + ")"
